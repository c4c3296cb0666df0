"""What an experiment takes on disk. In: its folder. Out: a few words for people."""

from pathlib import Path

from platform.files import sizes_below

WORTH_SAYING = 0.3  # share of the whole


def disk_use(folder: Path) -> str:
    """`1.7 GB, 1.2 GB of it checkpoints`. A file with several names (hard links) counts once; what goes meanwhile does
    not."""
    whole = checkpoints = 0
    for file, size in sizes_below(folder):
        whole += size
        checkpoints += size * (file.parent.name == "checkpoints")
    said = _size(whole)
    return f"{said}, {_size(checkpoints)} of it checkpoints" if checkpoints > WORTH_SAYING * whole else said


def _size(count: int) -> str:
    """In the largest unit of which there is one."""
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6)):
        if count >= bytes_:
            return f"{count / bytes_:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
