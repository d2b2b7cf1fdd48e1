"""Folders of results: made new, gone on with, told apart, and the names of what lies in them."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgefed.errors import SettingsError
from edgefed.lock import LOCK

if TYPE_CHECKING:
    from edgefed.config import FederationConfig

EXPLANATION_HOME = "explanation"
"""The folder within a run's or comparison's in which its explanation is kept."""
EXPLANATION, COLLECTED, SELECTION = "explanation.json", "collected.npz", "selection.json"
EXPLANATION_PAGE = "explanation.html"
"""Its files: what it came to, what clients said, which features were selected."""
AUDIT_HOME, AUDIT = "audit", "audit.json"
"""The folder within a run's or comparison's in which its audit is kept, and its file."""


GO_ON = "give another folder, or --resume to go on (in Python: out=, resume=True)"


def check_new(folder: Path, *, instead: str = GO_ON) -> None:
    """Refuse a folder that has something in it, or a file of its name; ``instead`` is what would do.

    Raises
    ------
    SettingsError
    """
    if folder.exists() and (not folder.is_dir() or any(path.name != LOCK for path in folder.iterdir())):
        raise SettingsError(f"--out {folder}: exists already; {instead}")


def new_folder(wanted: str | Path | None, name: str, *, instead: str = GO_ON) -> Path:
    """Make the folder of a run: the one asked for, or ``runs/NAME``, numbered so that nothing is overwritten.

    ``instead`` is what would do where the folder asked for has something in it.

    Raises
    ------
    SettingsError
        When the folder asked for exists with something in it, or cannot be made.
    """
    try:
        if wanted is not None:
            folder = Path(wanted)
            check_new(folder, instead=instead)
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        number = 1
        while True:
            folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir(parents=True)
                return folder
            number += 1
    except SettingsError:
        raise
    except OSError as error:
        raise SettingsError(f"--out {wanted or folder}: cannot be made ({error.strerror})") from None
    except ValueError as error:  # a NUL in the path
        raise SettingsError(f"--out {wanted}: cannot be made ({error})") from None


def is_begun(folder: Path) -> bool:
    """Return whether a run's folder can be gone on with; one that was killed before it had both files cannot."""
    return (folder / "config.toml").is_file() and (folder / "manifest.json").is_file()


def check_kind(folder: Path, wanted: str) -> None:
    """Refuse to go on with a folder of another kind than ``run`` or ``comparison``; a grid counts as a comparison.

    Raises
    ------
    SettingsError
        In a line that says what the folder is.
    """
    kinds = {"run": ("run", is_begun(folder)), "comparison": ("compare", (folder / "plan.json").is_file())}
    for kind, (command, found) in kinds.items():
        if found and kind != wanted:
            raise SettingsError(
                f"--resume --out {folder}: a {kind}'s folder, expected a {wanted}'s; edgefed {command} --resume goes "
                "on with it"
            )


def kept_in(folder: Path | None) -> str:
    """Return where a result is kept, in words."""
    return "in memory" if folder is None else f"in {folder}"


def other_setting(key: str, asked: object, where: Path, kept: object) -> SettingsError:
    """Return what refuses to go on in a folder that began with another value of a setting."""
    instead = ""
    if key == "num-server-rounds":
        instead = "; what was begun keeps its rounds: more, or fewer, need a new folder"
    return SettingsError(f"--resume: {key}={asked} differs from {where}, which has {key}={kept}{instead}")


def clear_start(folder: Path, config: FederationConfig) -> None:
    """Take away what a start under these settings left in a folder when it was killed, where there is nothing else.

    A ``config.toml`` that is not to the byte what the start wrote is a person's own: all is left alone.
    """
    left = [path for path in folder.iterdir() if path.name != LOCK] if folder.is_dir() else []
    begun = config.to_toml().encode()
    if all(
        path.is_file() and (is_temporary(path) or (path.name == "config.toml" and path.read_bytes() == begun))
        for path in left
    ):
        for path in left:
            path.unlink()


def is_temporary(path: Path) -> bool:
    """Return whether a file is what :func:`write_atomically` was writing when it was killed."""
    return re.fullmatch(r"\..+\.[0-9]+\.[0-9a-f]{8}", path.name) is not None


def explanation_folder(home: Path) -> Path:
    """Return the folder within a run's or comparison's that its explanation goes to, made if need be.

    Raises
    ------
    SettingsError
        When it cannot be made.
    """
    return made_folder(home, EXPLANATION_HOME)


def made_folder(home: Path, name: str) -> Path:
    """Return a folder within a run's or comparison's, made if need be.

    Raises
    ------
    SettingsError
        When it cannot be made.
    """
    folder = home / name
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{folder}: cannot be made ({error.strerror})") from None
    return folder


def is_folder_of(folder: Path, kind: str) -> bool:
    """Return whether a folder holds a ``run`` (finished or not), a finished ``comparison`` or a finished ``grid``."""
    return (folder / {"run": "manifest.json", "comparison": "comparison.json", "grid": "grid.json"}[kind]).is_file()
