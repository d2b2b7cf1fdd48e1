"""A comparison, a run or a grid as one HTML file that needs nothing else: no network, no fonts, no pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgefed.config import SettingsError
from edgefed.report.folder import ComparisonFolder, ExplanationFolder
from edgefed.report.page.comparison import comparison_page
from edgefed.report.page.explanation import explanation_page
from edgefed.report.page.grid import block_folders, grid_page
from edgefed.report.page.render import render
from edgefed.report.page.run import run_page
from edgefed.runs import (
    EXPLANATION,
    EXPLANATION_HOME,
    EXPLANATION_PAGE,
    Run,
    check_folder,
    is_folder_of,
    write_atomically,
)

if TYPE_CHECKING:
    from edgefed.report.page.blocks import Page

__all__ = ["NAME", "write_explanation", "write_report", "write_reports"]

NAME = "report.html"


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into the folder of a run, a comparison or a grid, from its files alone, and return it.

    A page that is there is written over. With a grid's page those of its blocks are written, which it links to.

    Raises
    ------
    SettingsError
        One line, when the folder is none of the three or not finished, or cannot be written.
    """
    return write_reports(folder)[-1]


def write_reports(folder: str | Path) -> list[Path]:
    """Do as :func:`write_report` and return every page that was written, the folder's own last."""
    folder = Path(folder)
    check_folder(folder, "run", "comparison", "grid")
    written = []
    if (folder / "grid.json").is_file():
        page = grid_page(folder)
        written += [write_report(home) for home in block_folders(folder)]
    elif is_folder_of(folder, "comparison"):
        page = comparison_page(ComparisonFolder.read(folder))
    else:
        page = run_page(Run.read(folder))
    own = _write(folder / NAME, page)
    if (folder / EXPLANATION_HOME / EXPLANATION).is_file():
        written.append(_write(folder / EXPLANATION_PAGE, explanation_page(ExplanationFolder.read(folder))))
    return [*written, own]


def write_explanation(folder: str | Path) -> Path:
    """Write ``explanation.html`` into the folder of a run or comparison that was explained, and return it.

    The folder's ``report.html``, where there is one, is written again, so that the two link to each other.

    Raises
    ------
    SettingsError
        One line, when the folder has no explanation or cannot be written.
    """
    folder = Path(folder)
    path = _write(folder / EXPLANATION_PAGE, explanation_page(ExplanationFolder.read(folder)))
    if (folder / NAME).is_file():
        write_report(folder)
    return path


def _write(path: Path, page: Page) -> Path:
    try:
        write_atomically(path, render(page).encode(errors="replace"), durable=False)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror})") from None
    return path
