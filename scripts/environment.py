"""One Python environment for this checkout, made once, reused and repaired: standard library only.

The interpreter that runs a script is used as it is when it has everything; nothing is ever installed into
an environment that a person made. Otherwise `.venv` in the checkout is made, with `STATE` in it: written
first, so that the folder is known to be ours, and again last, with a digest of what was installed, so that an
interrupted run is known to be one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytorch import install_torch
from steps import SetupError, call, end, step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
STATE = "edgefed-environment.json"
LOG = "edgefed-environment.log"

# Distributions whose module has another name.
MODULES = {
    "imbalanced-learn": "imblearn",
    "import-linter": "importlinter",
    "mlflow-skinny": "mlflow",
    "pytest-xdist": "xdist",
    "scikit-learn": "sklearn",
}

# Prints which modules are not there. edgefed must be installed, from `home` where one is given: a folder that
# happens to be on the path has no console command and no Flower app.
PROBE = """
import importlib.metadata, importlib.util, json, pathlib, sys
home, *modules = sys.argv[1:]
def found(name):
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None
missing = [name for name in modules if not found(name)]
try:
    importlib.metadata.version("edgefed")
    source = pathlib.Path(importlib.util.find_spec("edgefed").origin).resolve()
    if home and pathlib.Path(home) not in source.parents:
        missing.append("edgefed")
except (importlib.metadata.PackageNotFoundError, AttributeError, TypeError):
    missing.append("edgefed")
print(json.dumps(missing))
"""


class State(NamedTuple):
    """What an environment of ours holds; an empty digest means that it was never finished."""

    digest: str
    extras: tuple[str, ...]


def digest(root: Path) -> str:
    """Hash the files that decide what is installed."""
    content = b"\0".join((root / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    return hashlib.sha256(content).hexdigest()


def read_state(folder: Path) -> State | None:
    """Read what an environment holds; None where it isn't ours."""
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return State(content["digest"], tuple(content["extras"]))
    except (ValueError, KeyError, TypeError):
        return State("", ())


def write_state(folder: Path, state: State) -> None:
    (folder / STATE).write_text(json.dumps(state._asdict()) + "\n", encoding="utf-8")


def finished(state: State | None, wanted: str, extras: Sequence[str]) -> bool:
    """Tell whether an environment in this state holds these extras of what the digest `wanted` stands for."""
    return state is not None and state.digest == wanted and set(extras) <= set(state.extras)


def environment_folder(root: Path) -> Path:
    """Return where our environment is or goes: `.venv`, or `build/venv` where `.venv` is somebody else's."""
    folder = root / ".venv"
    if folder.is_dir():
        ours = read_state(folder) is not None or not any(folder.iterdir())
    else:
        ours = not os.path.lexists(folder)
    return folder if ours else root / "build" / "venv"


def folder_python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def modules(root: Path, extras: Sequence[str]) -> list[str]:
    """Return the importable names of the project's direct dependencies."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"].get(extra, ())
    names = sorted({re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in requirements})
    return [MODULES.get(name, name.replace("-", "_")) for name in names]


def missing(python: str | Path, wanted: Sequence[str], home: Path | None) -> list[str]:
    """Ask an interpreter which modules it lacks; all of them where it does not even start.

    It is asked from a neutral folder, so that a checkout which is merely the working folder doesn't count.
    """
    command = [str(python), "-P", "-c", PROBE, str(home or ""), *wanted]
    try:
        answer = subprocess.run(command, cwd=tempfile.gettempdir(), capture_output=True, check=True)
        return [str(name) for name in json.loads(answer.stdout)]
    except (OSError, ValueError, subprocess.CalledProcessError):
        return [*wanted, "edgefed"]


def environment_variables(python: str | Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return `variables` as activating the interpreter's environment would leave them, with a quiet pip."""
    folder = Path(python).parent
    result = {name: value for name, value in variables.items() if name != "PYTHONHOME"}
    result["PATH"] = os.pathsep.join(filter(None, [str(folder), variables.get("PATH", "")]))
    if (folder.parent / "pyvenv.cfg").is_file():
        result["VIRTUAL_ENV"] = str(folder.parent)
        # Set by some distributions; pip refuses it in a virtual environment.
        result["PIP_USER"] = "0"
    result.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    return result


def ready_python(extras: Sequence[str] = (), *, this_checkout: bool = False) -> str:
    """Return an interpreter with edgefed and these extras: this one, or that of an environment made here.

    With `this_checkout`, an edgefed installed from elsewhere does not do.
    """
    wanted = modules(ROOT, extras)
    home = ROOT if this_checkout else None
    whole = [*wanted, "ray"] if "simulation" in extras else wanted
    folder = environment_folder(ROOT)
    for python in (Path(sys.executable), folder_python(ROOT / ".venv")):
        # Ours are judged below, by their state too.
        if read_state(python.parent.parent) is None and not missing(python, whole, home):
            print(f"using {python}", file=sys.stderr, flush=True)
            return str(python)
    python = folder_python(folder)
    state = read_state(folder)
    if not finished(state, digest(ROOT), extras) or missing(python, wanted, ROOT):
        make_environment(folder, state, extras)
    return str(python)


def make_environment(folder: Path, state: State | None, extras: Sequence[str]) -> None:
    """Make an environment of ours, or bring one up to date.

    It is made anew where it was never finished, as what an interrupted pip left can look installed and not
    be, and where it should do as it is and yet does not.
    """
    wanted = digest(ROOT)
    python, log = folder_python(folder), folder / LOG
    update = bool(state and state.digest and not finished(state, wanted, extras) and not missing(python, (), ROOT))
    extras = sorted({*extras, *(state.extras if state else ())})
    if not update and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_state(folder, State("", tuple(extras)))
    shown = folder.relative_to(ROOT).as_posix()
    if not update:
        # Not sys.executable: that may be in the very folder that was just removed.
        base = getattr(sys, "_base_executable", None) or sys.executable
        try:
            with step(f"making {shown} with Python {platform.python_version()}"):
                call([base, "-m", "venv", folder], ROOT, log, os.environ)
        except SetupError as error:
            advice = "on Debian and Ubuntu, install the package python3-venv, then run this again"
            raise SetupError(f"could not make {shown}: {error}; {advice} (all that was said: {log})") from None
    variables = environment_variables(python, os.environ)
    install_torch(python, ROOT, log, variables)
    # Editable: a change in the checkout needs no new installation.
    project = f".[{','.join(extras)}]" if extras else "."
    arguments = ["install", "--no-compile", "--constraint", "constraints.txt", "--editable", project]
    try:
        with step(f"installing edgefed and what it needs into {shown}"), compiled_meanwhile(python, folder):
            call([python, "-m", "pip", *arguments], ROOT, log, variables)
    except SetupError as error:
        raise SetupError(
            f"installing edgefed failed: {error}; check the network and pip's settings, then run this again "
            f"(all that was said: {log})"
        ) from None
    with step("compiling it"):
        compile_packages(python, folder)
    write_state(folder, State(wanted, tuple(extras)))


def compile_packages(python: Path, folder: Path) -> None:
    """Compile what was installed, as pip does, but on every core and without the packages' own tests.

    A file that this Python cannot read, as there are some for newer ones, is left as it is.
    """
    subprocess.run(
        compile_command(python, folder, 0), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )


@contextlib.contextmanager
def compiled_meanwhile(python: Path, folder: Path) -> Iterator[None]:
    """Compile what is there so far, PyTorch above all, while pip works: it uses one core."""
    command = compile_command(python, folder, 1)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        end(process, patience=0)


def compile_command(python: Path, folder: Path, processes: int) -> list[str | Path]:
    """Return what compiles a folder's files; 0 processes are one a core."""
    return [python, "-m", "compileall", "-q", "-j", str(processes), "-x", r"[/\\]tests[/\\]", folder]


def console_command(python: str, entry_point: str, name: str) -> list[str]:
    """Return the command line of a console script, wherever its own file was installed."""
    module, function = entry_point.split(":")
    start = f"import sys; sys.argv[0] = '{name}'; from {module} import {function}; sys.exit({function}())"
    return [python, "-P", "-c", start]
