"""Composing: `conf/` and a command line's overrides become typed configs. Hydra is known here and to the launcher."""
