"""Compressed updates in whole federations: engines agree, bytes are those sent, what cannot be read is a failure."""

import re
from pathlib import Path

import numpy as np
import pytest
from federations import ENGINES, Recorder, apart, figures, queried, settings, trained
from flwr.app import Array, ArrayRecord

import edgefed
from edgefed.config import FederationConfig, SettingsError
from edgefed.edge.codecs import CODECS
from edgefed.engines import make_engine
from edgefed.federation.client_state import put_record
from edgefed.federation.messages import ARRAYS
from edgefed.federation.rounds import run_rounds


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CODECS)
def test_engines_agree_to_the_bit(name, dtype):
    config = settings(compression=name, dtype=dtype, fraction_train=0.6, num_server_rounds=4)

    (batched, rows), (sequential, others) = (trained(config, engine) for engine in ENGINES)

    assert apart(batched, sequential) == 0
    assert figures(batched) == figures(sequential)
    assert rows == others


def deflated(content):
    """Count a content's bytes from Flower's objects alone."""
    objects = [content, *content.values()]
    for record in content.array_records.values():
        for array in record.values():
            objects += [array, *(chunk for _, chunk in array.slice_array())]
    return sum(len(item.deflate()) for item in objects)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CODECS)
def test_bytes_are_those_of_what_is_sent(name, engine):
    federation, trainer = queried(settings(compression=name, num_server_rounds=1, hidden="64"), make_engine(engine))
    answered = []

    def exchange(items):
        answers = trainer.exchange(items)
        answered.extend(deflated(reply.content) for reply in answers[0])
        return answers

    run_rounds([federation], exchange)

    assert federation.bytes_up == sum(answered)
    whole, trainer = queried(settings(num_server_rounds=1, hidden="64"))
    run_rounds([whole], trainer.exchange)
    assert federation.bytes_up < whole.bytes_up
    assert federation.bytes_down == whole.bytes_down


@pytest.mark.parametrize("name", ["none", *CODECS])
def test_the_docs_say_how_many_bytes_a_reply_has(name):
    """A round of every client; numbers of few digits in the reply are a byte shorter than others."""
    docs = (Path(edgefed.__file__).parents[1] / "docs" / "edge.md").read_text(encoding="utf-8")
    pattern = r"a reply of ([\d,]+) bytes" if name == "none" else rf"`{name}`: ([\d,]+)"
    said = int(re.search(pattern, docs).group(1).replace(",", ""))

    federation, trainer = queried(FederationConfig(compression=name, num_server_rounds=1))
    run_rounds([federation], trainer.exchange)

    assert federation.bytes_up / federation.history[0]["clients"] == pytest.approx(said, abs=4)


@pytest.mark.parametrize("name", CODECS)
def test_the_model_still_learns(name):
    run, _ = trained(settings(compression=name, num_server_rounds=15, long_tail=1.0, partition="iid"))

    assert run.summary["test"]["balanced_accuracy"] > 0.7


def test_error_feedback_by_hand():
    """What sparse updates left out is kept: u_1 + u_2 = sent_1 + sent_2 + e, for each client."""
    config = settings(compression="top-k", num_server_rounds=2, partition="iid", num_clients=2, top_k_share=0.05)
    federation, trainer = queried(config)
    recorder = Recorder(trainer)
    courses = [federation.weights.copy()]
    federation.on_round = lambda federation: courses.append(federation.weights.copy())

    run_rounds([federation], recorder.exchange)

    sent = []
    for _, replies in recorder.exchanges:
        dense = np.zeros((2, federation.model.size), np.float32)
        np.put_along_axis(dense, replies.packed["places"].astype(int), replies.packed["values"], 1)
        sent.append(dense)
    kept = federation.grid.clients.state.arrays["residual"]
    shares = federation.rows / federation.rows.sum()
    np.testing.assert_allclose(courses[1] - courses[0], shares @ sent[0], atol=1e-6)
    np.testing.assert_allclose(courses[2] - courses[1], shares @ sent[1], atol=1e-6)
    assert [np.count_nonzero(dense, axis=1).tolist() for dense in sent] == [[7, 7], [7, 7]]  # 5 % of 131
    # The clients' own updates, trained without compression from the same weights.
    updates = []
    for number, start in enumerate(courses[:2], 1):
        plain, engine = queried(config.replace(compression="none"))
        plain.set_weights(start)
        plain.round = number - 1
        alone = Recorder(engine)
        plain.config = plain.config.replace(num_server_rounds=number)
        run_rounds([plain], alone.exchange)
        updates.append(alone.exchanges[0][1].stack - start)
    np.testing.assert_allclose(sum(updates), sum(sent) + kept, atol=1e-6)
    assert np.abs(kept).max() > 1e-3


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    """What was left out comes back with the checkpoint."""
    config = settings(compression="top-k", num_server_rounds=6, fraction_train=0.5)
    whole = edgefed.run(config, progress=False)

    def stop(federation):
        if federation.round == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edgefed.run(config, progress=False, out=tmp_path / "run", on_round=stop)
    resumed = edgefed.run(config, progress=False, out=tmp_path / "run", resume=True)

    assert resumed.summary["model_sha256"] == whole.summary["model_sha256"]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"values": np.zeros(3, np.int8), "scale": np.ones(1, np.float32)}, r"values int8\[3\]"),
        ({"values": np.zeros(131, np.int8)}, r"expected scale float32\[1\], values int8\[131\]"),
        ({"values": np.zeros(131, np.float64), "scale": np.ones(1, np.float32)}, "float64"),
    ],
)
def test_what_is_no_packed_update_is_a_failure_of_that_client(arrays, says):
    federation, trainer = queried(settings(compression="int8", num_server_rounds=1), make_engine("sequential"))

    def exchange(items):
        replies = list(trainer.exchange(items)[0])
        put_record(replies[2].content, ARRAYS, ArrayRecord({name: Array(values) for name, values in arrays.items()}))
        return [replies]

    run_rounds([federation], exchange)

    assert federation.history[0]["clients"] == len(federation.clients[0].ids) - 1
    verdicts = dict(zip(federation.clients[0].ids.tolist(), federation.clients[0].verdicts, strict=True))
    assert re.search(says, verdicts[2])
    assert np.isfinite(federation.weights).all()


def test_top_k_under_scaffold_is_refused():
    with pytest.raises(SettingsError, match="compression=top-k contradicts strategy=scaffold"):
        settings(strategy="scaffold", compression="top-k")
