"""Names in an experiment's folder that others know without opening it: see `folder` for what there is.

In: the experiment's folder, a split or a digest. Out: a path, or a part of one.
"""

from pathlib import Path


def suffix_of(split: str) -> str:
    """The suffix of the names of a split's results: none for val, otherwise -SPLIT."""
    return "" if split == "val" else f"-{split}"


def initial_weights_file(experiment: Path, digest: str) -> Path:
    """The file in an experiment's folder of the weights of that digest, which members begin with."""
    return experiment / "init" / f"{digest}.safetensors"


def targets(experiment: Path) -> Path:
    """The folder in an experiment's folder of what its teacher says of the training images."""
    return experiment / "teacher"
