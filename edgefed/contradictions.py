"""Settings that contradict each other, or whose text does not say what it should: each refused with one line."""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import TYPE_CHECKING

from edgefed.categories import parsed_categories
from edgefed.errors import SettingsError, shown, unknown
from edgefed.names import WEIGHS_BY_ITSELF
from edgefed.private import check_privacy
from edgefed.schema import attribute, key_of, listed, registry

if TYPE_CHECKING:
    from edgefed.config import FederationConfig

_MAX_WIDTH, _MAX_LAYERS, _MAX_HIDDEN_WEIGHTS = 65536, 32, 10**8


def check_together(config: FederationConfig) -> None:
    """Refuse settings that contradict each other."""
    _check_hidden(config.hidden)
    _check_lists(config)
    synthetic_parameters(config.synthetic)
    if config.test_fraction + config.validation_fraction >= 1:
        raise SettingsError(
            f"test-fraction={config.test_fraction:g} and validation-fraction={config.validation_fraction:g} "
            "leave no training rows: their sum must be less than 1"
        )
    if -1 < config.client_test_fraction < 0:
        raise SettingsError(
            f"client-test-fraction={config.client_test_fraction:g}: expected a number, at least 0 and less than 1 "
            "(or -1: 0.2 on devices and where a CSV's column names clients, else 0)"
        )
    if config.optimizer == "adam" and config.momentum:
        raise SettingsError(f"momentum={config.momentum:g} contradicts optimizer=adam: momentum is a setting of sgd")
    if config.optimizer == "adam" and config.strategy in ("scaffold", "fednova"):
        raise SettingsError(f"strategy={config.strategy} contradicts optimizer=adam: its equations are those of sgd")
    if config.strategy == "scaffold" and config.compression == "top-k":
        raise SettingsError(
            "compression=top-k contradicts strategy=scaffold: the server forms control variates from whole updates"
        )
    if config.dataset == "csv" and not config.data_path:
        raise SettingsError("dataset=csv needs data-path: the CSV file to read")
    _check_columns(config)
    _check_categories(config)
    if config.partition == "natural" and config.dataset == "csv" and not config.client_column:
        raise SettingsError("partition=natural needs client-column: the CSV column that names each row's client")
    if not config.device_profiles:
        parsed_mixture = attribute("edgefed.edge.profiles:parsed_mixture")
        parsed_mixture(config.devices, attribute("edgefed.edge.profiles:PROFILES"))
    remedy = registry("edgefed.imbalance:REMEDIES")[config.imbalance]
    if remedy.reweighs and config.strategy in WEIGHS_BY_ITSELF:
        raise SettingsError(
            f"imbalance={config.imbalance} contradicts strategy={config.strategy}: the remedy is each client's say in "
            "an average, and that strategy gives clients none"
        )
    overshoot = config.learning_rate * config.pull
    if config.strategy in ("scaffold", "fednova") and overshoot >= 2:
        raise SettingsError(
            f"strategy={config.strategy}: learning-rate times proximal-mu is {overshoot:g}, expected less than 2: "
            "beyond that the pull overshoots, and the weight of a client's gradients, which is divided by, reaches 0"
        )
    losses = remedy.losses
    if config.loss not in losses:
        raise SettingsError(
            f"imbalance={config.imbalance} contradicts loss={config.loss}: it is defined for "
            f"{' and '.join(losses)} only"
        )
    cohort = config.cohort_size
    if config.min_replies > cohort and config.partition != "natural":
        raise SettingsError(
            f"min-replies={config.min_replies}: a round asks {cohort} of num-clients={config.num_clients}, "
            f"expected at most {cohort}"
        )
    _check_options(config)
    if config.standardize == "server" and (config.dataset == "devices" or not config.validation_fraction):
        raise SettingsError(
            "standardize=server takes the scale from the server's validation rows, and there are none "
            f"({'dataset=devices' if config.dataset == 'devices' else 'validation-fraction=0'}): set standardize=none"
        )
    if config.standardize == "server" and config.missing == "mean":
        raise SettingsError("standardize=server contradicts missing=mean: empty cells would need the clients' means")
    check_privacy(config)


def _check_columns(config: FederationConfig) -> None:
    """Refuse settings of files where the dataset has none."""
    files = {"data_path", "label_column", "client_column", "feature_columns", "drop_columns", "categories"}
    belong = {"csv": files, "devices": files | {"test_path"}}.get(config.dataset, set())
    for spec in dataclasses.fields(config):
        name, value = spec.name, getattr(config, spec.name)
        if name in files | {"test_path"} and name not in belong and value:
            whose = "devices" if name == "test_path" else "csv"
            raise SettingsError(
                f"{key_of(name)}={shown(value)} contradicts dataset={config.dataset}: "
                f"it is a setting of dataset={whose}"
            )


def _check_categories(config: FederationConfig) -> None:
    """Refuse categorical columns that are no features, and such as a device would have to tell the values of."""
    for column, values in parsed_categories(config.categories).items():
        if column in listed(config.drop_columns):
            raise SettingsError(f"categories names '{shown(column)}', which drop-columns leaves out: expected in one")
        if config.feature_columns and column not in listed(config.feature_columns):
            raise SettingsError(f"categories names '{shown(column)}', which is not in feature-columns: add it there")
        if config.dataset == "devices" and not values:
            line = (
                f"categories={shown(config.categories)}: list the values of '{shown(column)}', as "
                f"{shown(column)}=A|B|C: a device does not tell them"
            )
            raise SettingsError(line, line)


def _check_options(config: FederationConfig) -> None:
    given = f"imbalance-options={shown(config.imbalance_options)}"
    options, remedies = parsed_options(config.imbalance_options), registry("edgefed.imbalance:REMEDIES")
    for (whose, name), value in options.items():
        owner = whose or config.imbalance
        if owner not in remedies:
            raise SettingsError(f"{given}: {unknown('remedy', owner, remedies)}")
        ranges = remedies[owner].option_ranges
        if name not in ranges:
            known = ", ".join(ranges) or "none"
            raise SettingsError(f"{given}: {owner} has no option '{shown(name)}' (known: {known})")
        low, high = ranges[name]
        if not low <= value <= high:
            raise SettingsError(f"{given}: expected {name} from {low:g} to {high:g}")
        if not whose and (owner, name) in options:
            raise SettingsError(f"{given}: '{name}' and '{owner}.{name}' are one option, expected once")


def synthetic_parameters(text: str) -> tuple[float, float]:
    """Return alpha and beta of ``synthetic``; zeros for ``iid``.

    Raises
    ------
    SettingsError
    """
    if text == "iid":
        return 0.0, 0.0
    parts = listed(text)
    try:
        alpha, beta = (float(part) for part in parts)
    except ValueError:
        alpha = beta = -1.0
    if not (0 <= alpha <= 100 and 0 <= beta <= 100):
        raise SettingsError(f"synthetic={shown(text)}: expected alpha,beta from 0 to 100 each, as 1,1; or iid")
    return alpha, beta


def _check_hidden(hidden: str) -> None:
    widths = hidden.split("-") if hidden else []
    if not all(re.fullmatch("[0-9]{1,5}", width) and 1 <= int(width) <= _MAX_WIDTH for width in widths):
        raise SettingsError(
            f"hidden={shown(hidden)}: expected widths from 1 to {_MAX_WIDTH} joined by dashes (16, 32-16), "
            "or empty for no hidden layer"
        )
    weights = sum(int(fan_in) * int(fan_out) for fan_in, fan_out in itertools.pairwise(widths))
    if len(widths) > _MAX_LAYERS or weights > _MAX_HIDDEN_WEIGHTS:
        raise SettingsError(
            f"hidden={shown(hidden)}: {len(widths)} layers with {weights} weights between them, "
            f"expected at most {_MAX_LAYERS} layers and {_MAX_HIDDEN_WEIGHTS} weights"
        )


def _check_lists(config: FederationConfig) -> None:
    for name in ("classes", "feature_columns", "drop_columns"):
        items = listed(getattr(config, name))
        twice = next((item for place, item in enumerate(items) if item in items[:place]), None)
        if twice is not None:
            raise SettingsError(
                f"{key_of(name)}={shown(getattr(config, name))}: '{shown(twice)}' stands there twice, expected once"
            )
    if len(listed(config.classes)) == 1:
        raise SettingsError(f"classes={shown(config.classes)}: one class only, expected at least two")
    for item in listed(config.feature_columns):
        if item in listed(config.drop_columns):
            raise SettingsError(
                f"feature-columns names '{shown(item)}', which drop-columns leaves out: expected in one"
            )


def parsed_options(text: str) -> dict[tuple[str, str], float]:
    """Return numbers by (remedy, option); the remedy is empty where the text names none."""
    options: dict[tuple[str, str], float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        remedy, _, option = name.rpartition(".")
        try:
            if not equals or (remedy, option) in options:
                raise ValueError
            options[remedy, option] = float(value)
        except ValueError:
            raise SettingsError(
                f"imbalance-options={shown(text)}: expected name=number,name=number, each name once; "
                f"found '{shown(part)}'"
            ) from None
    return options
