"""From a fresh checkout to the comparison on iris, in one command.

    python scripts/quickstart.py [arguments of `edgefed compare`]

The interpreter that runs this is used where edgefed is installed in it; otherwise an environment is made in
`.venv`, once. Arguments are passed on: `--seeds 3` makes it shorter.
"""

from python_version import require_python

require_python()  # before the next import, which an old Python cannot read

from hand_over import hand_over  # noqa: E402
from steps import finish  # noqa: E402

if __name__ == "__main__":
    finish(lambda arguments: hand_over(["compare"], arguments, __doc__))
