"""Statistics of comparisons, from figures alone."""
