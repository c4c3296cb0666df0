"""Ray Tune: trials of a sweep from the search for points to their results."""
