"""Every setting, its default, unit and check: what an experiment is."""
