"""Exact evaluation: the views of an image, probabilities, metrics, and the ensemble's table."""
