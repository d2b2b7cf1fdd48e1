"""Settings that contradict ``privacy``: what an epsilon would not cover, what needs more than a sum, by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgefed.errors import SettingsError
from edgefed.names import DIFFERENTIALLY_PRIVATE, FEWEST_IN_A_SUM, SEES_EACH_CLIENT
from edgefed.schema import key_of, registry

if TYPE_CHECKING:
    from edgefed.config import FederationConfig

OWN_SETTINGS: dict[tuple[str, ...], dict[str, float]] = {
    DIFFERENTIALLY_PRIVATE: {"noise_multiplier": 1.0, "clipping_norm": 1.0, "privacy_delta": 0.0},
    ("secagg",): {
        "secagg_threshold": 0.66,
        "secagg_neighbors": 24,
        "secagg_clipping_range": 8.0,
        "secagg_max_norm": 0.0,
        "secagg_bits": 22,
    },
}
"""Values of ``privacy`` -> the settings that only these look at, with their defaults."""

ONLY: dict[str, tuple[tuple[object, ...], str]] = {
    "strategy": (("fedavg",), "its noise and its account are those of a plain average: set strategy=fedavg"),
    "standardize": (
        ("server", "none"),
        "every client's exact means and deviations would leave it: set standardize=server or none (none on devices)",
    ),
    "missing": (("refuse",), "the clients' exact means would leave them: set missing=refuse"),
    "selection": (("uniform",), "whom a round asks would depend on what clients hold: set selection=uniform"),
    "availability": (("",), "whom a round asks would depend on how long clients train: leave availability unset"),
    "client_test_fraction": (
        (0.0, -1.0),
        "clients would tell how they fare on rows of their own, exactly: set client-test-fraction=0 (on devices the "
        "server then tests: give test-path)",
    ),
    "checkpoint_every": ((1,), "a run that goes on would release rounds twice: set checkpoint-every=1"),
    "explain": (("no",), "clients would be asked for exact figures of their rows: set explain=no"),
}
"""setting -> the values that differential privacy bears, and why not the others."""


def without_privacy(config: FederationConfig) -> FederationConfig:
    """Return settings without protection: what a reference that is no federation is measured under."""
    defaults = {name: default for own in OWN_SETTINGS.values() for name, default in own.items()}
    return config.replace(privacy="none", **defaults)


def check_privacy(config: FederationConfig) -> None:
    """Refuse settings that contradict ``privacy``.

    Raises
    ------
    SettingsError
    """
    for whose, own in OWN_SETTINGS.items():
        for name, default in own.items():
            if config.privacy not in whose and getattr(config, name) != default:
                raise SettingsError(
                    f"{key_of(name)}={getattr(config, name):g} contradicts privacy={config.privacy}: it belongs to "
                    f"privacy={' and privacy='.join(whose)}"
                )
    if config.privacy == "secagg":
        _check_secagg(config)
    if not config.differentially_private:
        return
    mode = f"privacy={config.privacy}"
    for name, (borne, why) in ONLY.items():
        if getattr(config, name) not in borne:
            raise SettingsError(f"{mode} contradicts {key_of(name)}={_as_text(getattr(config, name))}: {why}")
    if registry("edgefed.imbalance:REMEDIES")[config.imbalance].reweighs:
        raise SettingsError(
            f"{mode} contradicts imbalance={config.imbalance}: the remedy is each client's say in the average, and "
            "under differential privacy all have the same"
        )
    if config.privacy_delta * config.num_clients >= 1:
        raise SettingsError(
            f"privacy-delta={config.privacy_delta:g}: expected less than one over num-clients={config.num_clients}: "
            "publishing a client's rows outright satisfies any larger one"
        )
    if config.privacy == "dp-adaptive" and 10 * config.noise_multiplier >= config.cohort_size:
        raise SettingsError(
            f"privacy=dp-adaptive with noise-multiplier={config.noise_multiplier:g}: expected less than a tenth of the "
            f"{config.cohort_size} clients of a round, as a share of the noise goes to the count of clipped updates"
        )


def _as_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_secagg(config: FederationConfig) -> None:
    """Refuse whatever needs one client's values where the server learns sums alone."""
    remedy = registry("edgefed.imbalance:REMEDIES")[config.imbalance]
    whys = {
        "strategy": config.strategy in SEES_EACH_CLIENT and "it looks at each client's own update, not at a sum",
        "imbalance": remedy.needs_loss and "it looks at each client's own loss, not at a sum",
        "selection": config.selection != "uniform" and "it chooses clients by each one's own loss",
        "compression": config.compression != "none" and "compressed updates are no numbers that add up",
        "max_update_norm": config.max_update_norm
        and "nobody sees the length of an update that is masked: secagg-max-norm bounds the average's",
    }
    for name, why in whys.items():
        if why:
            raise SettingsError(f"{key_of(name)}={getattr(config, name)} contradicts privacy=secagg: {why}")
    cohort = config.cohort_size
    if config.partition != "natural" and cohort < FEWEST_IN_A_SUM:
        raise SettingsError(
            f"privacy=secagg: a round asks {cohort} of num-clients={config.num_clients}, expected at least "
            f"{FEWEST_IN_A_SUM}: in a sum of two, each finds the other's update by taking off its own"
        )
    most = 32 - math.ceil(math.log2(cohort + 1))
    if config.secagg_bits > most:
        raise SettingsError(
            f"secagg-bits={config.secagg_bits}: expected at most {most}, as the sum over a round's {cohort} clients "
            "must fit into 32 bits"
        )
    if config.secagg_neighbors % 2:
        raise SettingsError(f"secagg-neighbors={config.secagg_neighbors}: expected an even number")
