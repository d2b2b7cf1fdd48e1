"""From a fresh checkout to the comparison on iris, in one command.

    python scripts/quickstart.py [arguments of `edgefed compare`]

The interpreter that runs this is used where edgefed is installed in it; otherwise an environment is made in
`.venv`, once. Arguments are passed on: `--seeds 3` makes it shorter.
"""

import os
import subprocess

from python_version import require_python

require_python()  # before the next import, which an old Python cannot read

from environment import console_command, environment_variables, ready_python  # noqa: E402
from steps import finish  # noqa: E402


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    python = ready_python()
    command = [*console_command(python, "edgefed.cli:main", "edgefed"), "compare", *arguments]
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


if __name__ == "__main__":
    finish(main)
