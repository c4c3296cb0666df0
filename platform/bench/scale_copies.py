"""Copies of checkpoints to a slow store, and removals there: how many requests each costs, and what waits.

Checkpoints are made faster than the store takes them, as it is where a store has a bad day.
"""

import time
from pathlib import Path

import torch

from platform.bench.figures import Figures
from platform.bench.growth import add_growth
from platform.config.data import StorageConfig
from platform.config.scale import ScaleConfig
from platform.config.training import CheckpointConfig
from platform.data.storage import Storage
from platform.training.checkpoint_copies import Copies
from platform.training.checkpoint_files import Saved, listed, write_whole

DELAY_S = 0.002  # of each request; checkpoints come without a pause


class CountedStorage(Storage):
    """Counts what it asks the store, and waits."""

    requests = 0

    def _late(self, url: str) -> None:
        if url.startswith("file://"):
            self.requests += 1
            time.sleep(DELAY_S)

    def list(self, url: str, suffix: str | tuple[str, ...]) -> list[tuple[str, int]]:
        """As it is, and late."""
        self._late(url)
        return super().list(url, suffix)

    def write(self, url: str, content: bytes) -> None:
        """As it is, and late."""
        self._late(url)
        super().write(url, content)

    def remove(self, url: str) -> None:
        """As it is, and late."""
        self._late(url)
        super().remove(url)


def measure(sizes: ScaleConfig, folder: Path, figures: Figures) -> None:
    """Measure at `bench.scale.checkpoints`; `scale.copies.*` into `figures`."""
    requests: dict[int, float] = {}
    waiting: dict[int, float] = {}
    left: dict[int, float] = {}
    for count in sizes.checkpoints:
        requests[count], waiting[count], left[count] = copied(count, folder / str(count))
    add_growth(figures, "copies.requests_each", requests, "requests for each copy that was made", "checkpoints")
    add_growth(figures, "copies.waiting", waiting, "copies that wait behind the one under way, at most", "checkpoints")
    add_growth(figures, "copies.kept", left, "checkpoints in the store at the end", "checkpoints")


def copied(count: int, folder: Path) -> tuple[float, float, float]:
    """Requests for each copy made, the longest queue, and what is in the store in the end."""
    config, storage = CheckpointConfig(), CountedStorage(StorageConfig(attempts=1))
    here, place = folder / "here", f"file://{folder}/store"
    copies = Copies(here, place, config.keep, storage)
    copies.removing = storage  # counted, too
    told, longest, content = 0, 0, memoryview(torch.zeros(8).numpy().tobytes())

    def tell() -> None:
        nonlocal told
        told += 1

    newest = Saved(0, "")
    for step in range(1, count + 1):
        newest = Saved(step, f"{step:016x}")
        write_whole(here / newest.name, content)
        if step > config.keep:
            (here / Saved(step - config.keep, f"{step - config.keep:016x}").name).unlink()
        copies.soon(newest, None, tell)
        longest = max(longest, copies.waiting)
    copies.close(wait=True)
    assert told == count, "everybody who asked is told"
    assert newest in listed(place, storage), "the newest checkpoint is there"
    return storage.requests / max(1, copies.made), longest, len(listed(place, storage))
