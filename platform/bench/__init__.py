"""The measurements of `job=bench`, each beside a baseline in the same run."""
