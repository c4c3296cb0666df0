"""One member's training: step and loop, optimiser, schedules, averaging, checkpoints. Knows no Ray, no MLflow."""
