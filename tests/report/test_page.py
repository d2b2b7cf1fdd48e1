"""A comparison's page: one file that needs nothing else, its figures those of comparison.json, every name escaped."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_folders import write_comparison, write_run
from page_figures import add_new_figures
from page_reader import Page, read

from edgefed.config import SettingsError
from edgefed.report import write_report
from edgefed.report.page.repeat import compare_command
from edgefed.report.page.svg import ticks
from edgefed.runs import read_json, write_json

IN_ORDER = (
    "tiers",
    "recall",
    "measures",
    "shards",
    "applied",
    "cost",
    "orders",
    "references",
    "warnings",
    "repeat",
)
NEW_KEYS = ("rates", "recall", "clients", "cost", "bytes", "steps", "by_order", "pooled", "applied", "nadeau_bengio")
HOSTILE = "<script>alert('x')</script>\"&amp;`code`{{ 7*7 }} ünïcødé 語"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def signed(value: float) -> str:
    shown = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if shown in ("+0.0", "−0.0") else shown


@pytest.fixture(scope="module")
def folder(comparison: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("page") / "compared"
    shutil.copytree(comparison, home)
    add_new_figures(home)
    return home


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return read(folder)


def test_it_is_one_file_that_loads_nothing(folder: Path) -> None:
    path = write_report(folder)
    text = path.read_text(encoding="utf-8")
    assert path == folder / "report.html"
    assert not re.search(r"(?:https?:)?//[\w.-]+\.\w|@import|url\((?!#)", text)
    for tag, attributes in Page(text).elements:
        for key in ("src", "href", "srcset", "data", "action"):
            assert (attributes.get(key) or "#").startswith(("#", "data:,")), (tag, attributes)


def test_it_is_the_same_bytes_each_time(folder: Path) -> None:
    assert write_report(folder).read_bytes() == write_report(folder).read_bytes()


def test_ids_are_of_one_element_each_and_references_lead_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for key in ("aria-labelledby", "for", "aria-describedby"):
            assert set((attributes.get(key) or "").split()) <= set(ids)
        if (attributes.get("href") or "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_landmarks_headings_and_pictures_can_be_read_aloud(page: Page) -> None:
    tags = [tag for tag, _ in page.elements]
    assert [tags.count(tag) for tag in ("main", "nav", "header", "footer", "h1")] == [1, 1, 1, 1, 1]
    first_link = next(attributes for tag, attributes in page.elements if tag == "a")
    assert first_link == {"class": "skip", "href": "#main"}
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes.get("role") == "img" or attributes.get("aria-hidden") == "true"
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
    assert tags.count("caption") == tags.count("table")
    assert tags.count("svg") > 8


def test_every_section_is_there_in_order(page: Page) -> None:
    sections = [attributes["aria-labelledby"] for tag, attributes in page.elements if tag == "section"]
    assert [name for name in sections if name in IN_ORDER] == list(IN_ORDER)
    assert {"rates", "curves", "terms"} <= set(sections)


def test_the_answer_says_what_helps_by_how_much_and_what_it_needs(page: Page, folder: Path) -> None:
    arms = {arm["name"]: arm for arm in read_json(folder / "comparison.json")["strategies"]}
    assert [arm["tier"] for arm in arms.values() if arm["name"] == "post-hoc"] == ["better than none"]
    gap = arms["post-hoc"]["difference"]
    said = f"post-hoc by {percent(gap['mean'])} points (95 % interval {percent(gap['low'])} to {percent(gap['high'])})"
    assert said in re.sub(r"\s+", " ", page.text)
    assert "random-oversampling cannot be told from none" in page.text
    assert "One is worse than none: class-weights-balanced-local" in page.text
    assert "What that needs from the clients post-hoc nothing" in page.text


def test_the_figures_are_those_of_the_json(page: Page, folder: Path) -> None:
    result = read_json(folder / "comparison.json")
    for arm in result["strategies"]:
        name, score, gap = arm["name"], arm["balanced_accuracy"], arm["difference"]
        row = page.row("differences", name)
        assert row[1] == arm["tier"].removesuffix(" than none").removesuffix(" from none")
        assert row[2] == f"{percent(score['mean'])} {percent(score['low'])} to {percent(score['high'])}"
        if gap:
            assert row[3] == f"{signed(gap['mean'])} {signed(gap['low'])} to {signed(gap['high'])}"
            wide = arm["nadeau_bengio"]
            assert row[4] == f"{signed(wide['low'])} to {signed(wide['high'])}"
            ties = "1 tie" if gap["ties"] == 1 else f"{gap['ties']} ties"
            assert row[6] == f"{percent(gap['detectable'])} {ties}"
        recalls = page.row("recall-by-class", name)[1:]
        assert [cell.split()[0] for cell in recalls] == [percent(part["mean"]) for part in arm["recall"]]
        median = arm["cost"]["rounds"]["median"]
        assert page.row("cost-table", name)[1] == ("not reached" if median is None else str(median))
        assert page.row("cost-table", name)[2] == str(arm["cost"]["rounds"]["reached"])
        assert page.row("clients-measures", name)[2].split()[0] == percent(arm["clients"]["worst"]["mean"])
        assert page.row("pooled", name)[2].split()[0] == percent(arm["pooled"]["mean"])
    for name, figure in result["references"].items():
        assert page.row("references", name)[1].split()[0] == percent(figure["mean"])
    orders = next(arm["by_order"] for arm in result["strategies"] if arm["name"] == "post-hoc")
    column = page.tables["orders"][0].index("post-hoc")
    for part in orders:
        assert page.row("orders", " › ".join(part["order"]))[column] == signed(part["difference"])


def test_a_target_that_no_seed_reaches_is_said_and_sorts_last(folder: Path, tmp_path: Path) -> None:
    home = shutil.copytree(folder, tmp_path / "never")
    result = read_json(home / "comparison.json")
    for arm in result["strategies"]:
        never = {"values": [None] * 8, "median": None, "reached": 0}
        arm["cost"] |= {"rounds": never, "bytes": never}
    write_json(home / "comparison.json", result)
    text = write_report(home).read_text(encoding="utf-8")
    assert Page(text).row("cost-table", "none")[1:4] == ["not reached", "0", "not reached"]
    assert 'data-v="Infinity"><span class="t">not reached' in text
    assert "0 of 8 reached" in text


def test_older_folders_have_a_page_without_the_newer_sections(comparison: Path) -> None:
    page = read(comparison)
    sections = [attributes["aria-labelledby"] for tag, attributes in page.elements if tag == "section"]
    assert {"tiers", "curves", "shards", "applied", "references", "repeat", "terms"} <= set(sections)
    assert not {"cost", "orders", "rates"} & set(sections)
    assert "recall-by-class" not in page.tables


@pytest.mark.parametrize("key", NEW_KEYS)
def test_any_of_the_newer_keys_may_be_missing_or_null(folder: Path, tmp_path: Path, key: str) -> None:
    home = shutil.copytree(folder, tmp_path / "without")
    whole = read_json(home / "comparison.json")
    for change in ("missing", "null", "null in one"):
        result = json.loads(json.dumps(whole))
        for arm in result["strategies"][: 1 if change == "null in one" else None]:
            del arm[key]
            if change != "missing":
                arm[key] = None
        write_json(home / "comparison.json", result)
        assert "differences" in read(home).tables


def test_figures_that_are_null_show_as_a_dash(folder: Path, tmp_path: Path) -> None:
    home = shutil.copytree(folder, tmp_path / "nulls")
    result = read_json(home / "comparison.json")
    arm = next(arm for arm in result["strategies"] if arm["name"] == "post-hoc")
    arm["log_loss"] = {"mean": None, "low": None, "high": None, "values": [None] * 8}
    arm["recall"][0] |= {"mean": None, "low": None, "high": None}
    write_json(home / "comparison.json", result)
    page = read(home)
    assert "–" in page.row("measures", "post-hoc")
    assert page.row("recall-by-class", "post-hoc")[1] == "–"
    assert "nan" not in page.text.lower().split()


def test_names_are_escaped_wherever_they_stand(tmp_path: Path) -> None:
    classes = (HOSTILE, "</style></svg>", "a" * 90)
    write_comparison(
        tmp_path / "compared", {"none": 0.0, "post-hoc": 0.15, HOSTILE.replace("/", "|"): 0.0}, seeds=6, classes=classes
    )
    result = add_new_figures(tmp_path / "compared")
    result["generalises_over"], result["setting"] = f"on {HOSTILE}", HOSTILE
    result["strategies"][0]["family"] = result["strategies"][0]["needs"] = result["strategies"][0]["about"] = HOSTILE
    result["strategies"][0]["applied"]["clients"][0] |= {"client": HOSTILE, "why": HOSTILE}
    write_json(tmp_path / "compared" / "comparison.json", result)
    text = write_report(tmp_path / "compared").read_text(encoding="utf-8")
    page = Page(text)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert [tag for tag, _ in page.elements].count("style") == 1
    assert "<script>alert" not in text
    assert "alert" not in re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0]
    heads = [" ".join(cell.split()) for cell in page.tables["recall-by-class"][0]]
    assert heads[1:] == [HOSTILE, *classes[1:]]
    assert "49" not in heads[1]


def test_a_control_alone_and_too_few_seeds_have_a_page(tmp_path: Path) -> None:
    write_comparison(tmp_path / "alone", {"none": 0.0}, seeds=3)
    assert "Nothing was compared" in read(tmp_path / "alone").text
    write_comparison(tmp_path / "few", {"none": 0.0, "post-hoc": 0.2}, seeds=2)
    assert "Too few seeds to tell any remedy from none" in read(tmp_path / "few").text


def test_a_comparison_without_validation_or_every_round_has_a_page(tmp_path: Path) -> None:
    write_comparison(
        tmp_path / "few",
        {"none": 0.0, "post-hoc": 0.2},
        seeds=6,
        validation=False,
        evaluate_every=2,
        rounds=5,
        references=False,
    )
    page = read(tmp_path / "few")
    names = [attributes["id"] for tag, attributes in page.elements if tag == "title" and "id" in attributes]
    assert "curve-test-title" in names
    assert "curve-validation-title" not in names


def test_many_clients_are_listed_up_to_a_limit_that_is_said(tmp_path: Path) -> None:
    write_comparison(tmp_path / "many", {"none": 0.0, "post-hoc": 0.2}, seeds=6, clients=450)
    page = read(tmp_path / "many")
    assert len(page.tables["shards"]) == 1 + 200 + 1
    assert "Listed are the 200 with the most rows" in page.text


def test_many_remedies_stand_below_each_other_where_few_stand_side_by_side(tmp_path: Path, page: Page) -> None:
    write_comparison(tmp_path / "many", {"none": 0.0} | {f"remedy-{n}": 0.0 for n in range(12)}, seeds=6)
    result = add_new_figures(tmp_path / "many")
    many = read(tmp_path / "many")
    orders = [" › ".join(part["order"]) for part in result["strategies"][0]["by_order"]]
    assert [row[0] for row in page.tables["orders"][1:]] == orders
    assert all(cell.startswith(order) for cell, order in zip(many.tables["orders"][0][1:], orders, strict=True))
    for arm in result["strategies"]:
        gap, shown = arm["by_order"][0]["difference"], many.row("orders", arm["name"])[1]
        assert shown == (percent(arm["by_order"][0]["mean"]) if gap is None else signed(gap))
    assert "The other 3 remedies" in many.text


def test_the_command_says_everything_that_a_comparison_was_given() -> None:
    settings = {
        "dataset": "csv",
        "data-path": "my data.csv",
        "alpha": 0.1,
        "long-tail": 1.0,
        "num-server-rounds": 50,
        "batch-size": 10,
        "learning-rate": 0.1,
        "imbalance": "none",
        "hidden": "",
    }
    plan = {"strategies": ["none", "post-hoc"], "seeds": [0, 1, 2], "rates": [0.1, 3.0], "tuned": True}
    assert compare_command(settings, plan) == (
        "edgefed compare 'my data.csv' --strategies none,post-hoc --seeds 3 --tune learning-rate=0.1,3 -s alpha=0.1 "
        "-s long-tail=1 -s num-server-rounds=50 -s hidden="
    )
    untuned = compare_command(settings | {"learning-rate": 0.3}, plan | {"tuned": False, "rates": [0.3]})
    assert "--no-tune" in untuned
    assert "-s learning-rate=0.3" in untuned


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 20, False, [0, 5, 10, 15, 20]),
        (-0.3, 0.62, False, [-0.25, 0.0, 0.25, 0.5]),
        (1, 4, True, [1, 2, 3, 4]),
        (5, 5, False, [5]),
    ],
)
def test_ticks_are_round(low: float, high: float, whole: bool, expected: list[float]) -> None:
    assert ticks(low, high, 4, whole) == pytest.approx(expected)


def test_a_mistake_is_one_line(tmp_path: Path, comparison: Path) -> None:
    with pytest.raises(SettingsError, match=r"no such file; is .* a run folder"):
        write_report(tmp_path)
    write_run(tmp_path / "run")
    (tmp_path / "run" / "report.html").mkdir()
    with pytest.raises(SettingsError, match=r"report\.html: cannot be written"):
        write_report(tmp_path / "run")
    home = shutil.copytree(comparison, tmp_path / "broken")
    (home / "comparison.json").write_text('{"seeds": [0], "strategies": [{"name": "none"}]}')
    with pytest.raises(SettingsError, match="not a comparison's figures"):
        write_report(home)


def test_a_page_needs_neither_torch_nor_ray_nor_matplotlib(folder: Path) -> None:
    script = (
        "import sys; from edgefed.report import write_report; write_report(sys.argv[1]); "
        "print([name for name in ('torch', 'ray', 'matplotlib', 'flwr') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_a_tail_nothing_is_said_of_what_it_dropped(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "level"
    shutil.copytree(folder, home)
    result = read_json(home / "comparison.json")
    ceiling = result["references"]["pooled-before-tail"]["mean"]
    for tail, said in ((10.0, True), (1.0, False)):
        write_json(home / "comparison.json", result | {"settings": {"long-tail": tail}})
        assert (f"pooled training reaches {percent(ceiling)} %" in read(home).text) is said
