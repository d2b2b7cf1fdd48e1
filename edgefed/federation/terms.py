"""A device's own terms: what may leave it, whatever a run asks for.

The person who owns a device writes them (``terms.toml`` in the device's folder), in the words of the ledger and of the
settings. A device under terms sends what these let leave *and* what the settings that it agreed to call for; one mod
around the whole ClientApp sees to it, behind everything that makes a reply (:mod:`edgefed.federation.terms_mod`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from flwr.app import ArrayRecord

from edgefed.data.device_file import settled
from edgefed.errors import SettingsError, shown
from edgefed.federation.disclosure import (
    CENTRAL,
    EXACT,
    FIELDS,
    MASKED,
    NOISED,
    OTHER,
    RECORDS,
    called_for,
    status_of,
)
from edgefed.names import BINS
from edgefed.runs import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from edgefed.config import FederationConfig
    from edgefed.data.shards import Shards
    from edgefed.schema import Scalar

log = logging.getLogger("edgefed")

TERMS = "terms-path"
"""Key of a node config: the file of the device's terms."""
FILE, ANSWERS = "terms.toml", "answers.json"
"""In a device's folder: its terms, and beside them how many answers of each kind it has given in its life."""
PROTECTS = {EXACT: 0, CENTRAL: 1, NOISED: 2, MASKED: 3}
"""How well a status of the ledger protects: what may leave as it is may leave better protected. The server sees whole
what it noises itself."""
OF_ROWS = tuple(message for message in FIELDS if not message.startswith("query.secagg_"))
"""Messages whose replies say something of rows."""
_ROWS_OF = {"query": ("feature-count",), "query.class_moments": ("count",), "query.explain": ("rows", "attributed")}
"""Messages whose replies are sums over some of the rows, and the fields that say over how many each is."""
TOLD = ("classes", "feature-columns", "label-column")
"""Settings that the server tells devices with every message."""
OF_FILE = (*TOLD, "categories", "client-column", "drop-columns")
"""Settings that hold names out of a device's file: which ones a term has is not told."""
_EFFECTIVE: dict[str, Callable[[FederationConfig], Scalar]] = {
    "split-seed": lambda config: config.split_stream,
    "partition-seed": lambda config: config.partition_stream,
    "init-seed": lambda config: config.init_stream,
    "proximal-mu": lambda config: config.pull,
    "privacy-delta": lambda config: config.delta,
}
"""Settings that follow another where they are unset: what they come to."""


class TermsError(SettingsError):
    """A device does not do what a run asks: its line goes to the run's server."""

    def __init__(self, line: str) -> None:
        super().__init__(line, line)


@dataclass(frozen=True)
class Terms:
    """What a device's owner agrees to. Neutral: all that edgefed can be asked for.

    Attributes
    ----------
    path : Path
        Where they are written.
    leaves : mapping of str to str, or None
        Field of the ledger, ``MESSAGE/FIELD`` -> the weakest status that it may leave with; a field that is not there
        never leaves. None: every field may.
    settings : mapping of str to tuple
        Key -> the names that it may have, or a number's smallest and largest.
    answers : mapping of str to int
        Type of message -> how many answers the device gives in its life.
    min_rows : int
        A sum over fewer rows never leaves.
    """

    path: Path
    leaves: Mapping[str, str] | None
    settings: Mapping[str, tuple[Scalar, ...]]
    answers: Mapping[str, int]
    min_rows: int

    # ---- what a run may ask
    def agree(self, config: FederationConfig) -> None:
        """Agree to a run's settings, and to all that they call for.

        Raises
        ------
        TermsError
            One line: the term, and the setting or the field that it does not agree to.
        """
        self.agree_to_settings(config)
        for message, fields in called_for(settled(config)).items():
            self.let_leave(message, fields, config)
            self.spare_answer(message)

    def agree_to_settings(self, config: FederationConfig) -> None:
        """Agree to a run's settings, whatever they call for.

        Raises
        ------
        TermsError
        """
        said = settled(config).to_mapping()
        for key, allowed in self.settings.items():
            value = _EFFECTIVE[key](config) if key in _EFFECTIVE else said[key]
            if isinstance(value, str):
                agreed = value in allowed
            else:
                low, high = cast("tuple[float, float]", allowed)
                agreed = low <= value <= high
            if not agreed and key in OF_FILE:
                raise TermsError(f"{key}: the run's is none that its terms have")
            if not agreed:
                raise TermsError(f"its terms have {key}={_in_words(allowed)}, the run has {shown(value) or 'none'}")

    def let_leave(self, message: str, fields: Iterable[str], config: FederationConfig) -> None:
        """Let fields of a reply leave, under what protects them by a run's settings.

        Raises
        ------
        TermsError
            For one that the terms keep here.
        """
        if self.leaves is None:
            return
        for field in sorted(fields):
            status = status_of(config, message, field)
            weakest = self.leaves.get(f"{message}/{field}")
            if weakest is None or PROTECTS[status] < PROTECTS[weakest]:
                but = "" if weakest is None else f" but {weakest}"
                raise TermsError(
                    f"its terms do not let {message}/{field} leave{but} ({FIELDS[message][field]}), the run asks for "
                    f"it {status}"
                )

    def spare_answer(self, message: str) -> None:
        """Agree to one more answer.

        Raises
        ------
        TermsError
            Where all are given that the terms allow, or nobody can tell how many are.
        """
        given, most = self._given(), self.answers.get(message)
        if most is not None and given.get(message, 0) >= most:
            raise TermsError(f"its terms allow {most} answers to {message} in its life, and it has given them")

    def agree_to_rows(self, shards: Shards, config: FederationConfig) -> None:
        """Agree to tell what a run's settings call for of a device's rows.

        Raises
        ------
        TermsError
        """
        for message in called_for(settled(config)):
            self.bear_rows(shards, message)

    def bear_rows(self, shards: Shards, message: str) -> None:
        """Agree to tell sums over a device's rows: those that it tests on, for ``evaluate``; else those it trains on.

        Raises
        ------
        TermsError
            For fewer than ``min-rows``.
        """
        rows = shards.held_out if message == "evaluate" else shards.train
        self.check_rows(int(rows.sizes[0]))

    def check_rows(self, rows: int) -> None:
        """Agree to tell sums over so many rows.

        Raises
        ------
        TermsError
            For fewer than ``min-rows``.
        """
        if rows < self.min_rows:
            raise TermsError(f"its terms have min-rows={self.min_rows}, and what the run asks is of fewer rows")

    # ---- what leaves
    def check_reply(self, message: str, reply: Mapping[str, Any], config: FederationConfig) -> None:
        """Look at all that a reply holds, behind everything that has put something into it.

        Parameters
        ----------
        message : str
            The type of the message that is answered.
        reply : mapping of str to record of arrays or mapping
            Record's name -> record.
        config : FederationConfig
            The run's settings, as the device goes by them.

        Raises
        ------
        TermsError
            For a field that the run's settings do not call for, or that the terms keep here; for sums over few rows;
            for more bins of a histogram than an explanation asks for, which would be its rows.
        """
        fields = fields_of(reply) - {"partition-id"}
        if message not in OF_ROWS:  # keys and shares of secure aggregation
            strangers = fields - FIELDS[message].keys()
        else:
            strangers = fields - called_for(settled(config)).get(message, frozenset())
        if strangers:
            raise TermsError(
                f"{message}/{min(strangers)}: a device under terms sends what the run's settings call for, and this "
                "is none of it"
            )
        if message in OF_ROWS:
            self.let_leave(message, fields, config)
        metrics = reply.get("metrics", {})
        for field in _ROWS_OF.get(message, ()):
            self.check_rows(int(min((count for count in metrics.get(field, ()) if count > 0), default=self.min_rows)))
        if "histogram" in metrics:
            cells = BINS * len(metrics["accuracy-drop"]) * len(metrics["rows"])
            if len(metrics["histogram"]) > cells:
                raise TermsError(f"{message}/histogram: a device under terms counts in {BINS} bins at most")

    # ---- what has left
    def given(self) -> dict[str, int]:
        """Return how many answers of each kind the device has given in its life.

        Raises
        ------
        SettingsError
            One line, where the file was edited.
        """
        path = self.path.parent / ANSWERS
        if not path.exists():
            return {}
        found = read_json(path).get("answers")
        if not isinstance(found, dict) or not all(type(count) is int for count in found.values()):
            raise SettingsError(f"{path}: no numbers of answers; the file was edited")
        return found

    def _given(self) -> dict[str, int]:
        try:
            return self.given()
        except SettingsError as error:
            log.error("this device's answers cannot be counted: %s", error)
            raise TermsError("how many answers it has given cannot be told; its own log says why") from None

    def count(self, message: str) -> None:
        """Write, durably, that an answer is about to leave; one that cannot be counted does not."""
        given = self._given()
        given[message] = given.get(message, 0) + 1
        write_json(self.path.parent / ANSWERS, {"format": 1, "answers": given})

    def lines(self) -> list[str]:
        """Return the terms in words, and what of them is used up."""
        given = self.given()
        said = [f"{key}={_in_words(allowed)}" for key, allowed in self.settings.items()]
        if self.leaves is not None:
            said += [] if self.leaves else ["no field leaves"]
            by_status: dict[str, list[str]] = {}
            for field, status in self.leaves.items():
                by_status.setdefault(status, []).append(field)
            said += [f"{status}: {', '.join(fields)}" for status, fields in by_status.items()]
        said += [f"min-rows={self.min_rows}"] if self.min_rows else []
        kinds = [message for message in OF_ROWS if message in given or message in self.answers]
        said += [f"{given.get(kind, 0)} of {self.answers.get(kind, 'any')} answers to {kind} given" for kind in kinds]
        return said

    @property
    def used_up(self) -> list[str]:
        """Messages that the device does not answer any more."""
        given = self.given()
        return [message for message, most in self.answers.items() if given.get(message, 0) >= most]


def fields_of(reply: Mapping[str, Any]) -> set[str]:
    """Return the ledger's names of all that a reply holds: a record of arrays is one field, of any other each entry.

    A record that is none of edgefed's is :data:`~edgefed.federation.disclosure.OTHER`, whatever is in it.
    """
    found: set[str] = set()
    for name, record in reply.items():
        if name not in RECORDS:
            found.add(OTHER)
        else:
            found |= {name} if isinstance(record, ArrayRecord) else set(record)
    return found


def _in_words(allowed: tuple[Scalar, ...]) -> str:
    if isinstance(allowed[0], str):
        return " or ".join(shown(name) or "none" for name in allowed)
    low, high = cast("tuple[float, float]", allowed)
    return f"{low:.10g}" if low == high else f"{low:.10g} to {high:.10g}"
