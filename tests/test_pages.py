"""What pages name is there: files, functions, tests, links, headings, commands, extras; nothing is left to fill in."""

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from typer.main import get_command

import edgefed
from edgefed.cli import app
from edgefed.config import read_settings

TESTS = Path(__file__).parent
CODE = Path(edgefed.__file__).parent
HOME = CODE.parent
PAGES = sorted(
    path.relative_to(HOME).as_posix()
    for pattern in ("*.md", "docs/*.md", "experiments/*/*.md")
    for path in HOME.glob(pattern)
)
DOCS = [page for page in PAGES if page.startswith("docs/")]
FEWEST = {"docs/threat_model.md": 25, "docs/guarantees.md": 45, "docs/audit.md": 3}
"""Evidence that these pages name, at least: they live from it."""
COMMANDS = {"README.md": 15, "docs/devices.md": 15, "docs/explanations.md": 5}
"""Commands that these pages quote, at least."""
OF_A_READER = ("edgefed_example.py",)
"""Files that a page has the reader write."""
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def text_of(page):
    return (HOME / page).read_text(encoding="utf-8")


def named(page):
    """Return (file, name or empty text) for each Python file in back quotes; ``::name`` goes on with the last file.

    A name begins with no digit: ``::1`` is an address.
    """
    found, last = [], ""
    for path, name in re.findall(r"`([\w/]+\.py)?(?:::([^\W\d][\w.]*))?`", text_of(page)):
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


def anchors(path):
    """Return what links may point to in a page: its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings]


def quoted(page):
    """Return the lines that a page quotes: in blocks, and in back quotes between them."""
    text = text_of(page).replace("\\\n", " ")
    between = FENCED.sub("", text)
    lines = [line for block in FENCED.findall(text) for line in block.splitlines()]
    lines += [line for line in between.splitlines() if line.startswith("    ")]
    lines += re.findall(r"`([^`]+)`", between)
    return [" ".join(re.sub(r"\s#.*", "", line).split()) for line in lines]


@pytest.mark.parametrize("page", DOCS)
def test_what_a_page_names_is_there(page):
    found = named(page)
    assert len(found) >= FEWEST.get(page, 0)
    paths = {path for path, _ in found if Path(path).name.startswith("test_")}
    assert len(paths) == len({Path(path).name for path in paths}), "a file of tests is written in two ways"
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
        target = (HOME / page).parent / path if path else HOME / page
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


@pytest.mark.parametrize("page", PAGES)
def test_folders_and_files_of_the_project_that_a_page_names_are_there(page):
    lines = "\n".join(quoted(page))
    for path in re.findall(r"(?:^|python )((?:docs|experiments|scripts)/[\w./-]+\w)", lines, re.MULTILINE):
        assert (HOME / path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_quotes_are_there_with_their_options_and_settings(page):
    """Not what they mean together: that is seen where they are run."""
    commands = get_command(app).commands
    read = 0
    for line in quoted(page):
        if found := re.match(r"(?:sudo -u \w+ )?(?:\S*/)?edgefed ([a-z].*)", line):
            name, *words = shlex.split(re.sub(r"[][]", "", found[1]))
            assert name in commands, line
            given = commands[name].make_parser(click.Context(commands[name])).parse_args(words)[0]
            read_settings(None, given.get("settings") or ())
            read += 1
    assert read >= COMMANDS.get(page, 0)


@pytest.mark.parametrize("page", PAGES)
def test_extras_that_a_page_names_are_there(page):
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(re.findall(r"edgefed\[(\w+)\](?!\()", text_of(page))) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("page", DOCS)
def test_nothing_is_left_to_fill_in(page):
    found = re.search(r"\b(TODO|TBD|FIXME|XXX+|to be (?:measured|written|done|filled))\b|\?\?|]\(\)", text_of(page))
    assert found is None, found
