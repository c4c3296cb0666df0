"""Sweeps as `job=sweep` leaves them, made by hand: a base composed by Hydra, trials, curves, probabilities."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from platform.evaluation.predict import Predictions
from platform.evaluation.probabilities import MemberProbabilities, seal, write_part
from platform.sweep.trial_store import FINISHED, Point, Trial, TrialStore
from platform.training import learning_curve
from platform.training.learning_curve import EvaluationPoint
from tests.composing import Remembering

COMMIT = "796c801"


def store(overrides: list[str]) -> TrialStore:
    """A sweep of `python -m platform.launch OVERRIDES job=sweep`, without trials yet. Needs `composing`."""
    experiment = Remembering().experiment([*overrides, "job=sweep"])
    return TrialStore(base=asdict(experiment.config), choices=experiment.choices, commit=COMMIT)


def trial(point: int, values: Point, overrides: list[str], seed: int = 0, **more: Any) -> Trial:
    """A finished one. `overrides` say what `values` say; the seed comes with them."""
    overrides = [*overrides, f"seed={seed}"] if seed else overrides
    return Trial(f"p{point:03d}-s{seed}", point, values, seed, overrides, state=more.pop("state", FINISHED), **more)


def trained(overrides: list[str]) -> dict[str, Any]:
    """The config that a command line makes. Needs `composing`."""
    return asdict(Remembering().config(overrides))


def write_curve(folder: Path, name: str, top1: float) -> None:
    """Two epochs."""
    member = folder / "members" / name
    member.mkdir(parents=True, exist_ok=True)
    for epoch, share in ((1, top1 / 2), (2, top1)):
        learning_curve.append(member, EvaluationPoint(epoch, 10 * epoch, share, 1.0, 0.5, 100.0, last=epoch == 2))


def write_probabilities(
    folder: Path, name: str, probs_NVK: NDArray[np.float32], labels_N: NDArray[np.int64], corrupt: tuple[int, ...] = ()
) -> MemberProbabilities:
    """In two parts, as two workers would."""
    samples, views, classes = probs_NVK.shape
    place = folder / "members" / name / "probabilities"
    valid_N = ~np.isin(np.arange(samples), corrupt)
    for rank, share in enumerate((range(samples // 3), range(samples // 3, samples))):
        ids = np.arange(share.start, share.stop)
        some = Predictions(ids, labels_N[ids], valid_N[ids], torch.from_numpy(probs_NVK[ids]))
        write_part(place, rank, share, views, classes, "float32", iter([some]))
    seal(place, samples, views, 2)
    return MemberProbabilities(place)
