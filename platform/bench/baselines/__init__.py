"""The baselines of job=bench: what a Ray Train or Ray Tune user would write without this project."""
