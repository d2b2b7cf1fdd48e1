"""The audit's section of a page, and its pictures, from figures that are made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from made_folders import write_comparison, write_run
from page_reader import Page

from edgefed.names import ATTACKS
from edgefed.report.audit import DOT, HEADS, LOOKS, plot_audit, remedies_figure
from edgefed.report.folder import AuditFolder
from edgefed.report.page import write_report
from edgefed.runs import AUDIT, AUDIT_HOME, made_folder, read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path


def attack(mean: float, *, seeds: int = 1) -> dict[str, Any]:
    values = [mean + 0.01 * seed for seed in range(seeds)]
    return {
        "auc": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "values": values},
        "rarest_auc": {"mean": mean, "low": None, "high": None, "values": values},
        "pooled_auc": {"mean": 0.5, "values": [0.5] * seeds},
        "tpr": {"mean": 0.03, "low": 0.01, "high": 0.08, "values": [0.03] * seeds},
        "false_positives": 0.0,
        "chance": 0.011,
        "members": 40,
        "outsiders": 1200,
        "left_out": 0,
        "resolution": 0.001,
        "classes": [
            {"class": name, "members": 20, "outsiders": 600, "auc": mean, "low": low, "high": mean + 0.1}
            for name, low in (("setosa", mean - 0.1), ("virginica", None))
        ],
        "roc": {"false": [0.0, 0.0, 0.01, 0.5, 1.0], "true": [0.0, 0.02, 0.03, 0.7, 1.0]},
    }


def write_audit(folder: Path, *arms: str, seeds: int = 1, samples: float = 1.0, cautions: tuple[str, ...] = ()) -> None:
    entries = []
    for arm in arms:
        attacks = {kind: attack(0.6, seeds=seeds) for kind in ATTACKS}
        if arm != "none":
            for one in attacks.values():
                one["auc"]["difference"] = {
                    "mean": 0.02,
                    "low": -0.01,
                    "high": 0.05,
                    "tier": "gives away more than none",
                }
        influence = {"samples": samples if arm == "smote" else 1.0, "share": 7.5 if arm == "weights" else 1.0}
        entries.append({"name": arm, "privacy": "none", "attacks": attacks, "influence": influence})
    over = "seeds" if seeds > 1 else "rows"
    result = {"audited": "made", "seeds": list(range(seeds)), "interval_over": over, "strategies": entries}
    write_json(made_folder(folder, AUDIT_HOME) / AUDIT, result | {"cautions": list(cautions), "seconds": 1.0})


def page(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_every_attack_has_a_look_and_a_name() -> None:
    assert set(LOOKS) == set(HEADS) == set(ATTACKS)


def test_a_runs_table_holds_the_figures(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    assert "What the models give away" not in page(tmp_path / "run").text
    write_audit(tmp_path / "run", "none", cautions=("Few rows tell little.",))

    found = page(tmp_path / "run")
    assert found.row("audit", "global model")[1:] == [
        "0.600 0.500 to 0.700",
        "0.500",
        "3.0 1.0 to 8.0",
        "1.1",
        "40",
        "1 200",
    ]
    assert "Few rows tell little." in found.text
    assert "One row, many samples" not in found.text


def test_a_comparisons_table_says_what_differs_from_none(tmp_path: Path) -> None:
    write_comparison(tmp_path / "compared", {"none": 0.0, "smote": 0.1}, seeds=6)
    write_audit(tmp_path / "compared", "none", "smote", "weights", seeds=6, samples=14.0)

    found = page(tmp_path / "compared")
    assert found.row("audit", "smote")[2] == "gives away more than none +0.020 (−0.010 to +0.050)"
    assert found.row("audit", "none")[2] == "–"
    assert found.row("audit-update", "smote")[1::4] == ["0.600 0.500 to 0.700", "14.0"]
    assert "Under smote a row stands in up to 14 of its client's samples" in found.text
    assert "Under weights a row has up to 7.5 times its plain part" in found.text


@pytest.mark.parametrize("arms", [("none",), ("none", "smote", "a-remedy-with-a-rather-long-name-of-its-own")])
def test_a_picture_is_the_same_bytes_each_time(tmp_path: Path, arms: tuple[str, ...]) -> None:
    write_audit(tmp_path, *arms, seeds=6 if len(arms) > 1 else 1)

    first, again = (plot_audit(tmp_path, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == ["membership.png", "membership.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert first[0].stat().st_size > 5000


def test_every_seed_is_in_sight(tmp_path: Path) -> None:
    """A seed far from its mean and interval has its dot as well."""
    write_audit(tmp_path, "none", "smote", seeds=6)
    path = tmp_path / AUDIT_HOME / AUDIT
    result = read_json(path)
    far = result["strategies"][1]["attacks"]["update"]
    far["auc"]["values"][5], far["tpr"]["values"][5] = 0.97, 0.4
    write_json(path, result)
    left, right = remedies_figure(AuditFolder.read(tmp_path)).axes

    for axes, value in ((left, 0.97), (right, 40.0)):
        dots = np.concatenate([line.get_xdata() for line in axes.lines if line.get_markersize() == DOT])
        assert len(dots) == 6 * 2 * 3
        assert dots.max() == pytest.approx(value, rel=0.02)
        assert axes.get_xlim()[0] <= dots.min() <= dots.max() <= axes.get_xlim()[1]


def test_a_comparison_explains_the_attacks_that_it_shows_and_calls_the_same_the_same(tmp_path: Path) -> None:
    write_comparison(tmp_path / "c", {"none": 0.0, "smote": 0.1}, seeds=2)
    write_audit(tmp_path / "c", "none", "smote", seeds=2)
    path = tmp_path / "c" / AUDIT_HOME / AUDIT
    result = read_json(path)
    result["strategies"][1]["attacks"]["global"]["auc"]["difference"] = {
        "mean": 0.0,
        "low": 0.0,
        "high": 0.0,
        "tier": "too few seeds",
    }
    write_json(path, result)
    page = Page(write_report(tmp_path / "c").read_text(encoding="utf-8"))

    assert page.row("audit", "smote")[2].startswith("as none")
    assert page.row("audit-update", "smote")[2].startswith("gives away more than none")
    assert ATTACKS["update"] in page.text
    assert ATTACKS["whose"] not in page.text
