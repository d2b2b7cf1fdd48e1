"""What a folder is, told to a person who gave it where another is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefed.errors import SettingsError
from edgefed.runs.files import read_json
from edgefed.runs.folder import is_folder_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

EXPECTED = {
    ("run",): "one run's folder",
    ("run", "comparison"): "the folder of a run or a comparison",
    ("run", "comparison", "grid"): "the folder of a run, a comparison or a grid",
}
"""What commands take -> in words."""


def check_folder(folder: Path, *takes: str) -> None:
    """Refuse what is no result of the kinds that a command takes, in a line that says what it is and what would do.

    Parameters
    ----------
    folder : path
    takes : str
        ``run``, ``comparison`` and ``grid``, as :data:`EXPECTED` has them.

    Raises
    ------
    SettingsError
        A run that is not finished is none of these mistakes.
    """
    expected = EXPECTED[takes]
    if folder.is_file():
        leads = folder.suffix.lower() in (".csv", ".toml") and not _kind(folder.parent)
        how = f"edgefed run {folder} makes one" if leads else _whose(folder)
        raise SettingsError(f"{folder}: a file, expected a run's folder{f'; {how}' if how else ''}")
    kind = _kind(folder)
    if kind in takes:
        return
    if kind == "comparison":
        first = next(iter(sorted((folder / "federations").glob("*/*/*/manifest.json"))), None)
        one = f"; or give one of its runs, as {first.parent}" if first else ""
        best = folder / "best.toml"
        how = f": edgefed run {best} trains its best as a run" if best.is_file() else ""
        raise SettingsError(f"{folder}: a comparison of many runs, expected {expected}{how}{one}")
    if kind == "grid":
        block = _first(sorted((folder / "blocks").glob("*")), "comparison")
        how = (
            f": give one of its blocks, as {block or folder / 'blocks' / '…'}"
            if "comparison" in takes
            else f": edgefed run {folder / 'blocks'}/…/best.toml trains the best of a block as a run"
        )
        raise SettingsError(f"{folder}: a grid of comparisons, expected {expected}{how}")
    if (folder / "plan.json").is_file():
        begun = "grid" if "grid" in read_json(folder / "plan.json") else "comparison"
        raise SettingsError(
            f"{folder}: a {begun} that is not finished, expected {expected}: edgefed compare --resume --out {folder} "
            "goes on with it"
        )
    if (folder / "deployment.json").is_file() or (folder / "device.json").is_file():
        raise SettingsError(
            f"{folder}: devices are set up here, expected {expected}: the one that edgefed launch named at its end"
        )
    raise SettingsError(f"{folder / 'manifest.json'}: no such file; is {folder} a run folder?{_hint(folder)}")


def _kind(folder: Path) -> str:
    return next((kind for kind in ("run", "comparison", "grid") if is_folder_of(folder, kind)), "")


def _hint(folder: Path) -> str:
    """Return what a folder that is no result is all the same, and what would do; empty where nobody can say."""
    if not folder.exists():
        return " nothing is there; edgefed run makes one and names it at its end"
    within = list(folder.iterdir())
    if not within:
        return f" it is empty; edgefed run --out {folder} makes one of it"
    if one := _first(sorted(within), "run", "comparison", "grid"):
        return f" there are some in it: give one, as {one}"
    whose = _whose(folder)
    return f" {whose}" if whose else ""


def _first(folders: Iterable[Path], *kinds: str) -> Path | None:
    return next((folder for folder in folders if _kind(folder) in kinds), None)


def _whose(path: Path) -> str:
    """Return in words the result that a path is a part of; empty where it is of none."""
    home = next((parent for parent in list(path.parents)[:2] if _kind(parent)), None)
    return f"it is a part of {home}: give that" if home is not None else ""


def is_finished(folder: Path) -> bool:
    """Return whether a folder holds a run that went to its end."""
    return is_folder_of(folder, "run") and "summary" in read_json(folder / "manifest.json")
