"""A sweep's best points as an experiment: which points, and the experiment file that trains them again."""
