"""What is said of the noise: epsilon, of what, and what it leaves out."""

from pathlib import Path

import pytest
from federations import private, settings, trained

from edgefed.federation.account import OFF
from edgefed.terminal import privacy_lines


def by_hand(noise, rounds, delta):
    """Return epsilon of so many Gaussian releases by dp-accounting itself."""
    from dp_accounting import dp_event, rdp

    accountant = rdp.RdpAccountant()
    for _ in range(rounds):
        accountant.compose(dp_event.GaussianDpEvent(noise))
    return accountant.get_epsilon(delta)


@pytest.mark.parametrize(
    ("changes", "noise", "rounds", "delta"),
    [
        ({"num_server_rounds": 50, "evaluate_every": 50}, 1.0, 50, 0.01),
        ({"noise_multiplier": 4.0, "num_clients": 20, "num_server_rounds": 7}, 4.0, 7, 0.005),
        ({"fraction_train": 0.3, "privacy_delta": 1e-5}, 1.0, 3, 1e-5),  # drawing a part is given no credit
    ],
    ids=["fifty rounds", "more noise", "cohorts"],
)
def test_epsilon_is_dp_accountings(changes, noise, rounds, delta):
    run, _ = trained(private(**changes))
    told = run.summary["privacy"]
    assert told["epsilon"] == pytest.approx(by_hand(noise, rounds, delta), abs=1e-6)
    assert (told["delta"], told["unit"], told["releases"]) == (pytest.approx(delta), "client", rounds)
    if rounds == 50:
        assert told["epsilon"] == pytest.approx(44.4, abs=0.1)


def test_a_round_whose_replies_are_all_refused_releases_noise_and_costs_as_much():
    run, rows = trained(private(max_update_norm=1e-9))
    assert all(verdict.startswith("refused") for *_, verdict in rows if not verdict.startswith("no reply"))
    assert run.summary["privacy"]["releases"] == 3
    assert run.summary["privacy"]["epsilon"] == pytest.approx(by_hand(1.0, 3, 0.01), abs=1e-6)
    assert not any("note" in row for row in run.rounds)


def test_a_round_that_asks_nobody_releases_nothing():
    run, _ = trained(private(drop_out=1.0))
    assert run.summary["privacy"]["releases"] == 0
    assert run.summary["privacy"]["epsilon"] == 0
    assert run.summary["client_updates"] == 0


def test_drop_outs_and_compressed_updates_cost_what_a_whole_cohort_does():
    whole, _ = trained(private())
    for changes in ({"drop_out": 0.4}, {"compression": "int8"}, {"stragglers": 0.5}, {"round_deadline": 0.05}):
        run, _ = trained(private(**changes))
        assert run.summary["privacy"]["epsilon"] == whole.summary["privacy"]["epsilon"]


def test_adaptive_clipping_has_no_epsilon_and_says_why():
    run, _ = trained(private(privacy="dp-adaptive", noise_multiplier=0.5))
    told = run.summary["privacy"]
    assert (told["epsilon"], told["delta"], told["releases"]) == (None, None, 3)
    assert told["says"].startswith("no epsilon: nothing accounts for adaptive clipping")
    assert told["clipping_norm"] == 1.0 != told["last_clipping_norm"]
    assert f"(it went from 1 to {told['last_clipping_norm']:.3g})" in told["says"]


def test_units_are_not_mixed():
    run, _ = trained(private(imbalance="balanced-softmax", histogram_epsilon=0.5))
    told = run.summary["privacy"]
    replaced = "one row's class replaced by another"  # two counts change by one, each under noise of scale 1 / 0.5
    assert told["histogram"] == {"epsilon": 1.0, "delta": 0.0, "unit": "row", "neighbours": replaced}
    assert told["epsilon"] == pytest.approx(by_hand(1.0, 3, 0.01), abs=1e-6)
    assert any("for a client of n rows it is n times as much" in line for line in told["leaves_out"])
    alone, _ = trained(settings(imbalance="class-weights-balanced-noisy"))
    assert alone.summary["privacy"]["epsilon"] is None
    assert alone.summary["privacy"]["histogram"]["unit"] == "row"
    left = " ".join(alone.summary["privacy"]["leaves_out"])
    assert all(what in left for what in ("row counts", "mean and deviation", "weights"))
    assert "privacy" not in trained(settings())[0].summary


def test_a_large_epsilon_is_called_near_vacuous():
    small, _ = trained(private(noise_multiplier=5.0))
    large, _ = trained(private(noise_multiplier=0.5))
    assert small.summary["privacy"]["says"] == OFF
    assert large.summary["privacy"]["says"].startswith("epsilon ")
    assert large.summary["privacy"]["says"].endswith(f"bear more noise; {OFF}")
    lines = privacy_lines(large.summary["privacy"])
    assert lines[0].startswith(f"privacy: epsilon {large.summary['privacy']['epsilon']:.4g} at delta 0.01 for a client")
    assert sum(line.startswith("assumes: ") for line in lines) == 4
    left = large.summary["privacy"]["leaves_out"]
    assert privacy_lines(large.summary["privacy"], Path("run"))[len(lines) - 4 - len(left) :] == [
        f"it assumes 4 things and leaves out {len(left)}: edgefed report run lists them, under What the noise promises"
    ]


def test_what_the_server_is_told_exactly_is_named_as_not_covered():
    run, _ = trained(private())
    left = " ".join(run.summary["privacy"]["leaves_out"])
    assert all(what in left for what in ("row counts", "training losses", "steps", "who answered", "min-replies"))
