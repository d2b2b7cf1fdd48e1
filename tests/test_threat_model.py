"""What the pages in docs/ name is there: files, functions, tests, links, headings; and nothing is left to fill in."""

import re
from pathlib import Path

import pytest

import edgefed

TESTS = Path(__file__).parent
CODE = Path(edgefed.__file__).parent
DOCS = CODE.parent / "docs"


def named(page):
    """Return (file, name or empty text) for each Python file in back quotes; ``::name`` goes on with the last file."""
    found, last = [], ""
    text = (DOCS / page).read_text(encoding="utf-8")
    for path, name in re.findall(r"`([\w/]+\.py)?(?:::([\w.]+))?`", text):
        if path or name:
            last = path or last
            found.append((last, name))
    return found


def sources(path):
    """Return the text of the files that a page may mean: tests under tests/, others anywhere in the package."""
    short = path.removeprefix("tests/").removeprefix("edgefed/")
    home = TESTS if Path(path).name.startswith("test_") else CODE
    return [
        file.read_text(encoding="utf-8") for file in home.rglob("*.py") if f"/{file.as_posix()}".endswith(f"/{short}")
    ]


PAGES = sorted(path.name for path in DOCS.glob("*.md"))
FEWEST = {"threat_model.md": 25, "guarantees.md": 45, "audit.md": 3}
"""Evidence that these pages name, at least: they live from it."""
OF_A_READER = ("edgefed_example.py",)
"""Files that a page has the reader write."""


def text_of(page):
    return (DOCS / page).read_text(encoding="utf-8")


def anchors(path):
    """Return what links may point to in a page: its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page):
    found = named(page)
    assert len(found) >= FEWEST.get(page, 0)
    for path, name in found:
        if path in OF_A_READER:
            continue
        texts = sources(path)
        assert len(texts) == 1, path
        for part in name.split("."):
            assert not part or re.search(rf"^\s*(def|class) {part}\b", texts[0], re.MULTILINE), (path, name)


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\((?!https?:)([^)]*)\)", text_of(page)):
        path, _, heading = link.partition("#")
        target = DOCS / path if path else DOCS / page
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


@pytest.mark.parametrize("page", PAGES)
def test_folders_and_files_of_the_project_that_a_page_names_are_there(page):
    for path in re.findall(r"`((?:docs|experiments|scripts)/[\w./-]+)`", text_of(page)):
        assert (DOCS.parent / path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_left_to_fill_in(page):
    found = re.search(r"\b(TODO|TBD|FIXME|XXX+|to be (?:measured|written|done|filled))\b|\?\?|]\(\)", text_of(page))
    assert found is None, found
