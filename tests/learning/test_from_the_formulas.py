"""docs/from_the_formulas.md: the names it links to exist, and the numbers worked by hand are the code's."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain_training import Optimiser, hyper_of, update_of

from edgefed.config import ACTIVATIONS, LOSSES, OPTIMIZERS, STANDARDIZATIONS, schema
from edgefed.federation.clients import ROWS
from edgefed.federation.flat_record import to_flat
from edgefed.federation.messages import PARTITION_ID, CohortReplies
from edgefed.federation.strategies import StackedFedAvg
from edgefed.learning.cohort import Cohort
from edgefed.learning.losses import cross_entropy
from edgefed.learning.metrics import log_softmax
from edgefed.learning.model import MLP
from edgefed.learning.schedule import Schedule
from edgefed.learning.training import train

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "from_the_formulas.md"
TEXT = PAGE.read_text(encoding="utf-8")
NAMES = re.findall(r"\[`(edgefed[\w.]*)`\]\(([^)]+)\)", TEXT)


# ---- names and links
@pytest.mark.parametrize(("name", "link"), sorted(set(NAMES)))
def test_a_name_is_defined_in_the_file_that_it_links_to(name: str, link: str):
    file = (PAGE.parent / link).resolve()
    module_name = ".".join(file.relative_to(ROOT).with_suffix("").parts)

    assert file.is_file()
    assert name.startswith(f"{module_name}."), "the name is in another module"
    found: Any = importlib.import_module(module_name)
    for part in name.removeprefix(f"{module_name}.").split("."):
        found = getattr(found, part)
    assert getattr(found, "__module__", module_name) == module_name, "imported there, defined elsewhere"


def test_every_name_of_the_package_is_a_link():
    bare = re.sub(r"\[`[^`]+`\]\([^)]+\)", "", TEXT)

    assert NAMES
    assert not re.findall(r"`edgefed\.[\w.]+`", bare)


def test_links_lead_somewhere():
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", TEXT)

    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    for link in links:
        assert link.startswith("#") or (PAGE.parent / link).is_file(), link
    for path in re.findall(r"`((?:tests|edgefed|experiments)/[\w/.]+)`", TEXT):
        assert (ROOT / path).is_file(), path


def test_settings_are_called_as_they_are():
    keys = {key for key, *_ in schema()}
    values = {*ACTIVATIONS, *LOSSES, *OPTIMIZERS, *STANDARDIZATIONS}
    elsewhere = {"fit"}  # Keras's
    named = set(re.findall(r"`([a-z][a-z-]*)(?:=[^`]*)?`", TEXT))

    assert named - keys - values == elsewhere
    for registry in (ACTIVATIONS, LOSSES, OPTIMIZERS):
        assert set(registry) <= named


# ---- the network worked by hand
def matrices() -> dict[str, np.ndarray]:
    """The page's inputs: x, t, W_1, b_1, W_2, b_2, written as pmatrix."""
    written = re.findall(r"(\w+) = \\begin\{pmatrix\}(.+?)\\end\{pmatrix\}", TEXT, re.DOTALL)
    return {
        name: np.array([[float(cell) for cell in row.split("&")] for row in body.split("\\\\")])
        for name, body in written
    }


def tabled() -> dict[str, list[float]]:
    """The tables' values, by quantity."""
    rows = re.findall(r"^\| (\$.+?) \| .+ \| ([-\d., ]+) \|$", TEXT, re.MULTILINE)
    return {quantity: [float(cell) for cell in values.split(",")] for quantity, values in rows}


GIVEN, VALUES = matrices(), tabled()
MODEL = MLP(2, (2,), 2)
RATE = 0.1


def flat_of(weights: dict[str, np.ndarray]) -> torch.Tensor:
    names = {"0.weight": "W_1", "0.bias": "b_1", "2.weight": "W_2", "2.bias": "b_2"}
    arrays = {name: weights[key].reshape(MODEL.shapes[name]) for name, key in names.items()}
    return torch.from_numpy(MODEL.flat(arrays))


START = flat_of(GIVEN)
ROW, TARGET = torch.from_numpy(GIVEN["x"].T.copy()), torch.from_numpy(GIVEN["t"].T.copy())


def one_step(class_weight: float = 1.0) -> tuple[dict[str, np.ndarray], float]:
    """The page's step by the project's own training: weights by state_dict name, and the loss before the step."""
    optimiser = Optimiser("sgd", RATE, batch_size=0)
    hyper = hyper_of(1, optimiser, torch.float64)
    neutral, weights = torch.ones(1, 1, 2).double(), torch.tensor([[[1.0, class_weight]]]).double()
    one = np.ones(1, np.int64)
    cohort = Cohort(
        params=START[None],
        features=ROW,
        targets=TARGET,
        starts=one - 1,
        drawn_rows=one,
        shard_rows=one,
        seeds=one,
        rounds=one,
        ids=one,
        hyper=hyper._replace(class_weights=weights, logit_scale=neutral, logit_shift=neutral - 1),
    )
    trained = train(update_of(MODEL, optimiser), Schedule(0, 1), cohort)
    return MODEL.state_dict(trained.params[0].numpy()), float(trained.loss[0])


def hidden_z(weight: Any, bias: Any) -> list[float]:
    """W x + b of the page's row, by a model that is this one layer."""
    layer = MLP(2, (), 2)
    flat = torch.from_numpy(np.concatenate([np.ravel(weight), np.ravel(bias)]))
    return layer.forward(layer.unpack(flat), ROW)[0].ravel().tolist()


def computed() -> dict[str, Any]:
    """Every quantity of the tables, from edgefed's functions."""
    layers = MODEL.unpack(START)
    logits, inputs = MODEL.forward(layers, ROW)
    loss, error = cross_entropy(logits, TARGET)
    deltas = MODEL.deltas(layers, inputs, error)
    gradient = MODEL.state_dict(MODEL.pack(MODEL.gradient(inputs, deltas)).numpy())
    after, seen = one_step()
    assert seen == pytest.approx(loss.item(), abs=1e-12)
    flat_after = torch.from_numpy(MODEL.flat(after))
    logits_after, _ = MODEL.forward(MODEL.unpack(flat_after), ROW)
    # The client with one row is the one that moved, the client with three came back as it was.
    replies = CohortReplies(
        [None, None],
        MODEL,
        np.stack([flat_after.numpy(), START.numpy()]),
        {PARTITION_ID: np.arange(2), ROWS: np.array([1, 3])},
    )
    record, _ = StackedFedAvg(MODEL).aggregate_train(1, replies)
    return {
        "$z_1$": hidden_z(GIVEN["W_1"], GIVEN["b_1"]),
        "$a_1$": inputs[1],
        "$z_2$": logits,
        "$p$": np.exp(log_softmax(logits.numpy())),
        r"$\ell$": loss,
        r"$\delta_2$": deltas[1],
        r"$\partial \ell / \partial W_2$": gradient["2.weight"],
        r"$\partial \ell / \partial b_2$": gradient["2.bias"],
        r"$W_2^\top \delta_2$": GIVEN["W_2"].T @ deltas[1].numpy().ravel(),
        r"$\delta_1$": deltas[0],
        r"$\partial \ell / \partial W_1$": gradient["0.weight"],
        r"$\partial \ell / \partial b_1$": gradient["0.bias"],
        "$W_1'$": after["0.weight"],
        "$b_1'$": after["0.bias"],
        "$W_2'$": after["2.weight"],
        "$b_2'$": after["2.bias"],
        "$z_1'$": hidden_z(after["0.weight"], after["0.bias"]),
        "$z_2'$": logits_after,
        r"$\ell'$": cross_entropy(logits_after, TARGET)[0],
        "$b_2'$ at $w_2 = 3$": one_step(class_weight=3.0)[0]["2.bias"],
        "$b_2$ averaged": MODEL.state_dict(to_flat(MODEL, record))["2.bias"],
    }


def test_the_numbers_worked_by_hand_are_the_codes():
    expected = computed()

    assert list(VALUES) == list(expected)
    for quantity, value in expected.items():
        np.testing.assert_allclose(VALUES[quantity], np.ravel(value), rtol=0, atol=5e-7, err_msg=quantity)


def test_the_numbers_are_also_those_of_plain_arithmetic():
    """The chain rule with two-by-two matrices, without edgefed."""
    x, t = GIVEN["x"].ravel(), GIVEN["t"].ravel()
    z_1 = GIVEN["W_1"] @ x + GIVEN["b_1"].ravel()
    a_1 = np.maximum(z_1, 0)
    z_2 = GIVEN["W_2"] @ a_1 + GIVEN["b_2"].ravel()
    p = np.exp(z_2) / np.exp(z_2).sum()
    delta_2 = p - t
    delta_1 = GIVEN["W_2"].T @ delta_2 * (z_1 > 0)
    by_hand = {
        "$z_1$": z_1,
        "$p$": p,
        r"$\ell$": -np.log(p[1]),
        r"$\partial \ell / \partial W_2$": np.outer(delta_2, a_1),
        r"$\delta_1$": delta_1,
        r"$\partial \ell / \partial W_1$": np.outer(delta_1, x),
        "$W_1'$": GIVEN["W_1"] - RATE * np.outer(delta_1, x),
        "$b_2'$": GIVEN["b_2"].ravel() - RATE * delta_2,
        "$b_2'$ at $w_2 = 3$": GIVEN["b_2"].ravel() - 3 * RATE * delta_2,
        "$b_2$ averaged": GIVEN["b_2"].ravel() - RATE * delta_2 / 4,
    }

    for quantity, value in by_hand.items():
        np.testing.assert_allclose(VALUES[quantity], np.ravel(value), rtol=0, atol=5e-7, err_msg=quantity)
