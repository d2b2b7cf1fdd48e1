"""What a grid makes of its blocks: Holm over all of it, wins, ranks, the finding in words."""

import json

import numpy as np
import pytest

from edgefed.analysis.statistics import ranking
from edgefed.api.grid_figures import grid_figures
from edgefed.api.grid_finding import BlockResult
from edgefed.runs import plain


def block(settings, values, name=None):
    """Return a block whose comparison has these values an arm."""
    seeds = len(values["none"])
    strategies = [
        {
            "name": row["name"],
            "tier": row["tier"],
            "difference": row["difference"],
            "learning_rate": 0.1,
            "balanced_accuracy": {key: row[key] for key in ("mean", "low", "high", "values")},
        }
        for row in ranking(values, "none")
    ]
    result = {
        "federations": len(values) * seeds,
        "client_updates": 10,
        "seconds": 0.5,
        "seeds": list(range(seeds)),
        "ranked_by": "",
        "finding": "",
        "setting": "",
        "generalises_over": f"on iris, over random splits ({seeds} seeds)",
        "references": {},
        "tuned": {},
        "strategies": strategies,
    }
    return BlockResult(name or ",".join(f"{k}={v}" for k, v in settings.items()), settings, None, result)


def steady(gain, seeds):
    """Return values that are above a control of 0.5 by about ``gain`` under every seed."""
    return (0.5 + gain * (1 + 0.01 * np.arange(seeds))).tolist()


def test_holm_over_the_whole_grid_by_hand():
    """Eight seeds that all agree: p = 2/256 in one of four contrasts, 1 in the others: Holm times four."""
    seeds = 8
    none, same = [0.5] * seeds, [0.5] * seeds
    blocks = [
        block({"alpha": 0.1}, {"none": none, "a": steady(0.1, seeds), "b": same}),
        block({"alpha": 1.0}, {"none": none, "a": same, "b": same}),
    ]

    found = grid_figures("", {"alpha": (0.1, 1.0)}, blocks, ("none", "a", "b"))

    first, *others = found["gains"]
    assert (first["block"], first["strategy"]) == ("alpha=0.1", "a")
    assert first["p"] == 2 / 256
    assert first["p_holm"] == pytest.approx(2 * 2 / 256)
    assert first["p_holm_grid"] == pytest.approx(4 * 2 / 256)
    assert (first["tier"], first["tier_grid"]) == ("better than none", "better than none")
    assert [row["p_holm_grid"] for row in others] == [1, 1, 1]
    assert {row["tier_grid"] for row in others} == {"indistinguishable from none"}
    assert first["mean"] == pytest.approx(0.1 * 1.035)
    assert first["none"] == 0.5


def test_told_apart_in_its_block_alone_is_no_win_over_the_grid():
    """With seven seeds p = 2/128: times 2 in the block it is 0.031; times 4 over the grid 0.0625."""
    seeds = 7
    none, same = [0.5] * seeds, [0.5] * seeds
    blocks = [
        block({"alpha": 0.1}, {"none": none, "a": steady(0.1, seeds), "b": same}),
        block({"alpha": 1.0}, {"none": none, "a": same, "b": same}),
    ]

    found = grid_figures("", {"alpha": (0.1, 1.0)}, blocks, ("none", "a", "b"))

    assert found["gains"][0]["tier"] == "better than none"
    assert found["gains"][0]["tier_grid"] == "too few seeds"
    assert found["wins"][0]["within_blocks"]["better"] == 1
    assert (found["wins"][0]["better"], found["wins"][0]["undecided"]) == (0, 2)
    assert found["finding"] == (
        "over 2 blocks (alpha), too few seeds to tell any remedy from none: 4 contrasts need at least 8; "
        "each block taken alone: a better in 1"
    )


def grid_of(gains, keys, seeds=12):
    """Return the figures of a grid whose remedies have these gains: {arm: {block's values: gain}}."""
    places = next(iter(gains.values()))
    blocks = [
        block(
            dict(zip(keys, place, strict=True)),
            {"none": [0.5] * seeds} | {arm: steady(gains[arm][place], seeds) for arm in gains},
        )
        for place in places
    ]
    grid = {key: tuple(dict.fromkeys(place[index] for place in places)) for index, key in enumerate(keys)}
    return grid_figures("", grid, blocks, ("none", *gains))


def test_wins_and_the_finding_say_where_it_holds_and_where_not():
    places = [(alpha, tail) for alpha in (0.1, 1.0) for tail in (1.0, 3.0, 10.0)]
    gains = {
        "helps": {place: 0.1 if place[1] > 1 else 0.0 for place in places},
        "hurts": dict.fromkeys(places, -0.1),
        "mixed": {place: {0: 0.1, 5: -0.1}.get(number, 0.0) for number, place in enumerate(places)},
        "idle": dict.fromkeys(places, 0.0),
    }

    found = grid_of(gains, ("alpha", "long-tail"))

    assert found["finding"] == (
        "over 6 blocks (alpha by long-tail), "
        "better than none: helps in 4 (long-tail=3 or 10), mixed in 1 (alpha=0.1, long-tail=1); "
        "worse than none: hurts in 6 (all), mixed in 1 (alpha=1, long-tail=10); "
        "not told from none in any block: idle"
    )
    wins = {win["strategy"]: win for win in found["wins"]}
    counts = {
        arm: tuple(win[word] for word in ("better", "indistinguishable", "worse", "undecided"))
        for arm, win in wins.items()
    }
    assert counts == {"helps": (4, 2, 0, 0), "mixed": (1, 4, 1, 0), "idle": (0, 6, 0, 0), "hurts": (0, 0, 6, 0)}
    assert wins["mixed"]["better_in"] == ["alpha=0.1,long-tail=1.0"]
    assert wins["mixed"]["worse_in"] == ["alpha=1.0,long-tail=10.0"]
    assert wins["helps"]["most"]["mean"] == pytest.approx(0.1 * 1.055)
    assert next(iter(found["wins"]))["strategy"] == "helps"


def test_a_win_on_these_rows_alone_is_said_to_be_one():
    blocks = [
        block({"alpha": alpha}, {"none": [0.5] * 12, "a": steady(0.1, 12), "b": steady(0.1, 12)})
        for alpha in (0.1, 1.0)
    ]
    for made in blocks:
        for entry in made.result["strategies"]:
            entry["nadeau_bengio"] = {"low": -0.1 if entry["name"] == "a" else 0.05, "high": 0.3}
    blocks[1].result["strategies"][0]["nadeau_bengio"] = {"low": 0.05, "high": 0.3}

    found = grid_figures("", {"alpha": (0.1, 1.0)}, blocks, ("none", "a", "b"))

    assert found["finding"] == (
        "over 2 blocks (alpha), better than none: a in 2 (all), b in 2 (all); "
        "on these rows alone (for other rows of the kind the interval includes zero): a in 1 of 2"
    )
    assert [row["on_these_rows"] for row in found["gains"]] == [True, False, False, False]


def test_blocks_that_no_values_describe_are_only_counted():
    places = [(alpha, tail) for alpha in (0.1, 1.0) for tail in (1.0, 10.0)]
    diagonal = {place: 0.1 if place in (places[0], places[3]) else 0.0 for place in places}

    found = grid_of({"helps": diagonal}, ("alpha", "long-tail"))

    assert found["finding"] == "over 4 blocks (alpha by long-tail), better than none: helps in 2"


def test_hundreds_of_contrasts_still_find_what_is_there():
    """One remedy of 600 is better under each of 20 seeds. The smallest p of 20,000 flips times 600 would be 0.06."""
    seeds = 20
    none = [0.5] * seeds
    arms = {"helps": steady(0.1, seeds)} | {f"idle-{number}": none for number in range(299)}
    blocks = [
        block({"alpha": 0.1}, {"none": none} | arms),
        block({"alpha": 1.0}, {"none": none} | arms | {"helps": none}),
    ]

    found = grid_figures("", {"alpha": (0.1, 1.0)}, blocks, ("none", *arms))

    gain = next(row for row in found["gains"] if row["strategy"] == "helps" and row["block"] == "alpha=0.1")
    assert 600 * gain["p"] > 0.05
    assert gain["p_holm_grid"] <= 0.05
    assert gain["tier_grid"] == "better than none"
    assert found["wins"][0]["better"] == 1


def test_ranks_over_blocks_are_part_of_it():
    places = [(alpha,) for alpha in (0.1, 0.3, 1.0)]
    found = grid_of({"a": dict.fromkeys(places, 0.1), "b": dict.fromkeys(places, -0.1)}, ("alpha",))

    assert found["across_blocks"]["ranks"] == {"a": 1, "none": 2, "b": 3}
    assert "share its rows" in found["across_blocks"]["basis"]
    json.dumps(plain(found), allow_nan=False)
