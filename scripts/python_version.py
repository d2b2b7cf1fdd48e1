"""Refuse an old Python in one line: everything in this file must parse on Python 3.6."""

import sys

MINIMUM = (3, 11)


def python_problem(version: "tuple[int, ...]") -> str:
    """Say in one line what is wrong with this version of Python; nothing where it will do."""
    if tuple(version[:2]) >= MINIMUM:
        return ""
    return "Python 3.11 or later is needed, and this is {}.{}: run the script with a newer one".format(*version[:2])


def require_python() -> None:
    """Leave with exit code 2 where Python is too old."""
    problem = python_problem(sys.version_info[:2])
    if problem:
        sys.stderr.write(problem + "\n")
        sys.exit(2)
