"""What Prometheus is told of a launch, and the page on which it reads that."""
