"""Hands this process over to the `edgefed` command, in an environment where it is installed."""

import os
import subprocess
from collections.abc import Sequence

from environment import console_command, environment_variables, ready_python


def hand_over(words: Sequence[str], arguments: Sequence[str], usage: str | None) -> int:
    """Run `edgefed WORDS ARGUMENTS`; `-h` prints the script's own usage and installs nothing."""
    if {"-h", "--help"} & set(arguments):
        print(usage)
        return 0
    python = ready_python()
    command = [*console_command(python, "edgefed.cli:main", "edgefed"), *words, *arguments]
    variables = environment_variables(python, os.environ)
    if os.name == "posix":
        # In place of this process, so that signals and the exit code are edgefed's own.
        os.execve(command[0], command, variables)
    process = subprocess.Popen(command, env=variables)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # edgefed had it too: it ends tidily and says how to resume.
            continue
