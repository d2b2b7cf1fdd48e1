"""The pure parts of the scripts: which Python will do, which PyTorch to try, whose environment is whose."""

import json
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
try:
    import environment
    import python_version
    import pytorch
    import steps
finally:
    # scripts/test.py would otherwise hide the standard library's `test`.
    sys.path.remove(str(ROOT / "scripts"))


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 2), (4, 0, 0)])
def test_a_recent_python_will_do(version: tuple[int, ...]) -> None:
    assert python_version.python_problem(version) == ""


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 10, 13)])
def test_an_old_python_is_refused_in_one_line_that_names_it(version: tuple[int, ...]) -> None:
    problem = python_version.python_problem(version)
    assert "3.11" in problem
    assert f"{version[0]}.{version[1]}" in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("system", "nvidia", "expected"),
    [
        ("Linux", False, ["torch==2.0.1+cpu", "torch==2.0.1", "torch==2.0.1"]),
        ("Linux", True, []),
        ("Darwin", False, []),
        ("Windows", False, []),
        ("Windows", True, []),
    ],
)
def test_only_linux_without_a_gpu_looks_for_a_build_without_cuda(
    system: str, nvidia: bool, expected: list[str]
) -> None:
    attempts = pytorch.torch_attempts(pytorch.Machine(system, nvidia), "2.0.1")
    assert [attempt.commands[-1][-1] for attempt in attempts] == expected


def test_uv_is_installed_before_it_is_used_and_has_a_limit() -> None:
    through_uv = pytorch.torch_attempts(pytorch.Machine("Linux", nvidia=False), "2.0.1")[1]
    first, second = through_uv.commands
    assert first[:3] == ("-m", "pip", "install")
    assert first[-1] == "uv"
    assert second[:2] == ("-m", "uv")
    assert second[second.index("--torch-backend") + 1] == "cpu"
    assert through_uv.limit is not None


def test_a_pin_is_found_by_its_whole_name() -> None:
    assert pytorch.pinned("torchvision==9\ntorch==2.1.0\n", "torch") == "2.1.0"
    with pytest.raises(steps.SetupError, match="torch==VERSION"):
        pytorch.pinned("torchvision==9\n", "torch")


def test_constraints_pin_every_direct_dependency_exactly_and_for_every_platform() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin)] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in wanted}
    assert names - {pin.split("==")[0] for pin in pins} == set()


def test_a_state_is_read_back(tmp_path: Path) -> None:
    state = environment.State("abc", ("dev", "simulation"))
    environment.write_state(tmp_path, state)
    assert environment.read_state(tmp_path) == state


def test_a_folder_without_a_state_is_not_ours_and_a_broken_state_is_unfinished(tmp_path: Path) -> None:
    assert environment.read_state(tmp_path) is None
    for content in ("", "{", "[]", json.dumps({"digest": "abc"})):
        (tmp_path / environment.STATE).write_text(content, encoding="utf-8")
        assert environment.read_state(tmp_path) == environment.State("", ())


@pytest.mark.parametrize(
    ("state", "extras", "expected"),
    [
        (None, (), False),
        (("", ()), (), False),
        (("new", ()), (), True),
        (("old", ()), (), False),
        (("new", ()), ("dev",), False),
        (("new", ("dev", "simulation")), ("dev",), True),
        (("new", ("dev", "simulation")), (), True),
    ],
)
def test_finished_means_this_digest_and_at_least_these_extras(
    state: tuple[str, tuple[str, ...]] | None, extras: tuple[str, ...], expected: bool
) -> None:
    held = environment.State(*state) if state else None
    assert environment.finished(held, "new", extras) is expected


def test_the_digest_follows_both_files(tmp_path: Path) -> None:
    seen = set()
    for pyproject, constraints in (("a", "b"), ("a", "c"), ("d", "b"), ("ab", ""), ("", "ab")):
        (tmp_path / "pyproject.toml").write_text(pyproject, encoding="utf-8")
        (tmp_path / "constraints.txt").write_text(constraints, encoding="utf-8")
        seen.add(environment.digest(tmp_path))
    assert len(seen) == 5


def test_the_environment_goes_to_venv_unless_somebody_elses_is_there(tmp_path: Path) -> None:
    own, aside = tmp_path / ".venv", tmp_path / "build" / "venv"
    assert environment.environment_folder(tmp_path) == own
    own.mkdir()
    assert environment.environment_folder(tmp_path) == own
    (own / "pyvenv.cfg").touch()
    assert environment.environment_folder(tmp_path) == aside
    environment.write_state(own, environment.State("", ()))
    assert environment.environment_folder(tmp_path) == own


def test_the_modules_are_those_of_the_direct_dependencies(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["scikit-learn>=1", "torch"]\n'
        '[project.optional-dependencies]\ndev = ["import-linter"]\nsimulation = ["flwr[simulation]>=1.41"]\n',
        encoding="utf-8",
    )
    assert environment.modules(tmp_path, ()) == ["sklearn", "torch"]
    assert environment.modules(tmp_path, ("dev", "simulation", "gone")) == [
        "flwr",
        "importlinter",
        "sklearn",
        "torch",
    ]


def test_an_interpreter_is_asked_what_it_lacks(tmp_path: Path) -> None:
    lacking = environment.missing(sys.executable, ["json", "no_such_module"], tmp_path)
    assert lacking == ["no_such_module", "edgefed"]
    assert environment.missing(tmp_path / "python", ["json"], None) == ["json", "edgefed"]


def test_a_checkout_that_is_only_the_working_folder_does_not_count_as_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stray_module.py").touch()
    monkeypatch.chdir(tmp_path)
    assert "stray_module" in environment.missing(sys.executable, ["stray_module"], None)


def test_a_virtual_environment_comes_first_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    python = environment.folder_python(tmp_path)
    result = environment.environment_variables(python, {"PATH": "elsewhere", "PYTHONHOME": "x", "A": "b"})
    assert result["PATH"].startswith(str(python.parent))
    assert result["PATH"].endswith("elsewhere")
    assert result["VIRTUAL_ENV"] == str(tmp_path)
    assert result["A"] == "b"
    assert "PYTHONHOME" not in result


def test_what_is_installed_is_compiled_but_for_tests_and_what_this_python_cannot_read(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "package"
    (package / "tests").mkdir(parents=True)
    for name, text in (("good", "a = 1\n"), ("newer", "a = = 1\n"), ("tests/test_it", "a = 1\n")):
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    environment.compile_packages(Path(sys.executable), tmp_path)
    assert [path.name.split(".")[0] for path in tmp_path.rglob("*.pyc")] == ["good"]


def test_what_is_there_is_compiled_while_more_is_installed(tmp_path: Path) -> None:
    (tmp_path / "there.py").write_text("a = 1\n", encoding="utf-8")
    deadline = time.monotonic() + 60
    with environment.compiled_meanwhile(Path(sys.executable), tmp_path):
        while not [*tmp_path.rglob("*.pyc")]:
            assert time.monotonic() < deadline


def test_a_console_command_calls_its_function_under_its_name() -> None:
    command = environment.console_command(sys.executable, "platform:python_version", "name")
    # sys.exit prints a text and exits with 1.
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.stderr.strip() == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("", ""),
        ("Collecting a\nKilled\n", "Killed"),
        ("ERROR: no such version\nERROR: nothing fits a\nhint: x\n", "ERROR: nothing fits a"),
        ("WARNING: Retrying (Retry(1))\nERROR: No matching distribution found for a\n", "no answer"),
        ("WARNING: Retrying (Retry(1))\nERROR: ResolutionImpossible: see\n", "no answer"),
        ("WARNING: Retrying (Retry(1))\nERROR: no space left\n", "ERROR: no space left"),
    ],
)
def test_the_last_words_say_why(output: str, expected: str) -> None:
    words = steps.last_words(output)
    assert words.startswith(expected)
    assert bool(words) == bool(expected)


def test_a_failing_command_is_one_line_and_its_output_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for word in ("first", "second"):
        command = [sys.executable, "-c", f"raise SystemExit('said\\nERROR: {word}')"]
        with pytest.raises(steps.SetupError, match=f"^ERROR: {word}$"):
            steps.call(command, tmp_path, log, {})
    assert log.read_text(encoding="utf-8").split() == ["said", "ERROR:", "first", "said", "ERROR:", "second"]


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    forever = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(steps.SetupError, match=r"no end within 0\.1 s"):
        steps.call(forever, tmp_path, tmp_path / "log", {}, limit=0.1)


def test_an_environment_that_has_everything_lacks_nothing() -> None:
    """Else it would be made anew each time a script is called, under whatever runs in it."""
    wanted = environment.modules(environment.ROOT, ("dev",))
    assert environment.missing(sys.executable, wanted, None) == []
