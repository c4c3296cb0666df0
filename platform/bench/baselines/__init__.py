"""What a Ray Train or Ray Tune user would write without this project: the yardsticks of job=bench."""
