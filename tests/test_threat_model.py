"""What docs/threat_model.md and docs/audit.md name as their evidence is there: files, functions and tests."""

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


@pytest.mark.parametrize(("page", "least"), [("threat_model.md", 25), ("audit.md", 3)])
def test_what_a_page_names_is_there(page, least):
    found = named(page)
    assert len(found) >= least
    for path, name in found:
        texts = sources(path)
        assert len(texts) == 1, path
        for part in name.split("."):
            assert not part or re.search(rf"^\s*(def|class) {part}\b", texts[0], re.MULTILINE), (path, name)


def test_links_of_the_pages_lead_to_files():
    for page in ("threat_model.md", "audit.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)", (DOCS / page).read_text(encoding="utf-8")):
            assert (DOCS / link).exists(), (page, link)
