"""What every remedy must hold to: run over the registry, so that a new remedy is tested without being told."""

import json

import numpy as np
import pytest
from federations import figures, queried, settings, together, trained
from shards_by_hand import AWKWARD, everyone, holding, one_round

from edgefed.config import FederationConfig, SettingsError, catalogue
from edgefed.engines import make_engine
from edgefed.federation.clients import Clients
from edgefed.federation.record import closing_manifest, opening_manifest
from edgefed.federation.rounds import run_rounds
from edgefed.imbalance import REMEDIES, Remedy

NAMES = list(REMEDIES)
FAMILIES = {"control", "class weights", "loss", "resampling", "augmentation", "aggregation"}
COUNTS = np.array([*AWKWARD, [1_000_000, 1, 3, 0]])


def remedy_of(name, **changes):
    return REMEDIES[name](FederationConfig(imbalance=name, **changes))


def totals(remedy, counts):
    """Return what the remedy is told: the sum of counts where it asks for it, else nothing."""
    return counts.sum(0).astype(float) if remedy.needs_global_counts else None


# ---------------------------------------------------------------------------------------------- hooks
@pytest.mark.parametrize("name", NAMES)
def test_numbers_have_shapes_and_are_finite(name):
    remedy = remedy_of(name)
    before = COUNTS.copy()
    total = totals(remedy, COUNTS)

    weights, scale, shift, margin = (
        hook(COUNTS, total) for hook in (remedy.class_weights, remedy.logit_scale, remedy.logit_shift, remedy.margin)
    )

    for values in (weights, scale, shift, margin):
        assert values.shape == COUNTS.shape
        assert values.dtype == np.float64
        assert np.isfinite(values).all()
    assert (weights[COUNTS > 0] > 0).all()
    assert (weights >= 0).all()
    assert (scale > 0).all()
    assert (margin >= 0).all()
    say = remedy.say(COUNTS, total)
    assert say.shape == (len(COUNTS),)
    assert ((say > 0) == (COUNTS.sum(1) > 0)).all()
    assert remedy.reweighs or (say == COUNTS.sum(1)).all()
    assert remedy.jitter() >= 0
    assert remedy.mixup() >= 0
    assert remedy.focusing() == 0 or remedy.focuses
    assert remedy.prediction_shift(total, 4).shape == (4,)
    assert np.isfinite(remedy.prediction_shift(total, 4)).all()
    assert (before == COUNTS).all()


@pytest.mark.parametrize("name", NAMES)
def test_weights_have_mean_1_over_the_rows_that_their_counts_came_from(name):
    """Over a client's own rows for local counts, over all clients' rows for global ones."""
    remedy = remedy_of(name)
    weights = remedy.class_weights(COUNTS, totals(remedy, COUNTS))
    mass, rows = COUNTS * weights, COUNTS
    if remedy.needs_global_counts:
        mass, rows = mass.sum(0, keepdims=True), rows.sum(0, keepdims=True)
    held = rows.sum(1) > 0

    np.testing.assert_allclose(mass.sum(1)[held] / rows.sum(1)[held], 1, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_client_is_given_the_same_whoever_else_is_there(name):
    """A device sees its own counts and the totals, nothing of other devices."""
    remedy = remedy_of(name)
    total = totals(remedy, COUNTS)
    for client in range(len(COUNTS)):
        alone = COUNTS[client : client + 1]
        for hook in (remedy.class_weights, remedy.logit_scale, remedy.logit_shift, remedy.margin, remedy.say):
            assert hook(alone, total).tobytes() == hook(COUNTS, total)[client : client + 1].tobytes()
        assert remedy.idle_because(alone) == [remedy.idle_because(COUNTS)[client]]


def drawn(remedy, counts, seed=0):
    labels = np.repeat(np.arange(len(counts)), counts)
    features = np.random.default_rng(1).normal(size=(len(labels), 3))
    kept = features.copy(), labels.copy()
    draw = remedy.draw(features, labels, np.random.default_rng(seed))
    assert (features == kept[0]).all()
    assert (labels == kept[1]).all()
    return draw, labels


@pytest.mark.parametrize("counts", AWKWARD, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_is_of_the_shard_and_no_class_is_lost(name, counts):
    remedy = remedy_of(name)
    draw, labels = drawn(remedy, counts)

    assert draw.rows.dtype == np.int64
    assert set(draw.rows.tolist()) <= set(range(len(labels)))
    assert (draw.made_features is None) == (draw.made_labels is None)
    if draw.made_features is not None:
        assert draw.made_features.shape == (len(draw.made_labels), 3)
        assert np.isfinite(draw.made_features).all()
    made = [] if draw.made_labels is None else draw.made_labels.tolist()
    assert set(labels[draw.rows].tolist()) | set(made) == set(labels.tolist())
    if not remedy.resamples:
        assert draw.rows.tolist() == list(range(len(labels)))


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_is_the_generators_alone(name):
    remedy = remedy_of(name)

    first, again = (drawn(remedy, [40, 9, 3, 0], seed=3)[0] for _ in range(2))
    other = drawn(remedy, [40, 9, 3, 0], seed=4)[0]

    assert first.rows.tolist() == again.rows.tolist()
    if remedy.resamples and not remedy.balances_batches:
        same_made = first.made_features is not None and np.array_equal(first.made_features, other.made_features)
        assert first.rows.tolist() != other.rows.tolist() or (first.made_features is not None and not same_made)


@pytest.mark.parametrize("name", NAMES)
def test_an_idle_remedy_says_why_and_changes_nothing(name):
    remedy = remedy_of(name)
    reasons = remedy.idle_because(COUNTS)
    total = totals(remedy, COUNTS)

    assert len(reasons) == len(COUNTS)
    assert all(isinstance(reason, str) and "\n" not in reason for reason in reasons)
    for client, reason in enumerate(reasons):
        if reason and COUNTS[client].sum() < 1000:
            draw, labels = drawn(remedy, COUNTS[client])
            assert draw.rows.tolist() == list(range(len(labels)))
            assert draw.made_labels is None
            held = COUNTS[client] > 0
            np.testing.assert_allclose(remedy.class_weights(COUNTS, total)[client][held], 1, rtol=1e-12)
            assert draw.notes == ()


@pytest.mark.parametrize("name", NAMES)
def test_settings_refuse_losses_that_a_remedy_is_not_defined_for(name):
    losses = REMEDIES[name].losses
    assert losses
    for loss in catalogue("loss"):
        if loss in losses:
            assert FederationConfig(imbalance=name, loss=loss).loss == loss
        else:
            with pytest.raises(SettingsError, match=f"imbalance={name} contradicts loss={loss}"):
                FederationConfig(imbalance=name, loss=loss)


@pytest.mark.parametrize("name", NAMES)
def test_its_line_in_the_list_and_its_options(name):
    assert issubclass(REMEDIES[name], Remedy)
    line = catalogue("imbalance")[name]
    assert line.endswith((".", ")"))
    assert REMEDIES[name].family in FAMILIES
    assert len(line) > 20
    for option, (low, high) in REMEDIES[name].option_ranges.items():
        assert low <= high
        assert FederationConfig(imbalance=name, imbalance_options=f"{option}={low}").options == {option: low}
    with pytest.raises(SettingsError, match="has no option 'frobnicate'"):
        FederationConfig(imbalance=name, imbalance_options="frobnicate=1")


# ---------------------------------------------------------------------------------------------- training
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_training_stays_finite_on_awkward_shards(name, dtype):
    """One class, one row, nothing, absent classes, and a class that nobody holds; every loss it is defined for."""
    for loss in REMEDIES[name].losses:
        clients = Clients(*_parts(holding(AWKWARD, imbalance=name, dtype=dtype, loss=loss)))
        done = one_round(clients)
        before = everyone(clients).params

        assert np.isfinite(done.params.numpy()).all()
        assert np.isfinite(done.loss).all()
        moved = (done.params != before).any(1).numpy()
        assert moved.tolist() == [sum(counts) > 0 for counts in AWKWARD]
        assert (done.steps > 0).tolist() == moved.tolist()


def _parts(made):
    config, data = made
    return config, data.shards


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_federation_on_awkward_shards(name):
    """Both engines get through it and agree; every figure that there is is finite."""
    weights = []
    for engine in ("batched", "sequential"):
        config, data = holding(AWKWARD, imbalance=name)
        federation, trainer = queried(config, make_engine(engine), data)
        run_rounds([federation], trainer.exchange)
        weights.append(federation.weights)
        last = federation.history[-1]
        assert np.isfinite(federation.weights).all()
        assert np.isfinite([last["train_loss"], last["test"]["log_loss"], last["test"]["balanced_accuracy"]]).all()
        assert last["clients"] == 6
    assert weights[0].tobytes() == weights[1].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_on_level_classes_a_remedy_is_none_unless_it_says_that_it_acts_there(name):
    """Every client holds as many rows of each class: nothing is imbalanced, so nothing may change."""
    level = [[4, 4, 4], [6, 6, 6], [1, 1, 1]]
    same = not REMEDIES[name].acts_on_level_classes
    ends = []
    for remedy in ("none", name):
        config, data = holding(level, imbalance=remedy, dtype="float64", num_server_rounds=5)
        federation, engine = queried(config, data=data)
        run_rounds([federation], engine.exchange)
        ends.append(federation)

    assert np.allclose(ends[1].weights, ends[0].weights, rtol=0, atol=1e-9) is same
    if not same:
        return
    none, remedied = (federation.history[-1]["test"] for federation in ends)
    assert remedied["confusion"] == none["confusion"]
    assert remedied["log_loss"] == pytest.approx(none["log_loss"], abs=1e-9)


@pytest.fixture(scope="module")
def none():
    return trained(settings())[0]


@pytest.mark.parametrize("name", [name for name in NAMES if REMEDIES[name].neutral])
def test_at_its_neutral_setting_a_remedy_is_none_bit_for_bit(none, name):
    neutral, _ = trained(settings(imbalance=name, **REMEDIES[name].neutral))

    assert neutral.summary["model_sha256"] == none.summary["model_sha256"]
    assert neutral.summary["test"] == none.summary["test"]
    assert [row["train_loss"] for row in neutral.rounds] == [row["train_loss"] for row in none.rounds]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_where_classes_are_unequal_a_remedy_is_not_none(none, name):
    """Under the same seed all else is the same: what differs is the remedy."""
    remedied, _ = trained(settings(imbalance=name))

    assert figures(remedied)["summary"]["test"] != figures(none)["summary"]["test"]
    assert remedied.manifest["shards"]["class_counts"] == none.manifest["shards"]["class_counts"]
    assert remedied.summary["client_updates"] == none.summary["client_updates"]


@pytest.mark.parametrize("name", NAMES)
def test_what_it_did_on_each_client_is_written_down(name):
    """``applied``: rows drawn and made on each client, and why not as asked; the same from every engine."""
    found = []
    for engine in ("batched", "sequential"):
        config, data = holding(AWKWARD, imbalance=name, num_server_rounds=1)
        federation, trainer = queried(config, make_engine(engine), data)
        run_rounds([federation], trainer.exchange)
        opening = opening_manifest(config, data, engine, {})
        found.append(closing_manifest(federation, opening, "run", 0.0)["applied"])
        idle = opening["shards"]["idle"]

    assert found[0] == found[1]
    applied, rows = found[0], list(map(sum, AWKWARD))
    assert applied["asked"] == name
    assert all(why == reason for why, reason in zip(applied["why"], idle, strict=True) if reason)
    for client, reason in enumerate(idle):
        if reason or not REMEDIES[name].resamples:
            assert (applied["drawn"][client], applied["made"][client]) == (rows[client], 0)
    assert json.loads(json.dumps(applied)) == applied


@pytest.fixture(scope="module")
def company():
    return dict(zip(NAMES, together([settings(imbalance=name) for name in NAMES], make_engine("batched")), strict=True))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_in_company_of_all_others_a_remedy_is_as_it_is_alone(company, name):
    """Clients of different remedies train in one batch; none sees another's."""
    alone = together([settings(imbalance=name)], make_engine("batched"))[0]

    assert company[name].weights.tobytes() == alone.weights.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_remedy_is_deterministic_in_the_seed(name):
    first, again = (trained(settings(imbalance=name, num_server_rounds=2))[0] for _ in range(2))

    assert figures(first) == figures(again)


@pytest.mark.parametrize("name", NAMES)
def test_a_clients_say_is_its_rows_before_resampling(name):
    """Otherwise oversampling would raise a client's weight in the average without anyone having asked for it."""
    config, data = holding(AWKWARD, imbalance=name)
    federation, engine = queried(config, data=data)
    run_rounds([federation], engine.exchange)

    rows = {client: count for client, count in enumerate(map(sum, AWKWARD)) if count}
    for entry in federation.clients:
        assert dict(zip(entry.ids.tolist(), entry.rows.tolist(), strict=True)) == rows


@pytest.mark.parametrize("name", NAMES)
def test_every_remedy_takes_the_same_steps(name):
    """match=steps: local-epochs x ceil(rows before resampling / batch-size)."""
    clients = Clients(*_parts(holding(AWKWARD, imbalance=name, batch_size=4, local_epochs=3)))

    assert one_round(clients).steps.tolist() == [3 * -(-sum(counts) // 4) for counts in AWKWARD]


def test_the_short_name_is_the_long_one():
    assert REMEDIES["class-weights"] is REMEDIES["class-weights-balanced-local"]
