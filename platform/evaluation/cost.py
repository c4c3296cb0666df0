"""What the evaluation of whole images costs, beside their probabilities: the scales, and pixels in those of crops.

In: what a worker's part has cost. Out: what all parts have cost together.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from platform.evaluation.seal import SEAL
from platform.files import write_atomically


@dataclass
class Cost:
    """What was done to evaluate a part of the images."""

    sides: list[int]  # the scales: shorter sides in pixels
    images: int = 0
    crops: float = 0.0  # pixels that the network saw, in those of a crop: multiply-adds are in proportion
    cut: int = 0  # images of which the middle was taken

    @property
    def of_image(self) -> float:
        """Crops for an image, the mean."""
        return self.crops / self.images if self.images else 0.0


def write_cost(folder: Path, rank: int, cost: Cost) -> None:
    """Keep what a worker's part has cost, beside its probabilities."""
    write_atomically(folder / f"cost-{rank:04d}.json", json.dumps(asdict(cost)) + "\n")


def read_cost(folder: Path) -> Cost:
    """What all parts have cost together.

    Raises:
        ValueError: or OSError, TypeError: it is not known.
    """
    parts = int(json.loads((folder / SEAL).read_text())["parts"])
    found = [Cost(**json.loads((folder / f"cost-{rank:04d}.json").read_text())) for rank in range(parts)]
    if any(each.sides != found[0].sides for each in found):
        raise ValueError(f"the parts in {folder} are of different scales")
    sums = [sum(getattr(each, name) for each in found) for name in ("images", "crops", "cut")]
    return Cost(found[0].sides, int(sums[0]), sums[1], int(sums[2]))
