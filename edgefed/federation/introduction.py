"""How a node and the server get to know each other, before anything else is asked.

A node says which version it runs and, if it holds rows of its own, what their columns and classes are called. The
server finds one order of columns and classes that fits all, and tells it with every message.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict

from edgefed.config import FederationConfig
from edgefed.data.device_file import device_shards, read_device_file
from edgefed.errors import SettingsError, one_line, shown
from edgefed.federation.messages import CONFIG, METRICS, PARTITION_ID
from edgefed.federation.terms import TERMS, TOLD, TermsError
from edgefed.federation.terms_file import read_terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgefed.data.csv_file import Table
    from edgefed.federation.terms import Terms

log = logging.getLogger("edgefed")

INTRODUCE = "introduce"
"""The action of the query that asks for an introduction."""
DATA_PATH, DEVICE_NAME = "data-path", "device-name"
"""Keys of a node config: the device's own file, and what a person calls the device."""
LABEL = "label-column"
"""Key of a node config: the device's label column; empty text: the file's last."""
FEW_LABELS = 5
"""So many labels may each be on one row."""
UNUSABLE = "its file cannot be used; its own log says why"
"""All that a device under terms tells of a file that cannot be read as a run's settings have it."""


@dataclass(frozen=True)
class Introduction:
    """What a node says of itself.

    Attributes
    ----------
    node : int
        Flower's node id.
    partition_id : int
    name : str
        What a person calls it.
    version : str
        Of edgefed.
    own_file : bool
        Whether it holds rows of its own.
    features, classes : tuple of str
        Columns and labels of its file; empty for a node of a simulation.
    label : str
        Its file's label column.
    problem : str
        Why its file cannot be used, in one line.
    declines : str
        What of the run its owner's terms do not agree to, in one line; it then says nothing of its file.
    """

    node: int
    partition_id: int
    name: str = ""
    version: str = ""
    own_file: bool = False
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    label: str = ""
    problem: str = ""
    declines: str = ""

    @property
    def who(self) -> str:
        """What to call it in a message."""
        return f"device {self.name or self.partition_id}" if self.own_file else f"client {self.partition_id}"


def this_version() -> str:
    """Return the version of edgefed that is installed here."""
    return version("edgefed")


def introduction_request() -> tuple[RecordDict, str]:
    """Return the content and the type of the message that asks a node who it is."""
    # Flower wants a content; the version is there for the node's log.
    return RecordDict({CONFIG: ConfigRecord({"version": this_version()})}), f"{MessageType.QUERY}.{INTRODUCE}"


def introduction(context: Context) -> RecordDict:
    """Return a node's answer to an introduction request."""
    node_config = context.node_config
    said: dict[str, Any] = {
        "version": this_version(),
        "name": str(node_config.get(DEVICE_NAME, "")),
        "own-file": DATA_PATH in node_config,
        "problem": "",
        "declines": "",
    }
    if said["own-file"]:
        said |= _own_file(node_config, context.run_config)
    identity = MetricRecord({PARTITION_ID: int(node_config.get(PARTITION_ID, -1))})
    return RecordDict({METRICS: identity, CONFIG: ConfigRecord(said)})


def _own_file(node_config: Mapping[str, Any], run_config: Mapping[str, Any]) -> dict[str, Any]:
    if PARTITION_ID not in node_config:
        return {"problem": "its node config has data-path but no partition-id=0, 1, ..."}
    terms = None
    try:
        terms = terms_of(node_config)
        config = settings_of_device(node_config, run_config, terms)
        if terms is not None:
            terms.agree(config)
        table = read_device_file(str(node_config[DATA_PATH]), config)
        if not config.classes:
            _check_not_of_rows(table)
        if terms is not None:
            terms.agree_to_rows(device_shards(table, config, int(node_config[PARTITION_ID])), config)
    except TermsError as error:
        log.warning("this device takes no part: %s", error)
        return {"declines": error.told}
    except SettingsError as error:
        # What is in a row, and where the file lies, stays here.
        log.warning("this device's file cannot be used: %s", error)
        if terms is not None:  # each refusal says something of rows to who chooses classes and categories
            terms.count("query")
            return {"problem": UNUSABLE}
        return {"problem": error.told or UNUSABLE}
    return {
        "features": list(table.columns),  # not the indicators: what a category's cells hold stays here
        "classes": list(table.class_names),
        "label": table.label_name,
    }


def terms_of(node_config: Mapping[str, Any]) -> Terms | None:
    """Return a device's terms; None where it has none.

    Raises
    ------
    TermsError
        Where they cannot be read: then it agrees to nothing.
    """
    if TERMS not in node_config:
        return None
    try:
        return read_terms(Path(str(node_config[TERMS])))
    except SettingsError as error:
        log.error("this device's terms cannot be read: %s", error)
        raise TermsError("its terms cannot be read; its own log says why") from None


def informed(context: Context, message: Message) -> Context:
    """Return the context with what the server found out from all devices: order of classes, of feature columns."""
    told: Mapping[str, Any] = message.content.config_records.get(CONFIG, {})
    settings = {key: cast("str", told[key]) for key in TOLD if key in told}
    if not settings:
        return context
    return Context(
        run_id=context.run_id,
        node_id=context.node_id,
        node_config=context.node_config,
        state=context.state,
        run_config={**context.run_config, **settings},
    )


def settings_of_device(
    node_config: Mapping[str, Any], run_config: Mapping[str, Any], terms: Terms | None = None
) -> FederationConfig:
    """Return a run's settings on a device: the label column is its own, where its node config names one.

    Every different label is told to the server, so which column holds them is not the server's to say.

    Raises
    ------
    SettingsError
        One line, where the run wants another column; a device that has terms agrees to the settings first, and then
        does not say which is its own.
    """
    config = FederationConfig.from_mapping({**run_config, "dataset": "devices"})
    own = str(node_config.get(LABEL, config.label_column))
    if terms is not None:
        terms.agree_to_settings(config.replace(label_column=own))
    if config.label_column not in ("", own):
        if terms is not None:
            raise TermsError("label-column: the run's is not this device's own")
        line = (
            f"label-column={shown(config.label_column)}: this device's own is '{shown(own)}', and "
            "edgefed launch-device --label says which it is"
        )
        raise SettingsError(line, line)
    return config.replace(label_column=own)


def _check_not_of_rows(table: Table) -> None:
    """Refuse a label column that tells rows apart instead of classes."""
    counts = np.bincount(table.labels, minlength=len(table.class_names))
    if len(counts) > FEW_LABELS and 2 * int((counts == 1).sum()) > len(counts):
        line = (
            f"column '{shown(table.label_name)}': most of its {len(counts)} labels are on one row only, so it names "
            "rows and no classes; classes lists the labels where that is meant"
        )
        raise SettingsError(line, line)


def read_introduction(reply: Message) -> Introduction:
    """Return what a node's reply says; line breaks in what is shown to a person are escapes.

    Raises
    ------
    KeyError, ValueError
        When something is missing, or is not what it should be.
    """
    said = cast("dict[str, Any]", dict(reply.content.config_records[CONFIG]))
    partition_id = reply.content.metric_records[METRICS][PARTITION_ID]
    if type(partition_id) is not int:
        raise ValueError(f"partition-id={shown(partition_id)}, expected a whole number")
    if type(said["own-file"]) is not bool:
        raise ValueError("own-file is neither true nor false")
    said = {"label": "", "features": [], "classes": [], "declines": ""} | said
    for key in ("name", "version", "problem", "declines", "label"):
        if not isinstance(said[key], str):
            raise ValueError(f"{key} is no text")
    for key in ("features", "classes"):
        if not isinstance(said[key], list) or not all(isinstance(name, str) for name in said[key]):
            raise ValueError(f"{key} is no list of names")
    return Introduction(
        node=reply.metadata.src_node_id,
        partition_id=partition_id,
        name=shown(one_line(said["name"])),
        version=one_line(said["version"]),
        own_file=said["own-file"],
        features=tuple(said["features"]),
        classes=tuple(said["classes"]),
        label=said["label"],
        problem=one_line(said["problem"]),
        declines=one_line(said["declines"]),
    )
