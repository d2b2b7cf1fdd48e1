"""The model, its losses, its local training and its measures. Knows nothing of Flower."""
