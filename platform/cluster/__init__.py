"""Ray: start or join a cluster, its resources, how its processes start, and the clean-up at the end."""
