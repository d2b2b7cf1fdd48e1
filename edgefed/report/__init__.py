"""Pictures from run folders and comparison folders alone."""

from edgefed.report.plots import plot_comparison, plot_run
from edgefed.report.shards import plot_shards

__all__ = ["plot_comparison", "plot_run", "plot_shards"]
