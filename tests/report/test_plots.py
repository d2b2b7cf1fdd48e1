"""The entry points: which files there are, what their text says, and that they are drawn from files alone."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from made_folders import write_comparison, write_run
from matplotlib.image import imread

import edgefed
from edgefed.config import SettingsError
from edgefed.report import plot_comparison, plot_run
from edgefed.report.curves import run_curves
from edgefed.report.folder import ComparisonFolder
from edgefed.report.panels import accuracy_by_round
from edgefed.report.ranking import ranking_figure
from edgefed.report.style import save
from edgefed.runs import Run

OF_A_COMPARISON = (
    "confusion",
    "confusion-by-rarity",
    "difference-by-round",
    "learning-curves",
    "ranking",
    "shards",
    "validation-loss",
)


def text_of(svg: Path) -> str:
    """All text of an SVG, which must be kept as text, in one line."""
    parts = [element.text or "" for element in ET.parse(svg).iter() if element.tag.endswith("}text")]
    return " ".join(" ".join(parts).split())


def assert_nothing_is_cut_off(image: np.ndarray) -> None:
    """The outermost pixels are white."""
    grey = image[..., :3].mean(-1)
    for edge in (grey[:2], grey[-2:], grey[:, :2], grey[:, -2:]):
        assert edge.min() > 0.99


@pytest.fixture(scope="module")
def pictures(comparison: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pictures")
    plot_comparison(comparison, out)
    return out


def test_a_comparison_has_its_pictures_as_png_and_svg(comparison: Path) -> None:
    written = plot_comparison(comparison)
    assert sorted(written) == sorted(
        comparison / "plots" / f"{name}.{kind}" for name in OF_A_COMPARISON for kind in ("png", "svg")
    )
    assert all(path.is_file() for path in written)


@pytest.mark.parametrize("name", OF_A_COMPARISON)
def test_pictures_are_large_enough_and_not_blank(pictures: Path, name: str) -> None:
    image = imread(pictures / f"{name}.png")
    height, width = image.shape[:2]
    assert 4.4 * 200 <= width <= 12 * 200
    assert 2 * 200 <= height <= 12 * 200
    grey = image[..., :3].mean(-1)
    assert 0.5 < (grey > 0.99).mean() < 0.99 or name.startswith("confusion")
    assert (grey < 0.3).any()
    assert_nothing_is_cut_off(image)


def test_svgs_keep_axis_labels_names_and_tiers_as_text(pictures: Path, comparison: Path) -> None:
    said = text_of(pictures / "ranking.svg")
    for words in ("test balanced accuracy, last round (%)", "paired difference to none (points)", "control"):
        assert words in said
    for arm in json.loads((comparison / "comparison.json").read_text())["strategies"]:
        assert arm["name"] in said
        assert arm["tier"] in said
    for reference in ("pooled", "pooled-before-tail", "local-only"):
        assert reference in said
    assert "round" in text_of(pictures / "learning-curves.svg")
    assert "predicted class" in text_of(pictures / "confusion.svg")
    assert "class, from common to rare" in text_of(pictures / "shards.svg")


@pytest.mark.parametrize("name", ["ranking", "difference-by-round", "learning-curves", "validation-loss", "confusion"])
def test_each_says_over_what_it_generalises(pictures: Path, name: str) -> None:
    said = text_of(pictures / f"{name}.svg")
    assert "8 seeds" in said
    assert "on iris, over random splits, partitions and initialisations" in said


def test_a_second_drawing_gives_the_same_bytes(pictures: Path, comparison: Path, tmp_path: Path) -> None:
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "path"}):
        again = plot_comparison(comparison, tmp_path)
        assert mpl.rcParams["font.size"] == 20
    for path in again:
        assert path.read_bytes() == (pictures / path.name).read_bytes(), path.name


def test_a_run_has_its_pictures(tmp_path: Path) -> None:
    write_run(tmp_path / "run", arm="random-oversampling", seed=3)
    written = plot_run(Run.read(tmp_path / "run"), tmp_path / "out")
    assert [path.name for path in written] == [
        f"{name}.{kind}" for name in ("shards", "learning-curves", "confusion") for kind in ("png", "svg")
    ]
    said = text_of(tmp_path / "out" / "learning-curves.svg")
    assert "Learning curves: iris, random-oversampling, seed 3" in said
    assert "balanced accuracy (%)" in said


def test_a_runs_curves_are_its_history(tmp_path: Path) -> None:
    write_run(tmp_path / "run", rounds=5)
    run = Run.read(tmp_path / "run")
    figure = run_curves(run, "made up")
    assert figure is not None
    losses, scores = figure.axes
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for axes in (losses, scores) for line in axes.lines}
    assert drawn["training (cross-entropy)"] == pytest.approx(run.history["train_loss"])
    assert drawn["validation (log-loss)"] == pytest.approx(run.history["validation.log_loss"])
    assert drawn["test"] == pytest.approx(100 * run.history["test.balanced_accuracy"])
    assert drawn["validation"] == pytest.approx(100 * run.history["validation.balanced_accuracy"])


def test_losses_far_apart_go_on_a_log_scale_with_plain_numbers(tmp_path: Path) -> None:
    write_run(tmp_path / "run", rounds=40)
    figure = run_curves(Run.read(tmp_path / "run"), "made up")
    assert figure is not None
    assert figure.axes[0].get_yscale() == "log"
    assert "1" in [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert not any("$" in label.get_text() for label in figure.axes[0].get_yticklabels())


def test_what_a_run_lacks_is_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "run", validation=False)
    run = Run.read(tmp_path / "run")
    for row in run.rounds:
        del row["test"]
    del run.manifest["shards"]
    assert [path.name for path in plot_run(run, tmp_path / "out")] == ["learning-curves.png", "learning-curves.svg"]
    assert "training (cross-entropy)" in text_of(tmp_path / "out" / "learning-curves.svg")


def test_pictures_come_from_the_files_alone(tmp_path: Path) -> None:
    settings = edgefed.FederationConfig(long_tail=5.0, num_server_rounds=2, num_clients=3)
    edgefed.compare(settings, strategies=["post-hoc"], seeds=2, tune=None, out=tmp_path / "c")
    moved = (tmp_path / "c").rename(tmp_path / "elsewhere")
    written = plot_comparison(moved)
    assert {path.parent for path in written} == {moved / "plots"}
    assert "post-hoc" in text_of(moved / "plots" / "ranking.svg")
    assert "too few seeds" in text_of(moved / "plots" / "ranking.svg")


@pytest.mark.parametrize("arms", [2, 20])
def test_any_number_of_remedies_fits(tmp_path: Path, arms: int) -> None:
    gains = {"none": 0.0} | {f"class-weights-inverse-sqrt-variant-{place}": place / 100 for place in range(1, arms)}
    write_comparison(tmp_path / "c", gains, seeds=2, rounds=2, references=False)
    found = ComparisonFolder.read(tmp_path / "c")
    for figure in (ranking_figure(found), accuracy_by_round(found)):
        assert figure is not None
        (path,) = save(figure, tmp_path / "picture.png")
        assert_nothing_is_cut_off(imread(path))


# ---------------------------------------------------------------------------------------------- mistakes
def test_a_folder_that_is_no_comparison_is_one_line(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    for folder in (tmp_path, tmp_path / "run", tmp_path / "missing"):
        with pytest.raises(SettingsError, match="not a finished comparison") as caught:
            plot_comparison(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"seeds": [0], "strategies": [{"name": "none"}]}'])
def test_figures_that_are_none_are_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(SettingsError, match=r"comparison\.json") as caught:
        plot_comparison(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_comparison_that_lost_a_run_names_it(comparison: Path, tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text((comparison / "comparison.json").read_text())
    with pytest.raises(SettingsError, match="seed-0"):
        plot_comparison(tmp_path)


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"is .* a run folder"):
        plot_run(Run.read(tmp_path), tmp_path / "out")


def test_pictures_need_neither_torch_nor_flower_nor_a_display(comparison: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgefed.report import plot_comparison; "
        "plot_comparison(Path(sys.argv[1]), Path(sys.argv[2])); "
        "print(sorted({'torch', 'flwr', 'ray', 'matplotlib.pyplot', 'tkinter'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(comparison), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_a_tail_the_rows_before_it_are_no_reference_of_their_own(tmp_path: Path) -> None:
    write_comparison(tmp_path / "level", {"none": 0.0, "post-hoc": 0.1}, seeds=3)
    result = json.loads((tmp_path / "level" / "comparison.json").read_text())
    assert "pooled-before-tail" in ComparisonFolder.read(tmp_path / "level").references

    result["references"]["pooled-before-tail"] = result["references"]["pooled"]
    (tmp_path / "level" / "comparison.json").write_text(json.dumps(result))

    assert list(ComparisonFolder.read(tmp_path / "level").references) == ["pooled", "local-only"]
