"""Settings that do nothing as the others stand: said in a note, never refused."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from edgefed.errors import shown
from edgefed.plugins import Registry
from edgefed.schema import key_of, names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgefed.config import FederationConfig


NONE = "has no effect here: "


class Effect(NamedTuple):
    """Where a setting has an effect: whether it has under some settings, and what is said of it where it has none."""

    acts: Callable[[FederationConfig], bool]
    said: str


def _under(setting: str, *values: str) -> Effect:
    """Return the effect of a setting that acts under some values of another one.

    A plug-in's name may use it too: nobody here knows. On real devices the settings of the sharing out are carried
    along from the simulation.
    """

    def acts(config: FederationConfig) -> bool:
        value = getattr(config, setting)
        return value in values or not _own(setting, value, config) or config.dataset == "devices"

    listed = f"{', '.join(values[:-1])} or {values[-1]}" if len(values) > 1 else values[0]
    return Effect(acts, f"{NONE}it is for {key_of(setting)}={listed}")


def _own(setting: str, value: str, config: FederationConfig) -> bool:
    names = names_of(config.__dataclass_fields__[setting])
    return not isinstance(names, Registry) or value in names.own


_SMOTE = _under("imbalance", "smote", "borderline-smote", "smote-tomek")
_NOISY = _under(
    "imbalance",
    "class-weights-balanced-noisy",
    "class-weights-inverse-sqrt-noisy",
    "class-weights-effective-noisy",
)
_CLIMB = _under("imbalance", "climb")

#: setting -> where it has an effect; one that is not here always has.
ACTS: dict[str, Effect] = {
    "synthetic": _under("dataset", "fedprox-synthetic"),
    "client_column": _under("partition", "natural")._replace(
        said="only leaves its column out of the features here; partition=natural makes its names the clients"
    ),
    "long_tail_order": Effect(lambda config: config.long_tail > 1, f"{NONE}it is for long-tail of more than 1"),
    "alpha": _under("partition", "dirichlet", "quantity"),
    "classes_per_client": _under("partition", "classes"),
    "shards_per_client": _under("partition", "shards"),
    "activation": Effect(lambda config: bool(config.hidden), f"{NONE}the model has no hidden layer"),
    "logit_adjustment_tau": _under("imbalance", "post-hoc", "balanced-softmax"),
    "focal_gamma": _under("imbalance", "focal"),
    "effective_number_beta": _under(
        "imbalance",
        "class-weights-effective-local",
        "class-weights-effective-global",
        "class-weights-effective-noisy",
    ),
    "histogram_epsilon": Effect(
        lambda config: config.differentially_private or _NOISY.acts(config), f"{_NOISY.said} and differential privacy"
    ),
    "ldam_margin": _under("imbalance", "ldam"),
    "fedlc_tau": _under("imbalance", "fedlc"),
    "fedrs_alpha": _under("imbalance", "fedrs"),
    "smote_neighbors": _SMOTE,
    "bootstrap_shrinkage": _under("imbalance", "smoothed-bootstrap"),
    "jitter_scale": _under("imbalance", "jitter"),
    "mixup_alpha": _under("imbalance", "mixup"),
    "climb_rate": _CLIMB,
    "climb_tolerance": _CLIMB,
    "server_learning_rate": _under("strategy", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "scaffold"),
    "server_momentum": _under("strategy", "fedavgm"),
    "server_beta_1": _under("strategy", "fedadam", "fedyogi"),
    "server_beta_2": _under("strategy", "fedadam", "fedyogi"),
    "server_tau": _under("strategy", "fedadagrad", "fedadam", "fedyogi"),
    "qfedavg_q": _under("strategy", "qfedavg"),
    "malicious_share": _under("strategy", "fedtrimmedavg", "krum", "multikrum", "bulyan"),
    "partial_work": Effect(
        lambda config: config.stragglers > 0 or config.round_deadline > 0,
        f"{NONE}it is for stragglers or a round-deadline",
    ),
    "selection": Effect(lambda config: config.fraction_train < 1, f"{NONE}fraction-train=1 takes everybody"),
    "selection_pool": _under("selection", "power-of-choice"),
    "top_k_share": _under("compression", "top-k"),
}


def without_effect(config: FederationConfig, remedies: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return each setting that is not at its default and does nothing as the others stand: as given, and what is said.

    A setting at its default asks for nothing, so whether it was given makes no difference.

    Parameters
    ----------
    config : FederationConfig
    remedies : sequence of str
        Values of ``imbalance`` that are compared: one that uses the setting is enough. Neutral: the settings' own.
    """
    views = [config.replace(imbalance=name) for name in remedies] or [config]
    lines = []
    for spec in dataclasses.fields(config):
        value, effect = getattr(config, spec.name), ACTS.get(spec.name)
        if effect is not None and value != spec.default and not any(effect.acts(view) for view in views):
            given = f"{value:g}" if isinstance(value, float) else shown(value)
            lines.append((f"{key_of(spec.name)}={given}", effect.said))
    return lines
