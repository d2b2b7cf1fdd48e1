"""Run every check of the project, as CI does.

    python scripts/test.py [--quick] [arguments of pytest]

ruff (lint and format), mypy, import-linter and pytest run one after the other, all of them even if one
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
}

MOST_PROCESSES = 4
"""Of pytest's: each holds PyTorch and Flower, half a gigabyte."""


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    quick = "--quick" in arguments
    chosen = ["-m", "not runtime"] if quick else []
    chosen += [argument for argument in arguments if argument != "--quick"]
    if not {"-n", "--numprocesses", "--pdb", "-s"} & set(chosen):
        # A file's tests stay together: they share what is slow to make.
        chosen += ["-n", str(min(os.cpu_count() or 1, MOST_PROCESSES)), "--dist", "loadfile"]
    started = time.monotonic()
    python = ready_python(("dev", "simulation"), this_checkout=True)
    ensure_browser()
    checks = {
        "ruff check": [python, "-m", "ruff", "check", "--quiet"],
        "ruff format --check": [python, "-m", "ruff", "format", "--check", "--quiet"],
        "mypy": [python, "-m", "mypy"],
        "lint-imports": console_command(python, "importlinter.cli:lint_imports_command", "lint-imports"),
        "pytest": [python, "-m", "pytest", *chosen],
    }
    variables = {**environment_variables(python, os.environ), **VARIABLES}
    failed = [name for name, command in checks.items() if not passes(name, command, variables)]
    verdict = f"failed: {', '.join(failed)}" if failed else "every check passed"
    print(f"{verdict} ({time.monotonic() - started:.0f} s in all)", flush=True)
    return 1 if failed else 0


def passes(name: str, command: list[str], variables: dict[str, str]) -> bool:
    """Run one check and print its result; its own output only where it fails, and always pytest's."""
    started = time.monotonic()
    shown = name == "pytest"
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=variables,
        stdout=None if shown else subprocess.PIPE,
        stderr=None if shown else subprocess.STDOUT,
    )
    try:
        output, _ = process.communicate()
    finally:
        end(process, patience=15)
    if process.returncode and output:
        sys.stdout.write(output.decode("utf-8", errors="replace"))
    word = "FAILED" if process.returncode else "passed"
    print(f"{name:<20} {word}  {time.monotonic() - started:6.1f} s", flush=True)
    return process.returncode == 0


if __name__ == "__main__":
    finish(main)
