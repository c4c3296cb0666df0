"""Sweeps as `job=sweep` leaves them, made by hand: a base composed by Hydra, trials, curves, probabilities."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from numpy.typing import NDArray
from omegaconf import OmegaConf

from platform.checkout import ROOT
from platform.config.sections import Config
from platform.evaluation.predict import Predictions
from platform.evaluation.probabilities import MemberProbabilities, seal, write_part
from platform.launch import typed
from platform.sweep import curve
from platform.sweep.curve import Moment
from platform.sweep.trials import FINISHED, Book, Point, Trial

COMMIT = "796c801"


@contextmanager
def composing() -> Iterator[None]:
    """Hydra as the launcher starts it."""
    ConfigStore.instance().store("schema", Config)
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


def book(words: list[str]) -> Book:
    """A sweep of `python -m platform.launch WORDS job=sweep`, without trials yet. Needs `composing`."""
    composed = hydra.compose("config", [*words, "job=sweep"], return_hydra_config=True)
    choices = {group: choice for group, choice in composed.hydra.runtime.choices.items() if "hydra/" not in group}
    OmegaConf.set_readonly(composed, False)
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    return Book(base=asdict(typed(composed)), choices=choices, commit=COMMIT)


def trial(point: int, values: Point, words: list[str], seed: int = 0, **more: Any) -> Trial:
    """A finished one. `words` say what `values` say; the seed comes with them."""
    words = [*words, f"seed={seed}"] if seed else words
    return Trial(f"p{point:03d}-s{seed}", point, values, seed, words, state=more.pop("state", FINISHED), **more)


def trained(words: list[str]) -> dict[str, Any]:
    """The config that a command line makes. Needs `composing`."""
    return asdict(typed(hydra.compose("config", words)))


def write_curve(folder: Path, name: str, top1: float) -> None:
    """Two epochs."""
    member = folder / "members" / name
    member.mkdir(parents=True, exist_ok=True)
    for epoch, share in ((1, top1 / 2), (2, top1)):
        curve.append(member, Moment(epoch, 10 * epoch, share, 1.0, 0.5, 100.0, last=epoch == 2))


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
