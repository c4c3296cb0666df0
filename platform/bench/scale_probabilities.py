"""The probabilities of many images: what scoring an image costs, and the memory that it takes.

The members' probabilities of 144 views are drawn at random and written as workers write them, with every view kept and
with their means; each size is removed before the next. By default an eighth of the classes of ImageNet, whose 144 views
would not fit the disk of a small machine.
"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from platform.bench.figures import Figures
from platform.bench.growth import add_growth
from platform.bench.memory import Memory, with_memory
from platform.config.evaluation import ALL, MEANS, EvaluationConfig
from platform.config.scale import ScaleConfig
from platform.evaluation.kept import kept_scores
from platform.evaluation.predict import Predictions
from platform.evaluation.probabilities import seal, write_part
from platform.evaluation.stored import Stored

VIEWS = [1, 10, 144]
BATCH = 32  # images


def measure(sizes: ScaleConfig, folder: Path, figures: Figures) -> None:
    """Measure at `bench.scale.images`; `scale.probabilities.*` into `figures`."""
    for keep in (ALL, MEANS):
        image_ms, peak_mb, again_ms, kb = {}, {}, {}, {}
        for images in sizes.images:
            place = folder / f"{keep}-{images}"
            names = [f"m{number}" for number in range(sizes.members)]
            members = {name: place / name for name in names}
            _write(members, images, keep, sizes)
            kb[images] = sum(file.stat().st_size for file in place.rglob("*.npy")) / images / sizes.members / 1e3
            memory = Memory()
            began = time.process_time()
            with_memory(lambda place=place, members=members: _score(members, place), memory)
            image_ms[images] = 1e3 * (time.process_time() - began) / images
            peak_mb[images] = memory.peak_mb
            began = time.process_time()
            _score(members, place)
            again_ms[images] = 1e3 * (time.process_time() - began)
            shutil.rmtree(place)
        name = f"probabilities.{keep}"
        kept = f"evaluation.keep={keep}, {sizes.members} members, 144 views, {sizes.classes} classes"
        if sizes.linked_members:
            kept += ", one file for all members"
        add_growth(figures, f"{name}.kb", kb, f"kB on disk of an image and member, {kept}", "images")
        add_growth(figures, f"{name}.image_cpu_ms", image_ms, f"CPU ms to score an image, {kept}", "images")
        add_growth(figures, f"{name}.peak_mb", peak_mb, f"MB of memory while scoring, {kept}", "images")
        add_growth(figures, f"{name}.again_cpu_ms", again_ms, f"CPU ms for scores that are kept, {kept}", "images")


def _score(members: dict[str, Path], place: Path) -> None:
    kept_scores(members, VIEWS, place / "scores.json", lambda _: None, place / "images.npz")


def _write(members: dict[str, Path], images: int, keep: str, sizes: ScaleConfig) -> None:
    first, *further = members.values()
    _write_member(first, images, 0, keep, sizes)
    for number, place in enumerate(further, start=1):
        if sizes.linked_members:
            shutil.copytree(first, place, copy_function=os.link)
        else:
            _write_member(place, images, number, keep, sizes)


def _write_member(place: Path, images: int, number: int, keep: str, sizes: ScaleConfig) -> None:
    evaluation = EvaluationConfig(views=VIEWS, keep=keep, stored_dtype="float16")
    stored, drawn = Stored.of(evaluation, sizes.classes), _drawn(images, number, sizes.classes)
    write_part(place, 0, range(images), max(VIEWS), sizes.classes, "float16", drawn, stored)
    seal(place, images, max(VIEWS), 1, stored)


def _drawn(images: int, number: int, classes: int) -> Iterator[Predictions]:
    """A batch that is drawn, and the same with its classes in another order, again and again: drawing all of them would
    take longer than scoring them."""
    generator = torch.Generator().manual_seed(number)
    probs = torch.randn(BATCH, max(VIEWS), classes, generator=generator).softmax(2)
    for start in range(0, images, BATCH):
        ids = np.arange(start, min(start + BATCH, images))
        yield Predictions(ids, ids % classes, np.ones(len(ids), np.bool_), probs[: len(ids)].roll(start // BATCH, 2))
