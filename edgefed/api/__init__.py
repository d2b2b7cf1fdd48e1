"""The Python interface: puts the parts together. The command line is a thin face over it."""

from edgefed.api.comparison import compare
from edgefed.api.model import load_model, predict
from edgefed.api.single import run

__all__ = ["compare", "load_model", "predict", "run"]
