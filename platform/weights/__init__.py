"""The weights that a training begins with: where they are found, whether they fit, and the copy that is kept."""
