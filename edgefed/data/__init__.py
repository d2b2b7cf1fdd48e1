"""Datasets, splits, partitions and shards: NumPy alone, no torch."""
