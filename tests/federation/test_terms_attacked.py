"""What a server that chooses its questions well gets from a device under terms."""

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from edgefed.config import FederationConfig
from edgefed.data.partition import Partition
from edgefed.data.shards import Shards
from edgefed.engines.grid import _claim_identity
from edgefed.federation import client_app
from edgefed.federation.components import model_of
from edgefed.federation.flat_record import to_record
from edgefed.federation.terms import Terms, TermsError
from edgefed.federation.terms_mod import under_terms

FEW = "its terms have min-rows=20, and what the run asks is of fewer rows"
UNUSABLE = "its file cannot be used; its own log says why"


def rows(of_x, of_y):
    """Return rows of two features and a label, as text."""
    return [[str(place), str(place / 4), "x" if place < of_x else "y"] for place in range(of_x + of_y)]


class Device:
    """A device with rows of its own, which is asked by hand."""

    def __init__(self, folder, lines, terms, **run):
        _claim_identity()
        self.folder = folder
        text = "\n".join(",".join(line) for line in [["a", "b", "label"], *lines])
        (folder / "data.csv").write_text(text + "\n")
        (folder / "terms.toml").write_text(terms)
        few = {"num-clients": 3, "client-test-fraction": 0.0, "standardize": "none", "classes": "x,y"}
        self.run = {"dataset": "devices"} | few | run
        paths = {"data-path": str(folder / "data.csv"), "terms-path": str(folder / "terms.toml")}
        node = {"partition-id": 0, "device-name": "d", "label-column": "label"} | paths
        self.context = Context(1, 100, node, RecordDict(), self.run)

    def introduced(self):
        message = Message(RecordDict({"config": ConfigRecord({"version": ""})}), 100, "query.introduce")
        return dict(client_app.app(message, self.context).content["config"])

    def asked(self, kind, **config):
        model = model_of(FederationConfig.from_mapping(self.run), 2, 2)
        guidance = {"feature-mean": [0.0, 0.0], "feature-scale": [1.0, 1.0], "server-round": 1}
        content = RecordDict({"config": ConfigRecord(guidance | config)})
        content["arrays"] = to_record(model, np.zeros(model.size, np.float32))
        return client_app.app(Message(content, 100, kind), self.context).content

    def answers(self):
        path = self.folder / "answers.json"
        return json.loads(path.read_text())["answers"] if path.exists() else {}


# ---------------------------------------------------------------------------------------------- few rows
def test_a_feature_that_few_rows_have_keeps_its_mean_here(tmp_path):
    lines = rows(20, 20)
    for line in lines[1:]:
        line[1] = ""
    device = Device(tmp_path, lines, "min-rows = 20", missing="mean")
    with pytest.raises(TermsError, match=FEW):
        device.asked("query", moments=True, **{"class-counts": False})
    assert device.answers() == {}
    for line in lines[:20]:
        line[1] = "1"
    device = Device(tmp_path, lines, "min-rows = 20", missing="mean")
    count = device.asked("query", moments=True, **{"class-counts": False})["metrics"]["feature-count"]
    assert list(count) == [40, 20]


def question(attributed=40, edges=9):
    asked = {"held_out": False, "repeats": 1, "attributed": attributed, "background": 20}
    return asked | {"edges": np.linspace(0, 40, edges).tolist() * 2}


def test_an_explanation_attributes_no_few_rows(tmp_path):
    device = Device(tmp_path, rows(20, 20), "min-rows = 20", explain="yes")
    assert list(device.asked("query.explain", **question())["metrics"]["attributed"]) == [20, 20]
    with pytest.raises(TermsError, match=FEW):
        device.asked("query.explain", **question(attributed=1))


def test_an_explanation_counts_in_no_more_bins_than_an_honest_one(tmp_path):
    device = Device(tmp_path, rows(20, 20), "", explain="yes")
    assert device.asked("query.explain", **question(edges=9))["metrics"]
    with pytest.raises(TermsError, match=r"query.explain/histogram: a device under terms counts in 10 bins at most"):
        device.asked("query.explain", **question(edges=10))


def test_few_rows_are_not_trained_on_either(tmp_path):
    """Undersampling leaves a row of each class, which the weights would be of."""
    device = Device(tmp_path, rows(39, 1), "min-rows = 20", imbalance="random-undersampling")
    with pytest.raises(TermsError, match=FEW):
        device.asked("train")
    device = Device(tmp_path, rows(30, 10), "min-rows = 20", imbalance="random-undersampling")
    assert device.asked("train")["arrays"]
    assert device.answers() == {"train": 1}


@pytest.mark.parametrize(("message", "fewest"), [("train", 30), ("query", 30), ("evaluate", 5)])
def test_the_rows_are_those_that_a_message_is_answered_from(tmp_path, message, fewest):
    indices = np.arange(35)
    train, held_out = (Partition(np.array([0, len(part)]), part) for part in (indices[:30], indices[30:]))
    shards = Shards(np.zeros((35, 1), np.float32), np.zeros(35, np.int64), train, held_out, np.array([0]), 2)
    Terms(tmp_path, None, {}, {}, fewest).bear_rows(shards, message)
    with pytest.raises(TermsError, match=f"min-rows={fewest + 1}"):
        Terms(tmp_path, None, {}, {}, fewest + 1).bear_rows(shards, message)


# ---------------------------------------------------------------------------------------------- guesses
def test_a_guess_at_labels_or_categories_is_an_answer_and_tells_no_row(tmp_path):
    lines = rows(20, 20)
    for place, line in enumerate(lines):
        line[1] = ("Ann", "Eve")[place % 2]
    terms = "[answers]\nquery = 3\ntrain = 1"
    for run in ({"categories": "b=Ann|Bob"}, {"categories": "b=Ann|Eve", "classes": "x,z"}):
        said = Device(tmp_path, lines, terms, **run).introduced()
        assert (said["problem"], said["declines"]) == (UNUSABLE, "")
        assert not {"features", "classes", "label"} & set(said)
    device = Device(tmp_path, lines, terms, categories="b=Ann|Eve")
    for kind in ("query", "train"):
        with pytest.raises(TermsError, match=UNUSABLE):
            device.asked(kind, classes="x,z", moments=False, **{"class-counts": False})
    assert device.answers() == {"query": 3, "train": 1}
    with pytest.raises(TermsError, match="its terms allow 1 answers to train"):
        device.asked("train", classes="x,z")
    assert device.introduced()["declines"] == "its terms allow 3 answers to query in its life, and it has given them"
    assert device.answers() == {"query": 3, "train": 1}


def test_a_guess_at_the_label_column_is_told_nothing_but_that_it_is_none(tmp_path):
    device = Device(tmp_path, rows(20, 20), "", **{"label-column": "nope"})
    assert device.introduced()["declines"] == "label-column: the run's is not this device's own"
    with pytest.raises(TermsError, match=r"^label-column: the run's is not this device's own$"):
        device.asked("train")
    device = Device(tmp_path, rows(20, 20), "[settings]\nprivacy = 'secagg'", **{"label-column": "nope"})
    assert device.introduced()["declines"] == "its terms have privacy=secagg, the run has none"


# ---------------------------------------------------------------------------------------------- secure aggregation
@pytest.mark.parametrize("kind", ["query.secagg_keys", "query.secagg_shares", "query.secagg_unmask"])
def test_keys_and_shares_carry_nothing_else(tmp_path, kind):
    device = Device(tmp_path, rows(20, 20), "", privacy="secagg")
    asked = Message(RecordDict({"config": ConfigRecord({})}), 100, kind)
    for more, where in (({"rows": 3}, "metrics"), ({"rows": "5.1"}, "secagg"), (None, "arrays")):
        records = {"metrics": MetricRecord, "secagg": ConfigRecord}
        record = ArrayRecord({"x": Array(np.ones(2))}) if more is None else records[where](more)
        reply = Message(RecordDict({where: record}), reply_to=asked)
        with pytest.raises(TermsError, match=f"{kind}/{'arrays' if more is None else 'rows'}: a device under terms"):
            under_terms(client_app.clients_of_node)(asked, device.context, lambda *_, reply=reply: reply)
