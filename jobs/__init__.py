"""One file a job, each `run(experiment) -> exit status`; they join the platform's pieces on Ray."""
