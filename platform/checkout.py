"""Where this code is: what other machines are sent, what jobs are started from, what is looked at by git."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
