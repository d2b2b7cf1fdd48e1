"""What a grid of comparisons asks for: which settings take which values, a block for each combination, all checked."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from edgefed.api.plan import Plan, plan
from edgefed.config import FederationConfig, SettingsError, read_settings, unknown
from edgefed.errors import shown
from edgefed.runs import read_json
from edgefed.schema import Scalar, checked, key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Grid = dict[str, tuple[Scalar, ...]]
"""Kebab-case key of a setting -> the values that it takes."""

#: What a comparison sets itself, and where a person says it instead.
OWNED = {"imbalance": "--strategies", "seed": "--seeds", "run-folder": "--out"}
LONGEST_VALUE = 40
"""Characters of a value in a folder's name."""


@dataclass(frozen=True)
class Block:
    """One combination of the grid's values: its name (a folder's), what it sets, and the comparison it asks for."""

    name: str
    settings: dict[str, Scalar]
    work: Plan

    def folder(self, home: Path | None) -> Path | None:
        """Return where the block's comparison is kept in a grid's folder."""
        return None if home is None else home / "blocks" / self.name


def parse_grid(texts: Sequence[str]) -> dict[str, list[Scalar]]:
    """Read ``key=value,value`` texts; where a value holds commas itself, semicolons stand between values.

    Raises
    ------
    SettingsError
        For text of another form, an unknown key, a key that comes twice, or a value that is not of its setting's type.
    """
    grid: dict[str, list[Scalar]] = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not equals:
            raise SettingsError(f"--grid {text}: expected KEY=VALUE,VALUE, as alpha=0.1,0.3,1")
        if key in grid:
            raise SettingsError(f"--grid {key} comes twice: give all its values at once, as alpha=0.1,0.3,1")
        items = [value.strip() for value in values.split(";" if ";" in values else ",")]
        if not all(items) and key != "hidden":  # no hidden layer is a choice
            raise SettingsError(f"--grid {text}: an empty value; expected KEY=VALUE,VALUE, as alpha=0.1,0.3,1")
        try:
            grid[key] = [read_settings(None, [f"{key}={value}"])[key] for value in items]
        except SettingsError as error:
            raise SettingsError(f"--grid: {error}") from None
    return grid


def checked_grid(grid: Mapping[str, Sequence[Scalar]], *, tuned: bool) -> Grid:
    """Return a grid whose keys and values are settings that may differ between comparisons.

    Raises
    ------
    SettingsError
        For no key, an unknown one or one that a comparison sets itself, and for values that are out of range, alone,
        or there twice.
    """
    if not grid:
        raise SettingsError("--grid: expected KEY=VALUE,VALUE, as alpha=0.1,0.3,1")
    specs = {key_of(spec.name): spec for spec in fields(FederationConfig)}
    owned = OWNED | ({"learning-rate": "--tune, or --no-tune,"} if tuned else {})
    found: Grid = {}
    for key, values in grid.items():
        if key not in specs:
            raise SettingsError(f"--grid: {unknown('setting', key, specs)}")
        if key in owned:
            raise SettingsError(f"--grid {key} says nothing in a comparison: {owned[key]} does")
        if isinstance(values, str):
            raise SettingsError(f"--grid {key}: expected a list of values, found the text '{values}'")
        try:
            found[key] = tuple(checked(specs[key], value) for value in values)
        except SettingsError as error:
            raise SettingsError(f"--grid: {error}") from None
        twice = [value for place, value in enumerate(found[key]) if value in found[key][:place]]
        if twice:
            raise SettingsError(f"--grid {key}: {in_text(twice[0])} comes twice")
        if len(found[key]) < 2:
            only = in_text(found[key][0]) if found[key] else ""
            raise SettingsError(f"--grid {key}={only}: expected at least two values; -s {key}={only} sets one for all")
    return found


def planned(
    base: FederationConfig,
    grid: Grid,
    strategies: Sequence[str] | str,
    seeds: int,
    tune: Sequence[float] | None,
) -> list[Block]:
    """Return a block for each combination, the last key's values going round first.

    Raises
    ------
    SettingsError
        For a combination that cannot be, naming it, and for what :func:`edgefed.compare` refuses.
    """
    blocks = []
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        try:
            config = base.replace(**{key.replace("-", "_"): value for key, value in settings.items()})
            work = plan(config, strategies, seeds, tune)
        except SettingsError as error:
            raise of_block(settings, error) from None
        blocks.append(Block(_name(settings), settings, work))
    return blocks


def of_block(settings: Mapping[str, Scalar], error: SettingsError) -> SettingsError:
    """Return a mistake with the block that it is in, unless it is one of an option that all blocks share."""
    line = str(error)
    if line.startswith(("--", "seeds=", "tune=")):
        return error
    return SettingsError(f"--grid: block {in_words(settings)}: {line}")


def in_words(settings: Mapping[str, Scalar]) -> str:
    """Return a block's settings as a person writes them."""
    return ", ".join(f"{key}={in_text(value)}" for key, value in settings.items())


def in_text(value: Scalar) -> str:
    """Return a value as short as a person writes it: 1, not 1.0."""
    return value if isinstance(value, str) else repr(value).removesuffix(".0")


def _name(settings: Mapping[str, Scalar]) -> str:
    """Return a folder's name for a block, which stays the same when the grid gets further values.

    Where a value is no name for a folder as it is (a path, capitals, much text), a hash of it tells it from others.
    """
    return "_".join(f"{key}-{_folder_text(value)}" for key, value in settings.items())


def _folder_text(value: Scalar) -> str:
    text = value if isinstance(value, str) else in_text(value).replace("+", "")  # 1e+20
    safe = re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.")[:LONGEST_VALUE]
    if safe == text:
        return text or "none"
    return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


# ---------------------------------------------------------------------------------------------- going on
def kept_grid(folder: Path) -> Grid:
    """Return what a folder's grid is over, as far as it was asked for; nothing where it is no grid's folder."""
    if not (folder / "plan.json").is_file():
        return {}
    kept = read_json(folder / "plan.json").get("grid", {})
    if not isinstance(kept, dict) or not all(isinstance(values, list) and values for values in kept.values()):
        raise SettingsError(f"{folder / 'plan.json'}: not a grid's plan (grid: {shown(kept)})")
    return {key: tuple(values) for key, values in kept.items()}


def asked_for(work: Plan, grid: Grid) -> dict[str, Any]:
    """Return what a grid's ``plan.json`` holds: enough to go on with it, and to refuse another."""
    return {
        "grid": {key: list(values) for key, values in grid.items()},
        "settings": {key: value for key, value in work.base.to_mapping().items() if key not in grid},
        "strategies": list(work.arms),
        "seeds": list(work.seeds),
        "rates": list(work.rates) if work.tuned else [],
        "tuned": work.tuned,
    }


def in_kept_order(home: Path, wanted: Grid) -> Grid:
    """Return the grid with its keys as the folder has them; its values as asked, if there are further ones.

    Raises
    ------
    SettingsError
        When the folder is no grid's, or its grid has other keys, or values that are not asked for.
    """
    kept = kept_grid(home)
    if not kept:
        raise SettingsError(f"--resume: {home} is not a grid's folder; without --grid its comparison goes on")
    for key in (*kept, *wanted):
        if key not in wanted or key not in kept:
            whose = "lacks" if key not in wanted else "adds"
            raise SettingsError(f"--resume: --grid {whose} {key}; the grid of {home} is over {', '.join(kept)}")
    for key, values in kept.items():
        missing = [in_text(value) for value in values if value not in wanted[key]]
        if missing:
            raise SettingsError(f"--resume: --grid {key} lacks {', '.join(missing)}, which {home} has")
    further = any(len(wanted[key]) > len(values) for key, values in kept.items())
    return {key: wanted[key] if further else values for key, values in kept.items()}
