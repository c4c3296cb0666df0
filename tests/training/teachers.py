"""A teacher that says something random of every image."""

from pathlib import Path

import numpy as np
import torch

from platform.evaluation.predict import Predictions
from platform.evaluation.probabilities import seal, write_part
from platform.evaluation.targets import TargetsOf, write_targets


def random_targets(folder: Path, samples: int, classes: int, *, members: int = 2) -> TargetsOf:
    """Made of the random probabilities of two members, in two parts each."""
    generator, of, places = torch.Generator().manual_seed(0), TargetsOf("t", 1, "d", samples, classes), []
    for number in range(members):
        probs = (3 * torch.randn(samples, 1, classes, generator=generator)).softmax(-1)
        places.append(folder / f"m{number}")
        for rank, share in enumerate([range(samples // 3), range(samples // 3, samples)]):
            ids, zeros = np.array(share), np.zeros(len(share), np.int64)
            some = Predictions(ids, zeros, zeros == 0, probs[ids])
            write_part(places[-1], rank, share, 1, classes, "float16", iter([some]))
        seal(places[-1], samples, 1, 2)
    write_targets(folder, places, of, lambda: None)
    return of
