"""The page of an explanation: the answer first, its figures, its caveats; and its pictures."""

import math
import shutil
from pathlib import Path

import pytest
from made_explanations import FEATURES, write_explained
from made_folders import write_comparison
from page_reader import Page

from edgefed.config import SettingsError
from edgefed.report import write_report
from edgefed.report.effects import examples_figure
from edgefed.report.explained_features import clients_figure, columns_figure, importance_figure, methods_figure
from edgefed.report.explanation import plot_explanation
from edgefed.report.folder import ExplanationFolder
from edgefed.report.page import write_explanation, write_reports
from edgefed.report.reliability import reliability_figure
from edgefed.report.style import save
from edgefed.runs import EXPLANATION, EXPLANATION_HOME, explanation_folder, read_json, write_json

SECTIONS = {
    "features": "Which features matter",
    "methods": "Do the methods agree?",
    "clients": "Where clients disagree",
    "classes": "Class by class",
    "effects": "How features act",
    "examples": "Rows explained",
    "calibration": "Can its probabilities be trusted?",
    "confusion": "Which class is taken for which",
    "selection": "How many features does it need?",
    "beware": "Before you rely on this",
    "files": "Pictures and figures",
    "repeat": "Do it again",
    "terms": "In plain words",
}
OF_THE_SERVER = ("effects", "examples", "calibration", "confusion")


def page(folder: Path) -> Page:
    return Page(write_explanation(folder).read_text(encoding="utf-8"))


def headings(found: Page) -> list[str]:
    return [words for level, words in found.headings if level == 2]


def test_every_section_is_there_in_order(tmp_path: Path) -> None:
    write_explained(tmp_path / "run")

    assert headings(page(tmp_path / "run")) == list(SECTIONS.values())


def test_the_answer_names_the_strongest_features_with_their_intervals(tmp_path: Path) -> None:
    write_explained(tmp_path / "run")

    text = page(tmp_path / "run").text
    assert "The model leans most on petal length (+0.90; 95 %: +0.75 to +1.05) and petal width" in text.replace(
        " (", " ("
    )
    assert "1 weaker feature has an interval above 0 as well." in text
    assert "Intervals are over clients, for this one model" in text


@pytest.mark.parametrize("seeds", [1, 3])
def test_columns_come_first_where_some_are_categories(tmp_path: Path, seeds: int) -> None:
    write_explained(tmp_path / "run", columns=True, seeds=seeds)

    found = page(tmp_path / "run")
    assert headings(found) == ["Which columns matter", *SECTIONS.values()]
    assert "The model leans most on soil (+1.20; 95 %: +1.00 to +1.40)" in found.text.replace(" (", " (")
    assert "s0, s1, s2, s3, s4, s5, s6, s7 and 5 more" in found.text
    figure = columns_figure(ExplanationFolder.read(tmp_path / "run"))
    assert figure is not None
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["soil", FEATURES[0]]
    drawn = [len(line.get_xdata()) for line in figure.axes[0].lines if line.get_alpha() is not None]
    assert drawn == ([] if seeds == 1 else [3, 3])  # seeds are dots; a client's own figures of columns are not kept


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_seed_is_in_sight_and_clients_far_out_are_counted(tmp_path: Path, seeds: int) -> None:
    """One value of each picture's is 50, where intervals end near 1."""
    result = write_explained(tmp_path / "run", seeds=seeds)
    before = importance_figure(ExplanationFolder.read(tmp_path / "run")).axes[0].get_xlim()
    if seeds == 1:
        result["by_client"]["loss"][2][0] = 50.0
    else:
        result["importance"][0]["values"][1] = result["importance"][0]["accuracy"]["values"][1] = 50.0
    write_json(explanation_folder(tmp_path / "run") / EXPLANATION, result)

    figure = importance_figure(ExplanationFolder.read(tmp_path / "run"))
    words = " ".join(figure.get_supxlabel().split())
    ends = [axes.get_xlim() for axes in figure.axes]
    dots = [[x for line in axes.lines if line.get_alpha() for x in line.get_xdata()] for axes in figure.axes]
    if seeds == 1:
        outside = sum(not before[0] <= value <= before[1] for row in result["by_client"]["loss"] for value in row)
        assert ends[0] == before
        assert max(dots[0]) < 1.2
        assert f"dots are clients ({outside} dots beyond the axis);" in words
        assert "dots are clients, where they lie within the axis." in page(tmp_path / "run").text
    else:
        assert (ends[0][1] > 50, ends[1][1] > 5000) == (True, True)
        assert list(map(max, dots)) == pytest.approx([50, 5000])
        assert "dots are seeds; filled marks" in words
        assert "dots are seeds. A filled mark" in page(tmp_path / "run").text


def test_a_feature_whose_interval_includes_zero_is_said_to(tmp_path: Path) -> None:
    result = write_explained(tmp_path / "run")
    result["importance"][1] |= {"low": -0.1}
    write_json(explanation_folder(tmp_path / "run") / EXPLANATION, result)

    assert "The interval of petal width includes 0: clients differ that much." in page(tmp_path / "run").text


def test_of_many_features_it_is_said_what_chance_would_show(tmp_path: Path) -> None:
    write_explained(tmp_path / "few")
    result = write_explained(tmp_path / "many", features=[f"x{place}" for place in range(20)])
    above = sum(row["low"] > 0 for row in result["importance"])

    said = f"{above} of 20 features have an interval above 0; where none had an effect, about 0.5 would by chance."
    assert said in page(tmp_path / "many").text
    assert "by chance" not in page(tmp_path / "few").text


def test_an_order_that_nothing_is_certain_of_is_said_to_be_so(tmp_path: Path) -> None:
    result = write_explained(tmp_path / "run")
    for row in result["importance"]:
        row |= {"low": -0.1}
    write_json(explanation_folder(tmp_path / "run") / EXPLANATION, result)

    text = page(tmp_path / "run").text
    assert "No feature’s interval lies above 0: over so few clients the order is not certain." in text
    assert "include 0" not in text


def test_a_model_that_uses_nothing(tmp_path: Path) -> None:
    result = write_explained(tmp_path / "run")
    for row in result["importance"]:
        row |= {"mean": -0.01, "low": -0.02, "high": 0.0}
    write_json(explanation_folder(tmp_path / "run") / EXPLANATION, result)

    assert "No feature, shuffled on its own, makes the model worse." in page(tmp_path / "run").text


def test_tables_hold_the_figures(tmp_path: Path) -> None:
    result = write_explained(tmp_path / "run")
    found = page(tmp_path / "run")

    assert found.row("features", "petal length")[1:3] == ["0.900 0.750 to 1.050", "27.0 22.0 to 32.0"]
    assert found.row("features", "petal length")[3:] == ["18.0", "22.5", "270.0 p < 0.001", "0.900"]
    first = result["by_client"]
    cells = found.row("clients", "client 0")
    assert cells[1].startswith(str(first["rows"][0]))
    assert float(cells[2].replace("−", "-")) == pytest.approx(first["loss"][0][0], abs=0.005)
    assert found.row("clients", "Variance of the rows % between clients")[2:] == ["20"] * 4
    assert found.row("methods", "ANOVA F, rows alone")[-1] == "–"
    assert found.row("calibration", "1")[1:] == ["10", "60.0", "50.0 30.0 to 60.0"]
    assert found.row("confusion", "setosa 12 test rows")[1] == "10 83 %"
    assert found.row("chosen", "petal width")[1:] == ["·", "2", "2"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": "training"}, "Training rows"),
        ({"between": 0.7}, "Most of the variance lies between clients for petal length (70 %)"),
        ({"between": 0.1}, "no feature has most of its variance between clients"),
        ({"between": None}, "cannot be told: no client has two training rows"),
        ({"clients": 6}, "fewer than ten of the rows explained"),
        ({}, "1 client of 7 gave no row or no answer"),
        ({}, "shuffling one leaves the other to stand in"),
        ({}, "this is no privacy guarantee"),
    ],
)
def test_what_it_cannot_see_is_said(tmp_path: Path, changes, said: str) -> None:
    write_explained(tmp_path / "run", **changes)

    assert said in page(tmp_path / "run").text


def test_held_out_rows_are_not_called_training_rows(tmp_path: Path) -> None:
    write_explained(tmp_path / "run", rows="held-out")

    text = page(tmp_path / "run").text
    assert "Clients hold no rows out" not in text
    assert "Rows held out by clients" in text


def test_of_many_clients_those_with_the_most_rows_have_a_dot(tmp_path: Path) -> None:
    write_explained(tmp_path / "few", clients=40)
    write_explained(tmp_path / "many", clients=60)

    assert "dots are clients, where" in page(tmp_path / "few").text
    assert "dots are the 40 clients with the most rows, where" in page(tmp_path / "many").text
    assert len(ExplanationFolder.read(tmp_path / "many").dots(0)) == 40


def test_a_short_table_of_clients_is_seen_whole_and_a_long_one_keeps_its_foot_in_sight(tmp_path: Path) -> None:
    """A table that scrolls would hide the summary of eight clients; below a long one it stays."""

    def looks(clients: int) -> str:
        folder = tmp_path / str(clients)
        write_explained(folder, clients=clients)
        found = page(folder)
        assert [row[0] for row in found.tables["clients"][-2:]] == [
            "SD between clients of the increase",
            "Variance of the rows % between clients",
        ]
        return next(
            attributes["class"] or "" for _, attributes in found.elements if attributes.get("id") == "clients-table"
        )

    assert looks(24).split() == ["table", "heat"]
    assert looks(25).split() == ["table", "heat", "tall"]


def test_over_seeds_it_says_so(tmp_path: Path) -> None:
    write_explained(tmp_path / "run", seeds=3)

    text = page(tmp_path / "run").text
    assert "Intervals are over 3 seeds" in text
    assert "from one of the seeds to the next" in text


def test_reliability_of_several_seeds_has_no_intervals(tmp_path: Path) -> None:
    """Their test rows overlap: an interval that takes them for independent would be too narrow."""
    write_explained(tmp_path / "one")
    write_explained(tmp_path / "seeds", seeds=3)

    one, several = page(tmp_path / "one"), page(tmp_path / "seeds")
    assert one.row("calibration", "1")[3] == "50.0 30.0 to 60.0"
    assert "95 % Wilson intervals" in one.text
    assert several.row("calibration", "1")[3] == "50.0"
    assert "3 seeds together, without intervals: seeds share rows" in several.text
    assert "Wilson" not in several.text
    plot_explanation(tmp_path / "seeds", tmp_path / "plots")
    (alone,) = save(reliability_figure(ExplanationFolder.read(tmp_path / "one")), tmp_path / "one.svg")
    pictures = {"one": alone.read_text(), "seeds": (tmp_path / "plots" / "reliability.svg").read_text()}
    assert ("Wilson" in pictures["one"], "Wilson" in pictures["seeds"]) == (True, False)


def test_reliability_says_how_many_rows_a_bin_has_and_draws_nothing_over_the_marks(tmp_path: Path) -> None:
    result = write_explained(tmp_path / "run")
    figure = reliability_figure(ExplanationFolder.read(tmp_path / "run"))
    assert "3 bins of test rows, 10 each; bars are" in " ".join(figure.get_supxlabel().split())
    assert [list(axes.texts) for axes in figure.axes] == [[]]

    result["calibration"]["bins"][1]["rows"] = 1200
    write_json(tmp_path / "run" / "explanation" / "explanation.json", result)
    figure = reliability_figure(ExplanationFolder.read(tmp_path / "run"))
    assert "3 bins of test rows, 10 to 1,200 each" in " ".join(figure.get_supxlabel().split())


def test_heads_of_explained_rows_lie_within_their_half_of_the_picture(tmp_path: Path) -> None:
    write_explained(tmp_path / "run", classes=("a malignant growth, or not", "n" * 90, "b"), features=["mean " * 9])
    figure = examples_figure(ExplanationFolder.read(tmp_path / "run"))
    left, right = (axes.get_tightbbox() for axes in figure.axes)
    assert left.x1 <= right.x0 + 1
    assert right.x1 <= figure.bbox.x1
    assert [axes.get_title(loc="left").splitlines()[1][:9] for axes in figure.axes] == ["right", "wrong: is"]


def test_without_the_servers_rows_their_sections_are_left_out(tmp_path: Path) -> None:
    write_explained(tmp_path / "run", server_rows=False, selection=False)

    left = {name: title for name, title in SECTIONS.items() if name not in (*OF_THE_SERVER, "selection")}
    assert headings(page(tmp_path / "run")) == list(left.values())
    names = {path.name for path in plot_explanation(tmp_path / "run", tmp_path / "plots")}
    assert names == {f"{n}.{k}" for n in ("importance", "methods", "clients", "classes") for k in ("png", "svg")}


def test_the_runs_and_the_comparisons_pages_link_to_it_once_it_is_there(tmp_path: Path) -> None:
    write_explained(tmp_path / "run")
    write_comparison(tmp_path / "compared", {"none": 0.0, "post-hoc": 0.1}, seeds=6)
    shutil.copytree(tmp_path / "run", tmp_path / "plain")
    shutil.rmtree(tmp_path / "plain" / EXPLANATION_HOME)
    for folder in (tmp_path / "plain", tmp_path / "compared"):
        assert "explanation.html" not in write_report(folder).read_text(encoding="utf-8")

    shutil.copytree(tmp_path / "run" / EXPLANATION_HOME, tmp_path / "compared" / EXPLANATION_HOME)
    path = tmp_path / "compared" / EXPLANATION_HOME / EXPLANATION
    write_json(path, read_json(path) | {"folders": ["federations/none/rate-0.3/seed-0"]})
    for folder, whose in ((tmp_path / "run", "run"), (tmp_path / "compared", "comparison")):
        assert [page.name for page in write_reports(folder)] == ["explanation.html", "report.html"]
        assert 'href="explanation.html"' in (folder / "report.html").read_text(encoding="utf-8")
        assert f"The {whose}’s own page" in Page((folder / "explanation.html").read_text(encoding="utf-8")).text


def test_an_older_page_of_the_run_is_written_again_with_the_link(tmp_path: Path) -> None:
    write_explained(tmp_path / "run")
    (tmp_path / "run" / "report.html").write_text("as it was", encoding="utf-8")

    assert "The run’s own page" in page(tmp_path / "run").text
    assert 'href="explanation.html"' in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_every_link_leads_to_a_file(tmp_path: Path) -> None:
    write_explained(tmp_path / "run")
    write_report(tmp_path / "run")
    pictures = explanation_folder(tmp_path / "run") / "plots"
    pictures.mkdir()
    for name in ("importance", "effects"):
        (pictures / f"{name}.png").touch()

    found = page(tmp_path / "run")
    links = [
        attributes["href"]
        for tag, attributes in found.elements
        if tag == "a" and not attributes["href"].startswith("#")
    ]
    assert len(links) == 4
    assert all((tmp_path / "run" / link).is_file() for link in links)


@pytest.mark.parametrize(("classes", "features"), [(("no", "yes"), 1), (("a" * 90, *"bcdefghij"), 40)])
def test_few_and_many_features_and_classes_are_drawn(tmp_path: Path, classes, features: int) -> None:
    names = [f"feature {place} with a rather long name" for place in range(features)]
    write_explained(tmp_path / "run", classes=classes, features=names, clients=40)

    assert headings(page(tmp_path / "run"))[0] == SECTIONS["features"]
    pictures = plot_explanation(tmp_path / "run", tmp_path / "plots")
    assert len(pictures) == 18
    assert all(path.stat().st_size > 5000 for path in pictures if path.suffix == ".png")


def test_a_picture_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    write_explained(tmp_path / "run", server_rows=False, selection=False)

    first, again = (plot_explanation(tmp_path / "run", tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_a_folder_that_is_not_explained_is_one_line(tmp_path: Path) -> None:
    for work in (write_explanation, plot_explanation):
        with pytest.raises(SettingsError, match=r"not explained yet; edgefed explain .* does it"):
            work(tmp_path)
    write_explained(tmp_path / "run")
    path = tmp_path / "run" / EXPLANATION_HOME / EXPLANATION
    write_json(path, {"importance": []} | {"folders": read_json(path)["folders"]})
    with pytest.raises(SettingsError, match="not an explanation's figures"):
        write_explanation(tmp_path / "run")


def test_figures_that_are_not_known_are_dashes(tmp_path: Path) -> None:
    result = write_explained(tmp_path / "run")
    for row in result["importance"]:
        row |= {"low": math.nan, "high": math.nan, "anova-f": math.nan}
    write_json(explanation_folder(tmp_path / "run") / EXPLANATION, result)

    found = page(tmp_path / "run")
    assert found.row("features", "petal width")[5].startswith("–")
    assert "nan" not in found.text.lower().replace("finance", "")
    assert FEATURES[0] in found.text


def svg(home: Path, draw) -> str:
    """Return one picture of the explained run's, and no other."""
    (path,) = save(draw(ExplanationFolder.read(home / "run")), home / "picture.svg")
    return path.read_text()


@pytest.mark.parametrize(("features", "why"), [(1, "no order"), (2, "1 or −1 whatever"), (3, "six orders")])
def test_so_few_features_have_no_rank_correlation(tmp_path: Path, features: int, why: str) -> None:
    """Of two features, any two orders correlate with 1 or -1: the figure would say nothing of the methods."""
    write_explained(tmp_path / "run", features=FEATURES[:features])

    found = page(tmp_path / "run")
    assert why in found.text
    assert "methods" not in found.tables
    drawn = svg(tmp_path, methods_figure)
    assert "+1.00" not in drawn
    assert "fewer than 4 features" in drawn


def test_four_features_have_rank_correlations(tmp_path: Path) -> None:
    write_explained(tmp_path / "run")

    assert page(tmp_path / "run").row("methods", "SHAP values")[3] == "1.00"
    assert "+1.00" in svg(tmp_path, methods_figure)


@pytest.mark.parametrize(
    "manifest",
    [
        {"client_names": ["north", "south", "east", "west", "hill", "dale"]},
        {"devices": [{"partition-id": 0, "name": "north", "rows": 3, "held-out": 0}]},
    ],
)
def test_clients_are_called_by_their_names(tmp_path: Path, manifest) -> None:
    write_explained(tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    write_json(path, read_json(path) | manifest)

    found = page(tmp_path / "run")
    second = "south" if "client_names" in manifest else "client 1"  # a device that has told nobody its name
    assert found.row("clients", "north")[0] == "north"
    assert found.row("clients", second)[0] == second
    assert "north, " in svg(tmp_path, clients_figure)
    assert "client 0" not in found.text
