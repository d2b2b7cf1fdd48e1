"""The file of a device's terms: TOML that a person writes, and is told of every mistake in it in one line."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from edgefed.config import FederationConfig
from edgefed.errors import SettingsError, read_utf8, shown, unknown
from edgefed.federation.disclosure import BEST, EXACT, FIELDS
from edgefed.federation.terms import OF_ROWS, PROTECTS, TOLD, Terms
from edgefed.schema import Scalar, checked, default_of, key_of

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = ("min-rows", "leaves", "settings", "answers")


def read_terms(path: Path) -> Terms:
    """Read a device's terms.

    Raises
    ------
    SettingsError
        One line: the file, what was found in it and what would do. Another machine is told nothing of it.
    """
    text = read_utf8(path, "a device's terms as TOML")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a whole number of thousands of digits too
        raise SettingsError(f"{path}: not valid TOML ({error})") from None
    found = _Document(path, document)
    return Terms(path, found.leaves(), found.settings(), found.answers(), found.min_rows())


@dataclass(frozen=True)
class _Document:
    """Opens a document of terms, and refuses what is none."""

    path: Path
    document: dict[str, Any]

    def __post_init__(self) -> None:
        settings = {key_of(spec.name) for spec in dataclasses.fields(FederationConfig)}
        for key in self.document:
            if key in settings and key not in KNOWN:
                raise SettingsError(f"{self.path}: {key} is a setting: it belongs under [settings]")
            if key not in KNOWN:
                raise SettingsError(f"{self.path}: {unknown('term', key, KNOWN)}")

    def _table(self, name: str) -> dict[str, Any]:
        found = self.document.get(name, {})
        if not isinstance(found, dict):
            raise SettingsError(f"{self.path}: {name}={shown(found)}: expected a table, [{name}]")
        return found

    def min_rows(self) -> int:
        return self._whole("min-rows", self.document.get("min-rows", 0))

    def _whole(self, key: str, value: Any) -> int:
        if type(value) is not int or value < 0:
            quoted = "; names with a dot stand in quotes" if isinstance(value, dict) else ""
            raise SettingsError(f"{self.path}: {key}={shown(value)}: expected a whole number, at least 0{quoted}")
        return value

    def answers(self) -> dict[str, int]:
        found = self._table("answers")
        for message in found:
            if message not in OF_ROWS:
                raise SettingsError(f"{self.path} [answers]: {unknown('message', message, OF_ROWS)}")
        return {message: self._whole(f"[answers] {message}", most) for message, most in found.items()}

    def leaves(self) -> dict[str, str] | None:
        if "leaves" not in self.document:
            return None
        statuses = {status.replace(" ", "-"): status for status in PROTECTS}
        known = {f"{message}/{field}" for message in OF_ROWS for field in FIELDS[message]}
        found: dict[str, str] = {}
        for key, names in self._table("leaves").items():
            if key not in statuses:
                raise SettingsError(f"{self.path} [leaves]: {unknown('status', key, statuses)}")
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise SettingsError(f'{self.path} [leaves] {key}: expected a list of fields, as ["query/num-examples"]')
            for name in names:
                whole = [field for field in known if field.startswith(f"{name}/")]
                if name not in known and not whole:
                    raise SettingsError(f"{self.path} [leaves] {key}: {unknown('field', name, {*known, *OF_ROWS})}")
                if max(_best(field) for field in whole or [name]) < PROTECTS[statuses[key]]:
                    raise SettingsError(f"{self.path} [leaves] {key}: {name} never is, under any settings")
                for field in whole or [name]:
                    if field in found:
                        raise SettingsError(f"{self.path} [leaves]: {field} stands there twice, expected once")
                    found[field] = statuses[key]
        return dict(sorted(found.items()))

    def settings(self) -> dict[str, tuple[Scalar, ...]]:
        specs = {key_of(spec.name): spec for spec in dataclasses.fields(FederationConfig)}
        found: dict[str, tuple[Scalar, ...]] = {}
        for key, given in self._table("settings").items():
            if key in KNOWN:
                raise SettingsError(f"{self.path} [settings]: {key} is a term: it belongs above the tables")
            if key not in specs:
                raise SettingsError(f"{self.path} [settings]: {unknown('setting', key, specs)}")
            values = given if isinstance(given, list) else [given]
            try:
                allowed = tuple(checked(specs[key], value) for value in values)
            except SettingsError as error:
                raise SettingsError(f"{self.path} [settings] {error}") from None
            self._refuse_empty(key, values, allowed)
            if isinstance(default_of(specs[key]), str):
                if not allowed:
                    raise SettingsError(f"{self.path} [settings] {key}: expected at least one name")
                self._refuse_impossible(key, cast("tuple[str, ...]", allowed))
                found[key] = allowed
                continue
            low_high = cast("tuple[float, ...]", allowed * 2 if len(allowed) == 1 else allowed)
            if len(low_high) != 2 or low_high[0] > low_high[1]:
                raise SettingsError(f"{self.path} [settings] {key}={shown(given)}: expected a number or [low, high]")
            if low_high[1] < 0 or (key == "privacy-delta" and low_high[1] == 0):
                raise SettingsError(f"{self.path} [settings] {key}={shown(given)}: no run has it; say what it comes to")
            found[key] = low_high
        return found

    def _refuse_empty(self, key: str, values: list[Any], allowed: tuple[Scalar, ...]) -> None:
        """Refuse empty text where it would be read as the default, or where each message says another."""
        for value, read in zip(values, allowed, strict=True):
            if value == "" and (read != "" or key in TOLD):
                raise SettingsError(f"{self.path} [settings] {key}: empty text, expected a value")

    def _refuse_impossible(self, key: str, allowed: tuple[str, ...]) -> None:
        """Refuse text that no run on devices can have."""
        if key == "dataset" and "devices" not in allowed:
            raise SettingsError(f"{self.path} [settings] dataset={shown(allowed[0])}: on a device it is devices")
        for text in allowed:
            if key == "classes" and "," not in text:
                raise SettingsError(f'{self.path} [settings] classes={shown(text)}: expected all in one text, as "a,b"')
            if key in ("hidden", "categories"):
                try:
                    FederationConfig.from_mapping({"dataset": "devices", key: text})
                except SettingsError as error:
                    raise SettingsError(f"{self.path} [settings] {error}") from None


def _best(field: str) -> int:
    message, _, name = field.rpartition("/")
    return PROTECTS[BEST.get((message, name), EXACT)]
