"""Sweeps: the space, which points of it are tried, the trials on disk, their report, and promoting the best."""
