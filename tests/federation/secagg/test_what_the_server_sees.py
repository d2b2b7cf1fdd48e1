"""Everything that a server sent and saw in a round: no update, nothing that would unmask one, and vectors of noise."""

import numpy as np
import pytest
from drop_outs import TYPES, Dropping, one_round, updates_in_the_clear
from flwr.app import Array
from scipy.stats import chisquare

from edgefed.config import FederationConfig
from edgefed.federation.secagg.keys import joined_seed, mask
from edgefed.federation.secagg.vectors import HEADER, Quantizer, roundings

CONFIG = FederationConfig(privacy="secagg", partition="iid", hidden="64", local_epochs=1, dtype="float64")
GONE = 3

FIELDS = {
    "keys": {"secagg": {"mask-key", "cipher-key"}},
    "shares": {"secagg": {"clients", "closed"}},
    "masked": {"metrics": {"partition-id"}, "masked": {"vector"}},
    "unmask": {"secagg": {"there", "seed-shares", "gone", "key-shares"}},
}
"""What a client's reply to each stage holds: these names, and no other."""


@pytest.fixture(scope="module")
def seen():
    """A round of ten clients, one of which drops out when its neighbours have masked with it."""
    federation, recorder = one_round(CONFIG, lambda engine: Dropping(engine, {"masked": [GONE]}))
    assert federation.history[0]["clients"] == 9
    stages = {}
    for messages, replies in recorder.exchanges:
        kind = messages[0].metadata.message_type
        stage = next((stage for stage, name in TYPES.items() if name == kind), None)
        if stage is not None:
            stages[stage] = {reply.metadata.src_node_id: reply.content for reply in replies if reply.has_content()}
    return federation, stages


@pytest.fixture(scope="module")
def vectors():
    """What each client would have sent in the clear, as whole numbers."""
    _, updates, rows = updates_in_the_clear(CONFIG)
    quantizer = Quantizer.of(CONFIG, rows.max(), rows.max())
    return {
        client: quantizer.encode(update, rows[client], rows[client], 1.0, 1, roundings(CONFIG, 1, client, len(update)))
        for client, update in enumerate(updates)
    }


def numbers_in(content):
    """Return every array, list of numbers and number of a content."""
    for record in content.values():
        for value in record.values():
            if isinstance(value, Array):
                yield value.numpy().ravel()
            elif isinstance(value, list) and value and isinstance(value[0], int | float):
                yield np.array(value)
            elif isinstance(value, int | float):
                yield np.array([value])


def bytes_in(content):
    """Return everything of a content, as bytes."""
    return b"".join(
        value.data if isinstance(value, Array) else repr(value).encode()
        for record in content.values()
        for value in record.values()
    )


def test_replies_hold_what_the_stage_is_for_and_nothing_else(seen):
    _, stages = seen

    assert set(stages) == set(FIELDS)
    for stage, contents in stages.items():
        assert set(contents) == set(range(10)) - ({GONE} if stage in ("masked", "unmask") else set())
        for content in contents.values():
            assert {name: set(record) for name, record in content.items()} == FIELDS[stage]


def test_no_reply_holds_an_update_in_any_form(seen, vectors):
    """Not the floats, not the whole numbers, not their bytes, whole or in part; so look we for each client's in all."""
    _, stages = seen
    start, updates, _ = updates_in_the_clear(CONFIG)
    everything = [content for contents in stages.values() for content in contents.values()]
    floats = np.concatenate([found for content in everything for found in numbers_in(content)]).astype(np.float64)
    raw = b"".join(map(bytes_in, everything))

    for client, update in enumerate(updates):
        for known in (update, update + start):
            assert not np.isin(known[np.abs(known) > 1e-9], floats).any()
            pairs = known[:40].astype(np.float32).reshape(-1, 2)  # four bytes alone could be there by chance
            assert all(part.tobytes() not in raw for part in (*known[:40], *pairs))
        same = [
            np.isin(vectors[client][HEADER:], found).sum() for content in everything for found in numbers_in(content)
        ]
        assert max(same) <= 2  # of some 500 numbers out of 2^32: by chance


def test_for_each_client_the_server_gets_shares_of_one_secret_only(seen):
    """Of the one that is gone, shares of its key; of those in the sum, of their seeds: never of both."""
    federation, stages = seen
    seeds = dict.fromkeys(range(10), 0)
    keys = dict(seeds)
    for content in stages["unmask"].values():
        record = content.config_records["secagg"]
        assert len(record["seed-shares"]) == len(record["there"])
        assert len(record["key-shares"]) == len(record["gone"])
        for client in record["there"]:
            seeds[client] += 1
        for client in record["gone"]:
            keys[client] += 1

    assert {client for client, count in keys.items() if count} == {GONE}
    assert seeds[GONE] == 0
    assert min(count for client, count in seeds.items() if client != GONE) >= 6
    assert federation.history[0]["secagg"]["threshold"] == 6


def uniform(numbers):
    """Return the chance of bytes at least as uneven as these, were each of them uniform."""
    return chisquare(np.bincount(numbers.astype("<u4").view(np.uint8), minlength=256)).pvalue


def test_masked_vectors_are_noise_even_without_their_private_masks(seen, vectors):
    """The server can take off every private mask of those in the sum: the masks of pairs are left, and suffice."""
    _, stages = seen
    masked = {client: content["masked"]["vector"].numpy() for client, content in stages["masked"].items()}
    shares = {client: [] for client in masked}
    for content in stages["unmask"].values():
        record = content.config_records["secagg"]
        for client, share in zip(record["there"], record["seed-shares"], strict=True):
            shares[client].append(share)
    stripped = {
        client: vector - mask(joined_seed(shares[client][:6]), len(vector)) for client, vector in masked.items()
    }

    assert uniform(np.concatenate(list(masked.values()))) > 1e-6
    assert uniform(np.concatenate(list(stripped.values()))) > 1e-6
    assert uniform(np.concatenate(list(vectors.values()))) < 1e-100  # what the test is able to see
    for client, vector in stripped.items():
        assert uniform(vector) > 1e-6
        assert abs(np.corrcoef(vector[HEADER:], vectors[client][HEADER:])[0, 1]) < 0.25  # 6 SD of 579 pairs


def test_a_masked_vector_is_another_in_every_round():
    """Keys and seeds are the operating system's: the same seed gives the same sum under other masks."""
    (first, one), (second, other) = (one_round(CONFIG) for _ in range(2))

    def masked(recorder):
        (replies,) = (
            replies for messages, replies in recorder.exchanges if messages[0].metadata.message_type == "train"
        )
        return {reply.metadata.src_node_id: reply.content["masked"]["vector"].numpy() for reply in replies}

    assert np.array_equal(first.weights, second.weights)
    for client, vector in masked(one).items():
        assert (vector == masked(other)[client]).mean() < 0.02
