"""What marks a member's probabilities on disk as whole: a file that is written last."""

import json
from pathlib import Path

SEAL = "complete.json"


def is_complete(folder: Path, views: int) -> bool:
    """Whether `folder` holds a sealed set of at least `views` views, or of the means over so many."""
    try:
        content = json.loads((folder / SEAL).read_text())
        return views in content["view_counts"] if "view_counts" in content else int(content["views"]) >= views
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def kept_as(folder: Path) -> str:
    """What a sealed set has of the views, as `evaluation.keep` says it; "all" where that is not known."""
    try:
        return str(json.loads((folder / SEAL).read_text()).get("keep", "all"))
    except (OSError, ValueError, AttributeError):
        return "all"
