"""Which build of PyTorch fits this machine, and the ways to it."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from steps import SetupError, call, step

if TYPE_CHECKING:
    from collections.abc import Mapping

# uv's own patience with a network that does not answer is minutes.
IMPATIENCE = {"UV_HTTP_TIMEOUT": "30", "UV_HTTP_RETRIES": "1"}


class Machine(NamedTuple):
    """The facts that decide which build fits."""

    system: str
    nvidia: bool


class Attempt(NamedTuple):
    """One way to an installed PyTorch: command lines for its Python, and the limit of each in seconds."""

    says: str
    commands: tuple[tuple[str, ...], ...]
    limit: float | None


def this_machine() -> Machine:
    nvidia = shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists()
    return Machine(platform.system(), nvidia)


def pinned(constraints: str, name: str) -> str:
    """Return the version that the text of `constraints.txt` pins `name` to."""
    match = re.search(rf"^{re.escape(name)}==(\S+)$", constraints, re.MULTILINE)
    if match is None:
        raise SetupError(f"constraints.txt has no line '{name}==VERSION': restore it and run this again")
    return match.group(1)


def torch_attempts(machine: Machine, version: str) -> list[Attempt]:
    """Return the ways to PyTorch to try before the project itself is installed, best first.

    Only Linux needs any: its ordinary build brings gigabytes of CUDA, of no use without an NVIDIA GPU.
    Elsewhere, and with a GPU, the list is empty and PyTorch comes with the project's other dependencies.
    """
    if machine.system != "Linux" or machine.nvidia:
        return []
    install = ("-m", "pip", "install", "--no-compile", "--constraint", "constraints.txt")  # environment.py does it
    uv_install = ("-m", "uv", "pip", "install", "--constraint", "constraints.txt", "--torch-backend", "cpu")
    return [
        Attempt(
            "PyTorch without CUDA, as pip is set up here",
            ((*install, "--retries", "1", f"torch=={version}+cpu"),),
            None,
        ),
        Attempt(
            "PyTorch without CUDA, through uv",
            ((*install, "uv"), (*uv_install, f"torch=={version}")),
            900,
        ),
        Attempt(
            "PyTorch with CUDA, as no smaller build was found: several gigabytes",
            ((*install, f"torch=={version}"),),
            None,
        ),
    ]


def install_torch(python: Path, root: Path, log: Path, variables: Mapping[str, str]) -> None:
    """Install the build that fits, where installing the project would not; nothing where it is there."""
    version = pinned((root / "constraints.txt").read_text(encoding="utf-8"), "torch")
    attempts = torch_attempts(this_machine(), version)
    if not attempts or installed_torch(python) == version:
        return
    for attempt in attempts:
        try:
            with step(attempt.says):
                for command in attempt.commands:
                    call([python, *command], root, log, {**variables, **IMPATIENCE}, attempt.limit)
            return
        except SetupError as error:
            problem = error
    raise SetupError(
        f"installing PyTorch failed: {problem}; check the network and pip's settings, then run this again "
        f"(all that was said: {log})"
    )


def installed_torch(python: Path) -> str:
    """Return the version of an interpreter's PyTorch without its local label; nothing where it has none."""
    ask = "import importlib.metadata; print(importlib.metadata.version('torch'))"
    answer = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=False)
    return answer.stdout.strip().split("+")[0]
