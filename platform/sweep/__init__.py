"""Sweeps: the space, who chooses its points, the store of trials, the ranking and its report."""
