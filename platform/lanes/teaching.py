"""What a network's teacher says of the training images, made by the workers that will train the network.

In: the teacher's networks. Out: the targets in the experiment's folder. Each network asked is kept until all have been,
so that workers which are started again go on with the next.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from platform.config.sections import Config
from platform.data.index import Index, Split
from platform.data.order import evaluation_share
from platform.data.pixels import Pixels
from platform.evaluation import probabilities
from platform.evaluation.predict import PredictConfig, Predictions, predict
from platform.evaluation.seal import is_complete
from platform.evaluation.targets import TargetsOf, are_whole, write_targets
from platform.experiment.fingerprint import fingerprint
from platform.experiment.teacher import TeacherMember
from platform.lanes.lane import LaneMember
from platform.lanes.mailbox import Sender
from platform.models.build import build
from platform.training.peers import barrier, from_rank_0
from platform.training.progress import Progress
from platform.training.step import autocast_dtype
from platform.training.worker import Worker

STORED = "float16"  # logarithms


def prepare_targets(member: LaneMember, index: Index, worker: Worker, progress: Progress, sender: Sender) -> None:
    """Make what the member learns from, unless it is there to the last bit; every worker of the lane calls this.

    Args:
        member: with a teacher.
        index: the data set.
        worker: this one.
        progress: is told that something moves.
        sender: tells the launcher which network is asked.

    Raises:
        FileNotFoundError: the targets are not there, and the teacher is not either.
        OSError: the disk has no room for them.
        ShardError: from the data.
    """
    folder, of = member.targets, targets_of(member.config, index)
    assert folder is not None, "only members with a teacher come here"
    if from_rank_0(worker, lambda: are_whole(folder, of, progress.moved), progress.moved):
        return
    if not member.teacher:
        raise FileNotFoundError(f"{folder} has no whole targets, and only job=distill makes them")
    split, places = index.split("train"), [folder / f"{n}-{each.name}" for n, each in enumerate(member.teacher)]
    for number, (each, place) in enumerate(zip(member.teacher, places, strict=True), 1):
        if from_rank_0(worker, lambda place=place: is_complete(place, 1), progress.moved):
            continue
        if worker.rank == 0:
            which = f"network {number} of {len(places)}"
            sender.send("state", text=f"asking the teacher, {which}: {split.samples:,} images x {of.views}")
        _ask(each, of.views, split, place, worker, progress)
    if worker.rank == 0:
        write_targets(folder, places, of, progress.moved)
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
    barrier(worker, progress.moved)


def targets_of(config: Config, index: Index) -> TargetsOf:
    """Which targets a member of this config learns from."""
    train, distill = index.split("train"), config.distill
    return TargetsOf(distill.digest, distill.views, fingerprint(index)["train"], train.samples, config.data.classes)


def _ask(teacher: TeacherMember, views: int, split: Split, place: Path, worker: Worker, progress: Progress) -> None:
    """One network's means over the crops of this worker's share, to `place`."""
    cfg, share = teacher.config, evaluation_share(split.samples, worker.rank, worker.world)
    pixels = Pixels(cfg.data, worker.device, channels_last=cfg.training.channels_last)
    dtype = autocast_dtype(cfg.training.precision, worker.device)
    network = _network(teacher, worker, progress)
    predict_cfg, threads = PredictConfig.of(cfg), worker.threads
    predicted = predict(network, split, share, views, predict_cfg, pixels, dtype, threads, progress.excused)
    means = _means(predicted, progress)
    probabilities.write_part(place, worker.rank, share, 1, cfg.data.classes, STORED, means)
    barrier(worker, progress.moved)
    if worker.rank == 0:
        probabilities.seal(place, split.samples, 1, worker.world)


def _network(teacher: TeacherMember, worker: Worker, progress: Progress) -> nn.Module:
    """The trained network, of which rank 0 reads the weights."""
    cfg = teacher.config
    network = build(cfg.model, cfg.data.classes, cfg.data.image_size, cfg.seed)

    def read() -> dict[str, Tensor]:
        return torch.load(teacher.weights, map_location="cpu", weights_only=True)

    network.load_state_dict(from_rank_0(worker, read, progress.moved))
    return network.to(worker.device).eval()


def _means(predictions: Iterator[Predictions], progress: Progress) -> Iterator[Predictions]:
    for some in predictions:
        progress.moved()
        yield replace(some, probs_NVK=some.probs_NVK.mean(1, keepdim=True))
