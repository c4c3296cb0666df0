"""One member's training: step and loop, optimiser, schedules, averaging, checkpoints. Knows nothing of Ray or MLflow."""
