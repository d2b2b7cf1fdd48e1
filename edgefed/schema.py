"""How a setting is declared and checked: type, default, range or names, and a line of help, in one place."""

from __future__ import annotations

import math
import numbers
import os
from dataclasses import Field, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from edgefed.errors import SettingsError, shown, unknown
from edgefed.plugins import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

Scalar = int | float | str

_TYPES = {int: "a whole number", float: "a number", str: "text"}
#: Where a setting has no narrower bound: whole numbers fit every array, numbers stay far from overflow.
_LARGEST = {int: 2**31 - 1, float: 1e9}


def setting(
    default: Scalar,
    help_text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
    choices: Mapping[str, str] | str | None = None,
) -> Any:
    """Declare a setting as a dataclass field.

    Parameters
    ----------
    default : int, float or str
        Its type is the setting's type.
    help_text : str
    low, high : float, optional
        The range of a number; ``open_low`` and ``open_high`` leave out its ends.
    choices : mapping of str to str, or "module:NAME", optional
        The names that text may be, with a line on each; or where the registry of them is.
    """
    if isinstance(default, int | float) and high is None:
        high = _LARGEST[type(default)]
    rules = {
        "help": help_text,
        "low": low,
        "high": high,
        "open_low": open_low,
        "open_high": open_high,
        "choices": choices,
    }
    return field(default=default, metadata=rules)


positive = partial(setting, low=0, open_low=True)
count = partial(setting, low=1)
share = partial(setting, low=0, high=1, open_high=True)


def key_of(attribute: str) -> str:
    """Return the kebab-case key of an attribute name."""
    return attribute.replace("_", "-")


def default_of(spec: Field[Any]) -> Scalar:
    """Return a setting's default."""
    return cast("Scalar", spec.default)


def choices_of(spec: Field[Any]) -> dict[str, str] | None:
    """Return the names that a setting takes with a line on each; None where it takes any value of its type."""
    names = names_of(spec)
    if isinstance(names, Registry):
        return {name: names.line(name) for name in names}
    return None if names is None else dict(names)


def names_of(spec: Field[Any]) -> Mapping[str, Any] | None:
    """Return the names that a setting takes, no plug-in imported; None where it takes any value of its type."""
    choices: Mapping[str, Any] | str | None = spec.metadata["choices"]
    return registry(choices) if isinstance(choices, str) else choices


def registry(where: str) -> Registry[Any]:
    """Return the registry that ``"module:NAME"`` points to."""
    return cast("Registry[Any]", attribute(where))


def attribute(where: str) -> Any:
    """Return what ``"module:NAME"`` points to.

    Late binding on purpose: the settings stand below the registries whose names they check, and reading a
    registry must not be a cost of ``edgefed --help``.
    """
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def range_in_words(spec: Field[Any]) -> str:
    """Return what a setting may be: its names, its range, or its type."""
    rules, names = spec.metadata, names_of(spec)
    if names:
        return " ".join(names)
    if isinstance(spec.default, str):
        return _TYPES[str]
    low = f"{'more than' if rules['open_low'] else 'at least'} {rules['low']:g}"
    return f"{low} and {'less than' if rules['open_high'] else 'at most'} {rules['high']:.10g}"


def parsed(spec: Field[Any], text: str) -> Scalar:
    """Return the value that text stands for, by the setting's type; quotes around it are optional.

    Empty text stays empty: it unsets.

    Raises
    ------
    SettingsError
        For text that is no number where the setting is one.
    """
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    kind = type(default_of(spec))
    if kind is str or not text:
        return text
    try:
        return kind(text)
    except ValueError:
        raise _ill_typed(spec, text) from None


def checked(spec: Field[Any], value: Any) -> Scalar:
    """Return the value as its setting's type; empty text is the default.

    Raises
    ------
    SettingsError
        With the key, the value and what would do.
    """
    default, rules = default_of(spec), spec.metadata
    if isinstance(default, str):
        return _checked_text(spec, value)
    if value == "" and isinstance(value, str):
        return default
    number = _as_number(value)
    if number is None or (isinstance(number, float) and isinstance(default, int)):
        raise _ill_typed(spec, value)
    below = number <= rules["low"] if rules["open_low"] else number < rules["low"]
    above = number >= rules["high"] if rules["open_high"] else number > rules["high"]
    if below or above or not math.isfinite(number):
        raise _ill_typed(spec, value)
    return type(default)(number)


def _as_number(value: object) -> int | float | None:
    """Return a Python number for any real number (NumPy's too), None for anything else; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _checked_text(spec: Field[Any], value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif _as_number(value) is not None:
        value = shown(value)  # hidden=16 in a TOML file
    if not isinstance(value, str):
        raise _ill_typed(spec, value)
    if not value and spec.name != "hidden":  # no hidden layer is a choice, any other empty text is unset
        return str(default_of(spec))
    names = names_of(spec)
    if names is not None and value not in names:
        raise SettingsError(f"{key_of(spec.name)}={shown(value)}: {unknown('name', value, names)}")
    if isinstance(names, Registry) and (clash := names.clash(value)):
        raise SettingsError(f"{key_of(spec.name)}={shown(value)}: {clash}")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise SettingsError(f"{key_of(spec.name)}={shown(value)}: not Unicode text; a file's name has to be UTF-8")
    return str(value)


def _ill_typed(spec: Field[Any], value: object) -> SettingsError:
    kind = type(default_of(spec))
    expected = _TYPES[kind] if kind is str else f"{_TYPES[kind]}, {range_in_words(spec)}"
    if kind is str and isinstance(value, list | tuple):
        expected += f', as "{shown(("-" if spec.name == "hidden" else ",").join(map(str, value)))}"'
    return SettingsError(f"{key_of(spec.name)}={shown(value)}: expected {expected}")


def as_toml(value: Scalar) -> str:
    """Return a value as TOML writes it."""
    if not isinstance(value, str):
        return repr(value)
    escaped = (f"\\{c}" if c in '"\\' else f"\\u{ord(c):04x}" if c < " " or c == "\x7f" else c for c in value)
    return f'"{"".join(escaped)}"'


def listed(text: str) -> tuple[str, ...]:
    """Return the items of comma-separated text."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
