"""The Python interface: puts the parts together. The command line is a thin face over it.

Each part is loaded when it is asked for: a run does not wait for the statistics of a comparison.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgefed.api.classifier import FederatedClassifier
    from edgefed.api.comparison import compare
    from edgefed.api.explanation import explain
    from edgefed.api.grid import compare_grid
    from edgefed.api.membership import audit
    from edgefed.api.model import load_model, predict
    from edgefed.api.selection import select_features
    from edgefed.api.single import run

_HOMES = {
    "FederatedClassifier": "classifier",
    "audit": "membership",
    "compare": "comparison",
    "compare_grid": "grid",
    "explain": "explanation",
    "load_model": "model",
    "predict": "model",
    "run": "single",
    "select_features": "selection",
}

__all__ = [
    "FederatedClassifier",
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
        return getattr(import_module(f"edgefed.api.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'edgefed.api' has no attribute {name!r}")
