"""Sweeps: the space, who chooses its points, the book of trials, the ranking and its report."""
