"""Speed, memory, and the time to the first batch and to the next one after resuming in the middle of an epoch.

One rank with two workers reads photographs; the loaders take turns. The first run of each warms the file cache and
has its memory taken; it is not timed.
"""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from platform.bench.rivals.loaders import LOADERS
from platform.bench.rivals.processes import LoaderError, Outcome, run
from platform.bench.rivals.samples import Samples

COUNT, BATCH, WORKERS = 1500, 64, 2
HALF = COUNT // BATCH // 2  # batches


@dataclass
class Speed:
    """Values of all repeats, for one loader."""

    images_per_cpu_s: list[float] = field(default_factory=list)  # whole epoch, with the start of the workers
    images_per_s: list[float] = field(default_factory=list)  # from the first batch to the last
    first_batch_s: list[float] = field(default_factory=list)  # from opening the loader, after the imports
    resume_s: list[float] = field(default_factory=list)  # the same, in the middle of an epoch
    resume_cpu_s: list[float] = field(default_factory=list)  # what that costs, of all processes
    pss_mb: float = 0.0
    rss_mb: float = 0.0
    convert_s: float = 0.0  # to the library's own format or index
    version: str = ""
    failed: str = ""  # why there are no values


class Turns:
    """Measures one loader after the other, in each of several turns."""

    def __init__(self, names: list[str], samples: Samples, folder: Path, image_size: int, seed: int) -> None:
        self.found = {name: Speed() for name in names}
        self._samples, self._folder, self._image_size, self._seed = samples, folder, image_size, seed

    def warm_up(self) -> None:
        """The first run of each, in which its memory is taken and its state saved in the middle."""
        for name in self.found:
            every = HALF if LOADERS[name].state else 0
            if outcome := self._try(name, "warm", save_every=every, memory=True):
                self.found[name].pss_mb, self.found[name].rss_mb = outcome.pss_mb, outcome.rss_mb
                self.found[name].version = outcome.version

    def turn(self) -> None:
        """One epoch of each, and a resumption of each that can."""
        for name, found in self.found.items():
            if outcome := self._try(name, "read"):
                images = sum(len(message.samples) for message in outcome.batches)
                first, last = outcome.batches[0], outcome.batches[-1]
                found.images_per_cpu_s.append(images / outcome.cpu_s)
                found.images_per_s.append((images - len(first.samples)) / (last.at - first.at))
                found.first_batch_s.append(outcome.first_batch_s)
            if LOADERS[name].state and (outcome := self._resumed(name)):
                found.resume_s.append(outcome.first_batch_s)
                found.resume_cpu_s.append(outcome.cpu_s)

    def _resumed(self, name: str) -> Outcome | None:
        state = str(self._folder / f"states-{name}" / str(HALF))
        return self._try(name, "resume", resume=state, resume_step=HALF, resume_world=1, stop_at=HALF + 1, kill=True)

    def _try(self, name: str, what: str, *, memory: bool = False, kill: bool = False, **rest: Any) -> Outcome | None:
        found, loader = self.found[name], LOADERS[name]
        if found.failed:
            return None
        scratch = self._folder / f"{what}-{name}"
        job = self._samples.job(
            name,
            scratch,
            action="read",
            batch_size=BATCH,
            workers=WORKERS,
            image_size=self._image_size,
            normalised=loader.normalised,
            seed=self._seed,
            states=str(self._folder / f"states-{name}"),
            rank=0,
            world=1,
            **rest,
        )
        try:
            return run(name, [job], scratch, memory=memory, kill=kill)
        except LoaderError as error:
            found.failed = str(error)
            return None


def middle(values: list[float]) -> float | None:
    """The median; None: there are none."""
    return median(values) if values else None
