"""What a comparison runs: remedies by learning rates by seeds, checked before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from edgefed.config import LARGEST_SEED, FederationConfig, SettingsError, catalogue, checked_config, unknown
from edgefed.data.datasets import DATASETS
from edgefed.errors import shown
from edgefed.imbalance import REMEDIES
from edgefed.runs import other_setting, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DEFAULT_ARMS = (
    "none",
    "post-hoc",
    "balanced-softmax",
    "class-weights-balanced-global",
    "class-weights-balanced-local",
    "class-weights-inverse-sqrt-global",
    "random-oversampling",
)
DEFAULT_RATES = (0.1, 0.3, 1.0, 3.0)
DEFAULT_SEEDS = 30
CONTROL = "none"
BLOCK = 70
"""Federations that are advanced in lockstep: enough clients for large batches, few enough that their weights and rows
stay in cache, that Ctrl-C loses little, and that there is a block for each core."""
#: What remedies are ranked by and rates chosen by: on test and on validation rows, in the last round.
RANKED = "balanced_accuracy"


Cell = tuple[str, float, int]
"""(remedy, learning rate, seed)"""


def cell_name(cell: Cell) -> str:
    """Return a federation's name, and its folder's within the comparison's."""
    arm, rate, seed = cell
    return f"{arm}/rate-{rate:g}/seed-{seed}"


def comparison_defaults(given: dict[str, Any]) -> FederationConfig:
    """Return settings for a comparison: 100 rounds and, on the bundled datasets, a long tail of 10, unless given.

    Balanced data with label skew alone show no difference between remedies. A person's own data (a CSV, a plug-in's
    dataset) are left as they are.
    """
    defaults: dict[str, Any] = {"num-server-rounds": 100}
    if given.get("dataset", "iris") in DATASETS.own.keys() - {"csv"}:
        defaults["long-tail"] = 10.0
    return FederationConfig.from_mapping(defaults | given)


@dataclass(frozen=True)
class Plan:
    """What a comparison runs: every remedy at every rate under every seed.

    ``tuned`` False leaves every remedy at the settings' own rate.
    """

    base: FederationConfig
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    tuned: bool

    def cells(self) -> list[Cell]:
        """Return (remedy, rate, seed) of each federation."""
        return [(arm, rate, seed) for seed in self.seeds for arm in self.arms for rate in self.rates]

    def config(self, arm: str, rate: float, seed: int) -> FederationConfig:
        """Return one federation's settings."""
        return self.base.replace(imbalance=arm, learning_rate=rate, seed=seed)


def kept_plan(folder: Path) -> Plan | None:
    """Return the plan of a comparison's folder, or None where there is none yet; of a grid's, its first block's."""
    if not (folder / "plan.json").is_file():
        return None
    kept = read_json(folder / "plan.json")
    try:
        first = {key: values[0] for key, values in kept.get("grid", {}).items()}
        base = FederationConfig.from_mapping(kept["settings"] | first)
        return Plan(base, tuple(kept["strategies"]), tuple(kept["seeds"]), tuple(kept["rates"]), bool(kept["tuned"]))
    except (KeyError, TypeError) as error:
        raise SettingsError(f"{folder / 'plan.json'}: not a comparison's plan ({error})") from None


def check_same_plan(home: Path, asked: dict[str, Any]) -> None:
    """Refuse to go on with a folder whose comparison was asked for otherwise, naming the key.

    A setting that is younger than the folder stands at its default there.

    Raises
    ------
    SettingsError
    """
    kept = read_json(home / "plan.json")
    settings = FederationConfig.from_mapping(kept.get("settings", {})).to_mapping()
    for key, value in asked["settings"].items():
        if settings[key] != value:
            raise other_setting(key, value, home, settings[key])
    for key in ("strategies", "seeds", "tuned", "rates"):
        if kept.get(key) != asked[key]:
            raise SettingsError(f"--resume: {key} {asked[key]} differ from {home}, which has {kept.get(key)}")


def plan(
    base: FederationConfig,
    strategies: Sequence[str] | str = DEFAULT_ARMS,
    seeds: int = DEFAULT_SEEDS,
    tune: Sequence[float] | None = DEFAULT_RATES,
) -> Plan:
    """Check what is asked for and return it as a plan; the control is always part of it.

    Raises
    ------
    SettingsError
        For an unknown remedy, no seeds, or a rate out of range.
    """
    base = checked_config(base)
    known = catalogue("imbalance")
    if strategies == "all":
        strategies = [name for name in known if name != "class-weights"]  # the short name of another
    if isinstance(strategies, str):
        strategies = [name.strip() for name in strategies.split(",") if name.strip()]
    for name in strategies:
        if name not in known:
            raise SettingsError(f"--strategies: {unknown('strategy', name, known)}")
    # Two names of one remedy, or two rates that print alike, are one arm.
    named: dict[type, str] = {}
    for name in (CONTROL, *strategies):
        named.setdefault(REMEDIES[name], name)
    arms = tuple(named.values())
    _check_seeds(seeds, base.seed)
    rates = _rates(tune) if tune is not None else (base.learning_rate,)
    made = Plan(base, arms, tuple(range(base.seed, base.seed + seeds)), rates, tuned=tune is not None)
    if made.tuned and not base.validation_fraction:
        raise SettingsError("validation-fraction=0 leaves nothing to tune on: --no-tune, or a larger fraction")
    for arm in arms:
        for rate in rates:
            made.config(arm, rate, base.seed)
    return made


def without_say(work: Plan) -> list[str]:
    """Return the settings that name a remedy or a rate which the comparison has not, and what decides instead."""
    said = []
    if REMEDIES[work.base.imbalance] not in [REMEDIES[arm] for arm in work.arms]:
        said.append(f"imbalance={work.base.imbalance} has no say in a comparison: strategies names the remedies")
    rate = work.base.learning_rate
    if rate != FederationConfig().learning_rate and f"{rate:g}" not in [f"{other:g}" for other in work.rates]:
        said.append(f"learning-rate={rate:g} has no say in a comparison: tune names the rates")
    return said


def _check_seeds(seeds: object, first: int) -> None:
    """Refuse what is no number of seeds, one alone, and more than there are from the first one on."""
    if isinstance(seeds, bool) or not isinstance(seeds, Integral):
        raise SettingsError(f"seeds={shown(seeds)}: expected how many, a whole number; seed={first} is the first")
    if seeds < 2:
        raise SettingsError(f"--seeds {seeds}: expected at least 2, since a single seed shows no spread")
    if first + int(seeds) - 1 > LARGEST_SEED:
        raise SettingsError(
            f"--seeds {seeds} from seed={first}: the last would be {first + int(seeds) - 1}; at most {LARGEST_SEED}"
        )


def _rates(tune: Sequence[float]) -> tuple[float, ...]:
    """Return learning rates, those that print alike once."""
    if isinstance(tune, Real | str):
        raise SettingsError(f"tune={shown(tune)}: expected learning rates in a list, as tune=[0.1, 0.3, 1, 3]")
    if not len(tune):
        raise SettingsError("--tune: expected learning rates, as learning-rate=0.1,0.3,1,3")
    try:
        return tuple({f"{float(rate):g}": float(rate) for rate in tune}.values())
    except (TypeError, ValueError):
        raise SettingsError(f"tune={shown(list(tune))}: expected numbers, as tune=[0.1, 0.3, 1, 3]") from None
