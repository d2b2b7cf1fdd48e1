"""edgefed: federated edge-learning simulation that carries over to real devices.

The Python interface is small and loaded on first use, so that ``import edgefed`` costs nothing:

- :func:`edgefed.run` trains one federation,
- :func:`edgefed.compare` ranks imbalance remedies over seeds,
- :func:`edgefed.compare_grid` does so under every combination of some settings,
- :func:`edgefed.explain` says which features a run's model uses, for whom, and how sure that is,
- :func:`edgefed.audit` says how well a run's models give away who was in the training rows,
- :func:`edgefed.select_features` picks features by training federations without them,
- :class:`edgefed.FederatedClassifier` is a federation as a scikit-learn classifier,
- :func:`edgefed.load_model` gives a run's model as a ``torch.nn.Module``,
- :func:`edgefed.predict` gives its class probabilities of new rows,
- :class:`edgefed.FederationConfig` holds the settings of a federation.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgefed.api import (
        FederatedClassifier,
        audit,
        compare,
        compare_grid,
        explain,
        load_model,
        predict,
        run,
        select_features,
    )
    from edgefed.config import FederationConfig, SettingsError
    from edgefed.runs import Run

__version__ = "0.1.0"

_HOMES = {
    "FederatedClassifier": "edgefed.api",
    "FederationConfig": "edgefed.config",
    "Run": "edgefed.runs",
    "SettingsError": "edgefed.config",
    "audit": "edgefed.api",
    "compare": "edgefed.api",
    "compare_grid": "edgefed.api",
    "explain": "edgefed.api",
    "load_model": "edgefed.api",
    "predict": "edgefed.api",
    "run": "edgefed.api",
    "select_features": "edgefed.api",
}

__all__ = [
    "FederatedClassifier",
    "FederationConfig",
    "Run",
    "SettingsError",
    "__version__",
    "audit",
    "compare",
    "compare_grid",
    "explain",
    "load_model",
    "predict",
    "run",
    "select_features",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'edgefed' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
