"""Ray: a cluster of our own or somebody else's, what it has, what its processes run, and what is left at the end."""
