"""What marks a member's probabilities on disk as whole: a file that is written last."""

import json
from pathlib import Path

SEAL = "complete.json"


def is_complete(folder: Path, views: int) -> bool:
    """Whether `folder` holds a sealed set of at least `views` views."""
    try:
        return int(json.loads((folder / SEAL).read_text())["views"]) >= views
    except (FileNotFoundError, ValueError, KeyError):
        return False
