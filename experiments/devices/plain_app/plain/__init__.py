"""A plain Flower app, to measure against."""
