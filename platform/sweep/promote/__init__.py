"""Out of a sweep an experiment of its own: which points, and the file that repeats them."""
