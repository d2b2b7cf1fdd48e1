"""Run every check of the project, as CI does.

    python scripts/test.py [--quick] [arguments of pytest]

ruff (lint and format) and import-linter run one after the other, then mypy beside pytest, all of them even if one
fails, and the exit code says whether any did. pytest shares its files out to the cores (`-n 1` does not).
`--quick` leaves out the tests that start Flower's own runtimes. The tests that open pages need a browser: on
Debian and Ubuntu apt-get installs chromium where it is missing and that takes no password; elsewhere they skip.
Paths are relative to the checkout. The interpreter that runs this is used where it has this checkout and every
tool; otherwise an environment is made in `.venv`, once.
"""

import os
import subprocess
import sys
import time

from python_version import require_python

require_python()  # before the next import, which an old Python cannot read

from browser import ensure_browser  # noqa: E402
from environment import ROOT, console_command, environment_variables, ready_python  # noqa: E402
from steps import end, finish  # noqa: E402

# Nothing that a test starts calls home, installs anything or opens a window.
VARIABLES = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "MPLBACKEND": "Agg",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "",  # some containers set it: each of hundreds of processes would compile edgefed anew
}

MOST_PROCESSES = 4
"""Of pytest's that work, a core each: each holds PyTorch and Flower, up to three quarters of a gigabyte."""
WAITING = 2
"""Further ones where Flower's own runtimes are started: those tests wait more than they work."""


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    quick = "--quick" in arguments
    chosen = ["-m", "not runtime"] if quick else []
    chosen += [argument for argument in arguments if argument != "--quick"]
    if not {"-n", "--numprocesses", "--pdb", "-s"} & set(chosen):
        # A file's tests stay together: they share what is slow to make. tests/conftest.py puts the files in order.
        processes = min(os.cpu_count() or 1, MOST_PROCESSES) + (0 if quick else WAITING)
        chosen += ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]
    started = time.monotonic()
    python = ready_python(("dev", "simulation"), this_checkout=True)
    ensure_browser()
    alone = {
        "ruff check": [python, "-m", "ruff", "check", "--quiet"],
        "ruff format --check": [python, "-m", "ruff", "format", "--check", "--quiet"],
        "lint-imports": console_command(python, "importlinter.cli:lint_imports_command", "lint-imports"),
    }
    variables = {**environment_variables(python, os.environ), **VARIABLES}
    failed = []
    for name, command in alone.items():
        with Check(name, command, variables) as check:
            failed += [] if check.passes() else [name]
    types, tests = [python, "-m", "mypy"], [python, "-m", "pytest", *chosen]
    with Check("mypy", types, variables) as first, Check("pytest", tests, variables) as second:
        failed += [check.name for check in (first, second) if not check.passes()]
    verdict = f"failed: {', '.join(failed)}" if failed else "every check passed"
    print(f"{verdict} ({time.monotonic() - started:.0f} s in all)", flush=True)
    return 1 if failed else 0


class Check:
    """One check, running from the start; its own output is printed only where it fails, and always pytest's."""

    def __init__(self, name: str, command: list[str], variables: dict[str, str]) -> None:
        self.name = name
        self.started = time.monotonic()
        shown = name == "pytest"
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=variables,
            stdout=None if shown else subprocess.PIPE,
            stderr=None if shown else subprocess.STDOUT,
        )

    def __enter__(self) -> "Check":
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process, patience=15)

    def passes(self) -> bool:
        """Wait for its end and print its result, on a line of its own."""
        output, _ = self.process.communicate()
        if self.name == "mypy":  # pytest is in the middle of one
            print()
        if self.process.returncode and output:
            sys.stdout.write(output.decode("utf-8", errors="replace"))
        word = "FAILED" if self.process.returncode else "passed"
        print(f"{self.name:<20} {word}  {time.monotonic() - self.started:6.1f} s", flush=True)
        return self.process.returncode == 0


if __name__ == "__main__":
    finish(main)
