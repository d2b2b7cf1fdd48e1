"""That a client's training does not depend on its company."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_training import OPTIMISERS, cohort_of, update_of

from edgefed.learning import training
from edgefed.learning.cohort import Cohort, join, pool_of
from edgefed.learning.local_update import ClientUpdate
from edgefed.learning.losses import LOSSES
from edgefed.learning.model import MLP
from edgefed.learning.schedule import Schedule
from edgefed.learning.training import Execution, train

MODEL = MLP(4, (6,), 3)
RAGGED = [0, 1, 2, 7, 8, 9, 15, 16, 15, 60, 137, 200, 3, 0]


def named(name: str, loss: str = "cross-entropy", mu: float = 0.0) -> ClientUpdate:
    return update_of(MODEL, OPTIMISERS[name], loss, mu=mu)


def schedule_of(name: str, epochs: int = 3) -> Schedule:
    return Schedule(OPTIMISERS[name].batch_size, epochs)


# ---- company
def alone(update: ClientUpdate, schedule: Schedule, cohort: Cohort, client: int) -> tuple[torch.Tensor, float]:
    """Train one client on a copy of its own rows, as a device would."""
    one = cohort.take(np.array([client]))
    rows = slice(int(one.starts[0]), int(one.starts[0] + one.drawn_rows[0]))
    one = replace(one, features=one.features[rows], targets=one.targets[rows], starts=np.zeros(1, np.int64))
    trained = train(update, schedule, one)
    return trained.params[0], float(trained.loss[0])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_ragged_cohort_gives_each_client_what_it_gets_alone(name, loss):
    update, schedule = named(name, loss, mu=0.1), schedule_of(name)
    cohort = cohort_of(RAGGED, MODEL, OPTIMISERS[name], mu=0.1)

    trained = train(update, schedule, cohort)

    for client, rows in enumerate(RAGGED):
        params, mean_loss = alone(update, schedule, cohort, client)
        torch.testing.assert_close(trained.params[client], params, rtol=0, atol=1e-9)
        assert trained.loss[client] == pytest.approx(mean_loss, abs=1e-9)
        assert torch.equal(params, cohort.params[client]) == (rows == 0)


@pytest.mark.parametrize("hidden", [(), (4,), (16,), (32, 16)], ids=str)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_in_float32_company_does_not_change_a_bit(name, hidden):
    """A client's batches are padded by its own rows alone, so its sums are ordered alike in any company.

    True of widths that keep each client's matrices aligned in memory; with others (13, or 33) the processor's
    library may sum in another order, and the next test's tolerance holds.
    """
    optimiser, model = OPTIMISERS[name], MLP(4, hidden, 3)
    optimiser = optimiser._replace(batch_size=optimiser.batch_size and 10)
    update, schedule = update_of(model, optimiser), Schedule(optimiser.batch_size, 3)
    cohort = cohort_of(RAGGED, model, optimiser, torch.float32)
    order = np.random.default_rng(0).permutation(len(RAGGED))

    trained, shuffled = train(update, schedule, cohort), train(update, schedule, cohort.take(order))

    for client in range(len(RAGGED)):
        params, mean_loss = alone(update, schedule, cohort, client)
        assert torch.equal(trained.params[client], params)
        assert trained.loss[client] == mean_loss
    assert torch.equal(shuffled.params, trained.params[torch.from_numpy(order)])
    assert np.array_equal(shuffled.loss, trained.loss[order])
    assert np.array_equal(shuffled.steps, trained.steps[order])


@pytest.mark.parametrize("hidden", [(13,), (33,)], ids=str)
@pytest.mark.parametrize("name", ["sgd", "full-batch"])
def test_in_float32_company_is_felt_in_the_last_digits_at_most(name, hidden):
    optimiser, model = OPTIMISERS[name], MLP(4, hidden, 3)
    update, schedule = update_of(model, optimiser), schedule_of(name, epochs=10)
    cohort = cohort_of(RAGGED, model, optimiser, torch.float32)
    order = np.random.default_rng(0).permutation(len(RAGGED))

    trained, shuffled = train(update, schedule, cohort), train(update, schedule, cohort.take(order))

    for client in range(len(RAGGED)):
        params, _ = alone(update, schedule, cohort, client)
        torch.testing.assert_close(trained.params[client], params, rtol=0, atol=5e-6)
    torch.testing.assert_close(shuffled.params, trained.params[torch.from_numpy(order)], rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    ("bound", "value"),
    [
        ("MAX_ORDER_ELEMENTS", 1),
        ("MAX_ORDER_ELEMENTS", 1000),
        ("MAX_ORDER_ELEMENTS", 20_000),
        ("MAX_GATHERED_ROWS", 1),
        ("MAX_GATHERED_ROWS", 100),
    ],
)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_training_in_chunks_changes_nothing(monkeypatch, name, bound, value):
    update, schedule = named(name), schedule_of(name)
    cohort = cohort_of(RAGGED, MODEL, OPTIMISERS[name], shard_rows=[rows and rows + 5 for rows in RAGGED])
    whole = train(update, schedule, cohort)

    assert hasattr(training, bound)
    monkeypatch.setattr(training, bound, value)
    chunked = train(update, schedule, cohort)

    torch.testing.assert_close(chunked.params, whole.params, rtol=0, atol=1e-12)
    np.testing.assert_allclose(chunked.loss, whole.loss, rtol=0, atol=1e-12)
    assert np.array_equal(chunked.steps, whole.steps)


@pytest.mark.parametrize("chunk_bytes", [1, 30_000])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_chunks_of_any_working_set_change_nothing(name, chunk_bytes):
    update, schedule = named(name), schedule_of(name)
    cohort = cohort_of(RAGGED, MODEL, OPTIMISERS[name], shard_rows=[rows and rows + 5 for rows in RAGGED])
    whole = train(update, schedule, cohort)

    chunked = train(update, schedule, cohort, Execution(cores=1, chunk_bytes=chunk_bytes, shared_bytes=1))

    torch.testing.assert_close(chunked.params, whole.params, rtol=0, atol=1e-12)
    np.testing.assert_allclose(chunked.loss, whole.loss, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate"),
        RuntimeError("can't allocate memory: 12 GB"),
    ],
    ids=["Python", "CUDA", "torch"],
)
def test_a_chunk_that_does_not_fit_is_halved_until_it_does(monkeypatch, error):
    """Chunks of more than two clients find no memory; what comes out is what fits at once."""
    update, schedule = named("sgd"), schedule_of("sgd")
    cohort = cohort_of(RAGGED, MODEL, OPTIMISERS["sgd"])
    whole, sizes = train(update, schedule, cohort), []
    really = training._train_chunk

    def cramped(update, schedule, cohort, steps):
        sizes.append(len(cohort))
        if len(cohort) > 2:
            raise error
        return really(update, schedule, cohort, steps)

    monkeypatch.setattr(training, "_train_chunk", cramped)
    halved = train(update, schedule, cohort)

    assert max(sizes) > 2
    torch.testing.assert_close(halved.params, whole.params, rtol=0, atol=1e-12)
    np.testing.assert_allclose(halved.loss, whole.loss, rtol=0, atol=1e-12)
    assert (halved.rows, halved.slots) == (whole.rows, whole.slots)


def test_a_client_that_does_not_fit_alone_and_other_errors_are_not_hidden(monkeypatch):
    update, schedule = named("sgd"), schedule_of("sgd")
    for error in (MemoryError("too large"), RuntimeError("shapes cannot be multiplied")):

        def fails(*_, error=error):
            raise error

        monkeypatch.setattr(training, "_train_chunk", fails)
        with pytest.raises(type(error), match=str(error)):
            train(update, schedule, cohort_of([3, 4], MODEL, OPTIMISERS["sgd"]))


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory by Linux's means")
def test_a_chunk_that_really_finds_no_memory_is_halved():
    """A process that may not grow by what a round in one chunk takes ends with the same weights."""
    done = subprocess.run([sys.executable, "-c", CRAMPED], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    chunks, same = done.stdout.split()
    assert int(chunks) > 1
    assert same == "True"


CRAMPED = """
import resource, sys
import numpy as np, torch
sys.path.insert(0, "tests/learning")
from plain_training import OPTIMISERS, cohort_of, update_of
from edgefed.learning import training
from edgefed.learning.model import MLP
from edgefed.learning.schedule import Schedule
torch.set_num_threads(1)
model = MLP(4, (512, 512), 3)
update, schedule = update_of(model, OPTIMISERS["sgd"]), Schedule(10, 1)
cohort = cohort_of([10] * 64, model, OPTIMISERS["sgd"], torch.float32)
one_chunk = training.Execution(cores=1, chunk_bytes=2**62, shared_bytes=2**62)
whole = training.train(update, schedule, cohort, one_chunk)
done, really = [], training._train_chunk
def watched(*given):
    found = really(*given)
    done.append(len(given[2]))
    return found
training._train_chunk = watched
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
# For the results, and as much again: a round in one chunk takes about three times that, a quarter of it fits.
room = 2 * 64 * model.size * 4
resource.setrlimit(resource.RLIMIT_AS, (pages + room, resource.RLIM_INFINITY))
cramped = training.train(update, schedule, cohort, one_chunk)
print(len(done), torch.equal(cramped.params, whole.params))
"""


# ---------------------------------------------------------------------------------------------- padding
@pytest.mark.parametrize(("batch_size", "bound"), [(10, 0.01), (256, 0.06), (0, 0.1)])
def test_little_of_a_ragged_cohorts_work_is_padding(batch_size, bound):
    """Clients of 1 to 10,000 rows, log-uniform; batches of 10, of 256, and of the whole shard.

    Whole shards are padded to a quarter of a power of two, a tenth on average, so that clients of like size train
    together.
    """
    sizes = np.unique(np.geomspace(1, 10_000, 60).astype(int)).tolist()
    schedule = Schedule(batch_size, 1)
    trained = train(ClientUpdate(MODEL), schedule, cohort_of(sizes, MODEL, OPTIMISERS["sgd"], torch.float32))

    assert trained.rows == sum(sizes)
    assert trained.slots >= trained.rows
    assert 0 < trained.padding < bound


def test_padding_by_hand():
    """Batches of 10: 15 rows lie in 20 places, 3 in 10, twice over; the client without rows takes none."""
    trained = train(ClientUpdate(MODEL), Schedule(10, 2), cohort_of([15, 3, 0], MODEL, OPTIMISERS["sgd"]))

    assert (trained.rows, trained.slots) == (2 * 18, 2 * 30)
    assert trained.padding == 1 - 18 / 30


def test_chunks_bound_the_memory_of_a_client_that_draws_few_of_its_many_rows(monkeypatch):
    """Matched in steps it walks through them a hundred times, beside one that has a thousand to order."""
    schedule, bound = Schedule(10, 1), 200_000
    cohort = cohort_of([10] * 9 + [1000], MODEL, OPTIMISERS["sgd"], shard_rows=[1000] * 10)
    steps = schedule.steps(cohort.drawn_rows, cohort.shard_rows)
    monkeypatch.setattr(training, "MAX_ORDER_ELEMENTS", bound)

    chunks = training._chunks(ClientUpdate(MODEL), schedule, cohort, steps, Execution.here())

    assert sorted(np.concatenate(chunks).tolist()) == list(range(10))
    for which in chunks:
        drawn = cohort.drawn_rows[which]
        epochs = -(-steps[which] // schedule.steps_per_epoch(drawn))
        assert len(which) * epochs.max() * drawn.max() <= bound or len(which) == 1


@pytest.mark.parametrize("name", OPTIMISERS)
def test_another_clients_wild_rows_do_not_reach_a_client(name):
    """Rows near float32's limit overflow to nan in the first client; padding must not carry that to others."""
    update, schedule = named(name), schedule_of(name)
    cohort = cohort_of([9, 3, 14], MODEL, OPTIMISERS[name], torch.float32)
    calm = train(update, schedule, cohort)
    cohort.features[:9] = 3e38

    wild = train(update, schedule, cohort)

    assert torch.equal(wild.params[1:], calm.params[1:])
    assert np.array_equal(wild.loss[1:], calm.loss[1:])
    assert not torch.equal(wild.params[0], calm.params[0])


def test_a_client_without_rows_keeps_the_global_weights():
    cohort = cohort_of([0, 0], MODEL, OPTIMISERS["adam"])

    trained = train(named("adam"), Schedule(10, 5), cohort)

    assert torch.equal(trained.params, cohort.params)
    assert trained.loss.tolist() == [0.0, 0.0]
    assert trained.steps.tolist() == [0, 0]


def test_training_leaves_the_global_weights_and_the_rows_alone():
    cohort = cohort_of([9, 20], MODEL, OPTIMISERS["sgd"])
    shared = replace(cohort, params=cohort.params[:1].expand(2, -1))
    kept = cohort.params.clone(), cohort.features.clone(), cohort.targets.clone()

    train(named("sgd"), Schedule(10, 5), shared)

    assert all(torch.equal(*pair) for pair in zip(kept, (cohort.params, cohort.features, cohort.targets), strict=True))


def test_training_gives_the_callers_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train(named("sgd"), Schedule(10, 1), cohort_of([9], MODEL, OPTIMISERS["sgd"]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# ---- several cohorts as one
def test_joined_cohorts_train_as_they_do_apart():
    update, schedule = named("sgd"), Schedule(8, 3)
    first = cohort_of([9, 0, 30], MODEL, OPTIMISERS["sgd"], torch.float32)
    second = cohort_of([14, 5], MODEL, OPTIMISERS["momentum"], torch.float32)
    second = replace(second, seeds=second.seeds + 1, hyper=second.hyper._replace(momentum=first.hyper.momentum[:2]))
    again = replace(first, rounds=first.rounds + 1)

    joined = train(update, schedule, join([first, second, again]))
    apart = [train(update, schedule, cohort) for cohort in (first, second, again)]

    assert torch.equal(joined.params, torch.cat([trained.params for trained in apart]))
    assert np.array_equal(joined.loss, np.concatenate([trained.loss for trained in apart]))
    assert not torch.equal(apart[0].params, apart[2].params)


def test_a_pool_holds_shared_rows_once():
    first = cohort_of([9, 30], MODEL, OPTIMISERS["sgd"])
    second = cohort_of([14], MODEL, OPTIMISERS["sgd"])
    again = replace(first, rounds=first.rounds + 1)

    pool = pool_of([first, second, again])

    assert pool.bases.tolist() == [0, 39, 0]
    assert torch.equal(pool.features, torch.cat([first.features, second.features]))
    joined = join([first, second, again], pool)
    assert joined.starts.tolist() == [0, 9, 39, 0, 9]
    assert joined.features is pool.features


def test_taking_clients_keeps_their_settings_and_rows():
    cohort = cohort_of([3, 4, 5], MODEL, OPTIMISERS["sgd"])
    cohort.hyper.learning_rate[:, 0, 0] = torch.tensor([0.1, 0.2, 0.3])

    taken = cohort.take(np.array([2, 0]))

    assert len(taken) == 2
    assert taken.starts.tolist() == [7, 0]
    assert taken.ids.tolist() == [2, 0]
    torch.testing.assert_close(taken.params, cohort.params[[2, 0]])
    torch.testing.assert_close(taken.hyper.learning_rate[:, 0, 0], torch.tensor([0.3, 0.1]).double())
