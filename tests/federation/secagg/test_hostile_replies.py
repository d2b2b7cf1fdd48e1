"""Replies that are not what a stage asked for: their client is out, by name, and the sum of the rest holds."""

import io
import re

import numpy as np
import pytest
from drop_outs import Changing, Dropping, one_round, updates_in_the_clear
from federations import queried
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord

from edgefed.config import FederationConfig
from edgefed.engines import make_engine
from edgefed.federation.rounds import run_rounds
from edgefed.federation.secagg.joining import Sifting
from edgefed.federation.secagg.vectors import HEADER

CONFIG = FederationConfig(privacy="secagg", partition="iid", dtype="float64", local_epochs=1, num_clients=6)
BAD = 4


def field(**changes):
    """Return a fault that sets fields of a stage's record, or takes them out (None)."""

    def change(reply):
        record = reply.content.config_records["secagg"]
        for name, value in changes.items():
            key = name.replace("_", "-")
            found = record.pop(key, None)
            if value is not None:
                record[key] = value(found) if callable(value) else value

    return change


def vector(change):
    """Return a fault in the masked vector."""

    def fault(reply):
        array = change(reply.content["masked"]["vector"].numpy().copy())
        del reply.content["masked"]
        reply.content["masked"] = ArrayRecord({"vector": array if isinstance(array, Array) else Array(array)})

    return fault


def identity(reply):
    del reply.content["metrics"]
    reply.content["metrics"] = MetricRecord({"partition-id": BAD - 1})


def more(reply):
    reply.content["weights"] = ConfigRecord({"more": 1})


def pickled():
    """Return a .npy file whose numbers are a pickle."""
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


FAULTS = {
    "no key": ("keys", field(mask_key=None), "keys: fields"),
    "a key that is text": ("keys", field(mask_key="key"), "keys: a public key that is no bytes"),
    "a key of zeros": ("keys", field(mask_key=bytes(215)), "keys: a public key that cannot be read"),
    "a long key": ("keys", field(cipher_key=bytes(10**6)), "keys: a public key of 1000000 bytes, expected 215"),
    "a further record": ("keys", more, "keys: records"),
    "shares for others": ("shares", field(clients=lambda ids: [*ids[:-1], 77]), "shares: clients: not the clients"),
    "too few shares": ("shares", field(closed=lambda closed: closed[:-1]), "shares: closed: expected 5 of them"),
    "shares that are long": ("shares", field(closed=lambda closed: [bytes(10**6), *closed[1:]]), "shares: closed: exp"),
    "a short vector": ("masked", vector(lambda found: found[:-1]), "masked: vector: uint32 (136,), expected"),
    "a vector of floats": ("masked", vector(lambda found: found.astype(np.float32)), "masked: vector: float32"),
    "a long vector": ("masked", vector(lambda found: np.tile(found, 9)), "masked: vector: 5060 bytes"),
    "a pickled vector": (
        "masked",
        vector(lambda found: Array("object", (1,), "numpy.ndarray", pickled())),
        "masked: holds '|O'",
    ),
    "in another's name": ("masked", identity, f"masked: says that it is client {BAD - 1}"),
    "no shares to unmask": ("unmask", field(seed_shares=[]), "unmask: seed-shares: expected 5 of them"),
    "shares of others": ("unmask", field(there=lambda ids: ids[::-1]), "unmask: there: not the clients"),
    "a share of another number": (
        "unmask",
        field(seed_shares=lambda found: [b"\x63" + found[0][1:], *found[1:]]),
        "unmask: seed-shares: one that is not the share",
    ),
}


@pytest.fixture(scope="module")
def plain():
    return updates_in_the_clear(CONFIG)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_client_is_out_by_name_and_the_sum_of_the_rest_holds(plain, fault):
    stage, change, why = FAULTS[fault]
    start, updates, rows = plain

    federation, _ = one_round(CONFIG, lambda engine: Changing(engine, stage, BAD, change))

    row = federation.history[0]
    said = row["refused"][str(BAD)]
    assert said.startswith(why), said
    counted = [client for client in range(6) if client != BAD or stage == "unmask"]
    assert row["clients"] == len(counted)
    expected = rows[counted] @ updates[counted] / rows[counted].sum()
    assert np.abs(federation.weights - start - expected).max() < 1e-4
    if stage != "unmask":
        verdicts = dict(zip(federation.clients[0].ids.tolist(), federation.clients[0].verdicts, strict=True))
        assert verdicts[BAD] == f"refused: {said}"


def test_whoever_repeats_anothers_key_is_not_let_in():
    taken = {}

    def keep(reply):
        taken["keys"] = dict(reply.content.config_records["secagg"])

    def repeat(reply):
        field(mask_key=taken["keys"]["mask-key"])(reply)

    federation, _ = one_round(CONFIG, lambda engine: Changing(Changing(engine, "keys", 0, keep), "keys", BAD, repeat))

    assert federation.history[0]["refused"] == {str(BAD): "keys: another client's"}
    assert federation.history[0]["clients"] == 5


def added(place, number):
    """Return a fault that adds to an entry of the vector, as a client may before it masks: adding is the same after."""

    def change(found):
        found[place : place + 1 or None] += np.array([number % 2**32], np.uint32)
        return found

    return vector(change)


LEVELS = 2**22
FALSE = {
    "noise": vector(lambda found: found * 0),
    "a weight that is nearly taken away from all": added(0, 1 - 6 * LEVELS),
    "a little less weight than its rows": added(0, -1000),
    "more rows": added(1, 1000),
    "numbers beyond what all could have together": added(-1, int(3.01 * LEVELS)),
}


@pytest.mark.parametrize("fault", FALSE)
def test_a_vector_that_is_none_is_seen_in_the_sum_and_changes_nothing(fault):
    """One client could else make the average whatever it likes, without anybody's being able to tell who it was."""
    federation, _ = queried(CONFIG.replace(num_server_rounds=1))
    before = federation.weights.copy()

    run_rounds([federation], Changing(make_engine("batched"), "masked", BAD, FALSE[fault]).exchange)

    assert federation.history[0]["note"] == (
        "secure aggregation: the sum is none of vectors that these clients may send, and a sum does not tell whose is "
        "false: the round changed nothing"
    )
    assert np.array_equal(federation.weights, before)
    assert set(federation.clients[0].verdicts) == {"answered; the round could not be unmasked"}


def pushing(found):
    """Push every number of the average one way by half of the range, as whoever is in the sum may."""
    found[HEADER:] += np.uint32(LEVELS // 2)
    return found


def test_how_far_one_client_moves_the_average_is_bounded_by_its_norm(plain, monkeypatch):
    """Without a bound by 8/6 a number, and nobody sees it; with one the round changes nothing, and sifts no shares."""
    monkeypatch.setattr(Sifting, "joined", lambda *_: pytest.fail("the shares fit: the sum's header says so"))
    start, updates, rows = plain
    honest = rows @ updates / rows.sum()
    longest = float(np.linalg.norm(updates, axis=1).max())  # no average of these is longer: Minkowski's inequality

    pushed, _ = one_round(CONFIG, lambda engine: Changing(engine, "masked", BAD, vector(pushing)))
    assert np.abs(pushed.weights - start - honest - 8 * rows.max() / rows.sum()).max() < 1e-4

    bounded = CONFIG.replace(secagg_max_norm=longest)
    refused, _ = one_round(bounded, lambda engine: Changing(engine, "masked", BAD, vector(pushing)))
    assert re.fullmatch(
        r"secure aggregation: the average is 1\d\.\d long, secagg-max-norm=[\d.]+: so is some client's update, and a "
        "sum does not tell whose: the round changed nothing",
        refused.history[0]["note"],
    )
    assert np.array_equal(refused.weights, start)

    unhurt, _ = one_round(bounded, lambda engine: engine)
    free, _ = one_round(CONFIG, lambda engine: engine)
    assert np.array_equal(unhurt.weights, free.weights)
    short, _ = one_round(CONFIG.replace(secagg_max_norm=0.99 * float(np.linalg.norm(honest))), lambda engine: engine)
    assert np.array_equal(short.weights, start)


def test_shares_that_some_cannot_open_cost_nothing(plain):
    """Garbage for one neighbour of five: the other four bring its seed back, and its vector counts."""
    start, updates, rows = plain
    garbage = field(closed=lambda closed: [b"x" * 248, *closed[1:]])

    federation, _ = one_round(CONFIG, lambda engine: Changing(engine, "shares", BAD, garbage))

    assert federation.history[0]["clients"] == 6
    assert "refused" not in federation.history[0]
    assert np.abs(federation.weights - start - rows @ updates / rows.sum()).max() < 1e-4


def test_shares_that_nobody_can_open_cost_the_round_and_name_their_sender_alone():
    garbage = field(closed=lambda closed: [b"x" * 248 for _ in closed])

    federation, _ = one_round(CONFIG, lambda engine: Changing(engine, "shares", BAD, garbage))

    assert federation.history[0]["note"] == (
        f"secure aggregation: 0 shares of a secret of client {BAD}, 4 are needed: the round changed nothing"
    )
    why = "shares: 5 of its 5 neighbours in the sum cannot open what it sent"
    assert federation.history[0]["refused"] == {str(BAD): why}
    assert "failed" not in federation.history[0]
    verdicts = dict(zip(federation.clients[0].ids.tolist(), federation.clients[0].verdicts, strict=True))
    assert verdicts.pop(BAD) == f"refused: {why}"
    assert set(verdicts.values()) == {"answered; the round could not be unmasked"}


def false(begins):
    """Return a fault in all shares that are given back, from a byte on: nobody else knows what they were."""
    return field(
        **{
            name: lambda found: [share[: 4 + begins] + bytes(len(share) - 4 - begins) for share in found]
            for name in ("seed_shares", "key_shares")
        }
    )


@pytest.mark.parametrize(("clients", "begins"), [(6, 16), (7, 0), (7, 16)])
def test_who_gives_false_shares_back_is_named_and_the_sum_holds(clients, begins):
    """With one share more than needed their padding tells, which is in the second half; with two more each tells."""
    config = CONFIG.replace(num_clients=clients)
    start, updates, rows = updates_in_the_clear(config)

    federation, _ = one_round(config, lambda engine: Changing(engine, "unmask", 0, false(begins)))

    others = clients - 1
    assert federation.history[0]["refused"] == {"0": f"unmask: {others} of its {others} shares do not fit the others'"}
    assert federation.history[0]["clients"] == clients
    assert np.abs(federation.weights - start - rows @ updates / rows.sum()).max() < 1e-4


def first_half(found):
    """Make shares false where their padding does not tell: it is in the second half."""
    return [share[:4] + bytes(16) + share[20:] for share in found]


def test_a_false_share_of_the_key_of_one_that_is_gone_is_told_by_its_public_key():
    """Five of seven give a share of it, four are needed. One false share of six may be its owner's fault as well."""
    config = CONFIG.replace(num_clients=7)
    start, updates, rows = updates_in_the_clear(config)
    bad, gone = field(key_shares=first_half), {"masked": {BAD}, "unmask": {5}}

    federation, _ = one_round(config, lambda engine: Dropping(Changing(engine, "unmask", 0, bad), gone))

    assert federation.history[0]["refused"] == {
        "0": f"unmask: its share of client {BAD} does not fit the others', by either's fault",
        str(BAD): "shares: that which client 0 gave back does not fit the others, by either's fault",
    }
    counted = [client for client in range(7) if client != BAD]
    assert np.abs(federation.weights - start - rows[counted] @ updates[counted] / rows[counted].sum()).max() < 1e-4


def test_whoever_gives_some_false_shares_back_has_no_honest_client_named():
    """Three of its six: the owners of these shares would have to have conspired to deal it false ones."""
    some = field(seed_shares=lambda found: [*first_half(found[:3]), *found[3:]])

    federation, _ = one_round(CONFIG.replace(num_clients=7), lambda engine: Changing(engine, "unmask", 0, some))

    assert federation.history[0]["clients"] == 7
    assert federation.history[0]["refused"] == {"0": "unmask: 3 of its 6 shares do not fit the others'"}
    verdicts = dict(zip(federation.clients[0].ids.tolist(), federation.clients[0].verdicts, strict=True))
    assert verdicts.pop(0) == "ok, but unmask: 3 of its 6 shares do not fit the others'"
    assert set(verdicts.values()) == {"ok"}


def test_where_the_shares_do_not_tell_which_is_false_nothing_changes_and_nobody_is_named():
    federation, _ = one_round(CONFIG, lambda engine: Changing(engine, "unmask", 0, field(seed_shares=first_half)))

    assert federation.history[0]["note"].startswith("secure aggregation: the sum is none of vectors")
    assert federation.history[0]["clients"] == 0
    assert "refused" not in federation.history[0]
