"""Finished experiments made by hand: shards of random images, curves, attempts, what was predicted of each image."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from platform.config.data import DataConfig
from platform.config.ensemble import EnsembleConfig
from platform.config.experiment import Experiment
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.evaluation.images import ImageResults
from platform.evaluation.metrics import Scores
from platform.evaluation.summary import Summary
from platform.evaluation.table import EnsembleScores
from platform.experiment.folder import ExperimentFolder
from platform.experiment.goodput import Attempt, write_attempts
from platform.training import learning_curve
from platform.training.learning_curve import EvaluationPoint
from tests.data.handmade import write_tar

SAMPLINGS = (
    SamplingConfig("multi_scale"),
    SamplingConfig("small_crops", area=[0.08, 0.5]),
    SamplingConfig("plain", method="centre_square", mirror=False),
    SamplingConfig("photometric", photometric=True),
    SamplingConfig("random_interpolation", interpolation="random"),
)
BEGAN = 1_800_000_000.0


def noise(number: int, side: int) -> bytes:
    """A JPEG of what compresses worst."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side + 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=40)
    return buffer.getvalue()


def write_shards(folder: Path, labels: dict[str, list[int]], classes: list[str], side: int = 40) -> Path:
    """One shard a split; `labels` are those of its images."""
    folder.mkdir(parents=True)
    entries = []
    for split, of_split in labels.items():
        members: dict[str, bytes] = {}
        for number, label in enumerate(of_split):
            members |= {f"{number:05d}.jpg": noise(number % 40, side), f"{number:05d}.cls": str(label).encode()}
        path = write_tar(folder / f"{split}.tar", members)
        digest = hashlib.md5(path.read_bytes()).hexdigest()
        size = path.stat().st_size
        entries.append(
            {"url": path.name, "nsamples": len(of_split), "filesize": size, "md5sum": digest, "split": split}
        )
    content = {"__kind__": "wids-shard-index-v1", "classes": classes, "shardlist": entries}
    (folder / "index.json").write_text(json.dumps(content))
    return folder


def predictions(names: list[str], labels: list[int], classes: int, views: list[int]) -> ImageResults:
    """Of members that are right for most images, and more so where they are sure."""
    generator, labels_N = np.random.default_rng(7), np.array(labels, np.int32)
    images = ImageResults(names, views, labels_N, np.ones(len(labels), np.bool_))
    for number in range(len(names) + 1):
        right = generator.random(len(labels)) < (0.9 if number == len(names) else 0.8)
        other = (labels_N + generator.integers(1, classes, len(labels))) % classes
        images.predicted_EN[number] = np.where(right, labels_N, other)
        images.rank_EN[number] = np.where(right, 0, 1)
        sure = generator.uniform(0.5, 1, len(labels)).astype(np.float32)
        images.confidence_EN[number] = sure
        images.label_probability_EN[number] = np.where(right, sure, (1 - sure) / 2)
        images.brier_EN[number] = 2 * (1 - images.label_probability_EN[number]) ** 2
    if len(names) == 1:
        for each in (images.predicted_EN, images.rank_EN, images.confidence_EN, images.label_probability_EN):
            each[1] = each[0]
        images.brier_EN[1] = images.brier_EN[0]
    else:
        images.without_MN[:] = images.predicted_EN[-1]
    images.hits_CN[:] = (images.rank_EN[:-1] == 0).sum(0)
    return images


def scores_of(images: ImageResults) -> EnsembleScores:
    """The same figures at every number of views."""

    def sums(number: int) -> dict[int, Scores]:
        right, samples = int((images.rank_EN[number] == 0).sum()), len(images.labels_N)
        return {views: Scores(samples, right, samples, 0.5 * samples) for views in images.view_counts}

    ensemble = sums(len(images.names))
    alternatives = {"max over crops": ensemble[max(images.view_counts)]}
    members = {name: sums(number) for number, name in enumerate(images.names)}
    summary = Summary.of(images, ensemble, alternatives)
    return EnsembleScores(images.names, len(images.labels_N), members, ensemble, alternatives, summary, images)


def write_member(folder: Path, number: int, evaluations: int = 12) -> None:
    """A curve, and two attempts of which the first was lost."""
    folder.mkdir(parents=True)
    for epoch in range(1, evaluations + 1):
        top1, loss = 1 - 0.9 * 0.7**epoch - 0.002 * number, 2.0 * 0.7**epoch
        point = EvaluationPoint(epoch, 44 * epoch, top1, 1.0, loss, 800.0, epoch == evaluations, loss, 0.1)
        learning_curve.append(folder, point)
    _write_series(folder, number, evaluations)
    began = BEGAN + 30 * number
    first = Attempt(began, began + 1, 0, 200, began + 5, began + 25, began + 27, reason="its workers died")
    again = Attempt(began + 27, began + 28, 100, 440, began + 31, began + 71, began + 90, reason="finished")
    write_attempts(folder, [first, again])


def _write_series(folder: Path, number: int, evaluations: int) -> None:
    """What the steps went into, with a kill's half line at the end."""
    parts = {"wait": 3.0 + 4 * number, "copy": 1.5, "forward": 6.0, "backward": 11.0, "exchange": 2.5, "optimiser": 1.2}
    parts |= {"rest": 0.8, "logging": 0.4, "checkpoint": 0.1, "decode": 5.0 + 7 * number}
    lines = []
    for epoch in range(1, evaluations + 1):
        metrics = {f"within_step/{part}_ms": ms for part, ms in parts.items()} | {"progress": epoch / evaluations}
        lines += [[44 * epoch, metrics, BEGAN], [44 * epoch, {"val/top1": 0.5, "val/seconds": 0.1}, BEGAN]]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "metrics.jsonl").write_text(f"{text}[45, {{")


def finished(
    folder: Path, members: int = 3, classes: list[str] | None = None, samples: int = 60, side: int = 40, size: int = 32
) -> tuple[Experiment, ExperimentFolder, EnsembleScores]:
    """An experiment all of whose members are finished, with its folder and scores.

    Args:
        folder: gets `data` and `runs`.
        members: how many.
        classes: their names.
        samples: validation images.
        side: of the stored images, in pixels.
        size: of what the networks see.
    """
    classes = classes or ["ant", "bee", "cat"]
    labels = [number % len(classes) for number in range(samples)]
    shards = write_shards(folder / "data", {"train": labels[:40], "val": labels}, classes, side)
    data = DataConfig(shards=str(shards), classes=len(classes), image_size=size)
    names = [f"member_{number}" for number in range(members)] if members > 1 else ["model"]
    configs = {
        name: Config(
            name="made", data=data, order_seed=number, sampling=SAMPLINGS[number % len(SAMPLINGS)],
            output_dir=str(folder / "runs"), training=TrainingConfig(batch_size=16),
            ensemble=EnsembleConfig({name: [f"order_seed={number}"] for number, name in enumerate(names)}),
        )
        for number, name in enumerate(names)
    }  # fmt: skip
    experiment = Experiment(configs[names[0]], configs)
    place = ExperimentFolder(experiment.folder)
    for number, name in enumerate(names):
        write_member(place.member(name).path, number)
    return experiment, place, scores_of(predictions(names, labels, len(classes), [1, 10]))
