"""Settings that contradict differential privacy: what an epsilon would not cover is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefed.errors import SettingsError
from edgefed.names import DIFFERENTIALLY_PRIVATE
from edgefed.schema import key_of, registry

if TYPE_CHECKING:
    from edgefed.config import FederationConfig

OWN_SETTINGS = {"noise_multiplier": 1.0, "clipping_norm": 1.0, "privacy_delta": 0.0}
"""Settings that only differential privacy looks at, with their defaults."""

ONLY = {
    "strategy": (("fedavg",), "its noise and its account are those of a plain average: set strategy=fedavg"),
    "standardize": (
        ("server", "none"),
        "every client's exact means and deviations would leave it: set standardize=server or none",
    ),
    "missing": (("refuse",), "the clients' exact means would leave them: set missing=refuse"),
    "selection": (("uniform",), "whom a round asks would depend on what clients hold: set selection=uniform"),
    "availability": (("",), "whom a round asks would depend on how long clients train: leave availability unset"),
    "explain": (("no",), "clients would be asked for exact figures of their rows: set explain=no"),
}
"""setting -> the values that differential privacy bears, and why not the others."""


def without_privacy(config: FederationConfig) -> FederationConfig:
    """Return settings without differential privacy: what a reference that is no federation is measured under."""
    return config.replace(privacy="none", **OWN_SETTINGS)


def check_privacy(config: FederationConfig) -> None:
    """Refuse settings that contradict ``privacy``.

    Raises
    ------
    SettingsError
    """
    if not config.differentially_private:
        for name, default in OWN_SETTINGS.items():
            if getattr(config, name) != default:
                raise SettingsError(
                    f"{key_of(name)}={getattr(config, name):g} contradicts privacy={config.privacy}: it belongs to "
                    f"privacy={' and privacy='.join(DIFFERENTIALLY_PRIVATE)}"
                )
        return
    mode = f"privacy={config.privacy}"
    for name, (borne, why) in ONLY.items():
        if getattr(config, name) not in borne:
            raise SettingsError(f"{mode} contradicts {key_of(name)}={getattr(config, name)}: {why}")
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
