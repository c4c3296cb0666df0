"""`job=compare`: experiments, members and trials side by side on the same images."""
