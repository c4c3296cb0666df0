"""The probabilities of many images: what scoring an image costs, and the memory that it takes.

Three members' probabilities of 144 views are drawn at random and written as workers write them, with every view kept
and with their means: an eighth of the classes of ImageNet, whose 144 views would not fit the disk of a small machine.
"""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from platform.bench.figures import Figures
from platform.bench.growth import add_growth
from platform.config.evaluation import ALL, MEANS, EvaluationConfig
from platform.config.scale import ScaleConfig
from platform.evaluation.kept import kept_scores
from platform.evaluation.predict import Predictions
from platform.evaluation.probabilities import seal, write_part
from platform.evaluation.stored import Stored

MEMBERS, VIEWS, CLASSES = 3, [1, 10, 144], 125
BATCH = 32  # images
LOOK_EVERY_S = 0.005


def measure(sizes: ScaleConfig, folder: Path, figures: Figures) -> None:
    """Measure at `bench.scale.images`; `scale.probabilities.*` into `figures`."""
    for keep in (ALL, MEANS):
        image_ms, peak_mb, again_ms, kb = {}, {}, {}, {}
        for images in sizes.images:
            place = folder / f"{keep}-{images}"
            members = {f"m{number}": _written(place / f"m{number}", images, number, keep) for number in range(MEMBERS)}
            kb[images] = sum(file.stat().st_size for file in place.rglob("*.npy")) / images / MEMBERS / 1e3
            memory = _Memory()
            began = time.process_time()
            with_memory(lambda place=place, members=members: _score(members, place), memory)
            image_ms[images] = 1e3 * (time.process_time() - began) / images
            peak_mb[images] = memory.peak_mb
            began = time.process_time()
            _score(members, place)
            again_ms[images] = 1e3 * (time.process_time() - began)
        name = f"probabilities.{keep}"
        kept = f"evaluation.keep={keep}, {MEMBERS} members, 144 views, {CLASSES} classes"
        add_growth(figures, f"{name}.kb", kb, f"kB on disk of an image and member, {kept}", "images")
        add_growth(figures, f"{name}.image_cpu_ms", image_ms, f"CPU ms to score an image, {kept}", "images")
        add_growth(figures, f"{name}.peak_mb", peak_mb, f"MB of memory while scoring, {kept}", "images")
        add_growth(figures, f"{name}.again_cpu_ms", again_ms, f"CPU ms for scores that are kept, {kept}", "images")


def _score(members: dict[str, Path], place: Path) -> None:
    kept_scores(members, VIEWS, place / "scores.json", lambda _: None, place / "images.npz")


def _written(place: Path, images: int, number: int, keep: str) -> Path:
    evaluation = EvaluationConfig(views=VIEWS, keep=keep, stored_dtype="float16")
    stored = Stored.of(evaluation, CLASSES)
    write_part(place, 0, range(images), max(VIEWS), CLASSES, "float16", _drawn(images, number), stored)
    seal(place, images, max(VIEWS), 1, stored)
    return place


def _drawn(images: int, number: int) -> Iterator[Predictions]:
    generator = torch.Generator().manual_seed(number)
    for start in range(0, images, BATCH):
        ids = np.arange(start, min(start + BATCH, images))
        probs = torch.randn(len(ids), max(VIEWS), CLASSES, generator=generator).softmax(2)
        yield Predictions(ids, ids % CLASSES, np.ones(len(ids), np.bool_), probs)


class _Memory:
    """The most memory of this process that is of no file, above what it had at the beginning."""

    def __init__(self) -> None:
        self._before = self._most = _anonymous_kb()
        self.ended = threading.Event()

    @property
    def peak_mb(self) -> float:
        return (self._most - self._before) / 1e3

    def watch(self) -> None:
        """Look again and again, until the end."""
        while not self.ended.wait(LOOK_EVERY_S):
            self._most = max(self._most, _anonymous_kb())


def with_memory(action: Callable[[], None], memory: _Memory) -> None:
    """Watch the memory beside an action."""
    thread = threading.Thread(target=memory.watch, daemon=True)
    thread.start()
    try:
        action()
    finally:
        memory.ended.set()
        thread.join()


def _anonymous_kb() -> int:
    """0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)
