"""What compiling the network costs a training: said once for each shape of batches, and not taken for a stall.

In: steps. Out: a log line with the graphs that a step compiled and the seconds it took.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from platform.config.training import CUDA_GRAPHS, NOT_COMPILED
from platform.data.batch import Batch
from platform.models.compiled import CACHE, compiled_graphs, compiling, megabytes, use_threads
from platform.training.progress import Progress
from platform.training.worker import Worker

log = logging.getLogger("platform.training")


class Compilation:
    """Watches the steps of a training for what they compile.

    Args:
        mode: of `training.compile`.
        worker: whose threads compile.
        progress: is told not to wait for a step of a new shape, which may compile for minutes.
    """

    def __init__(self, mode: str, worker: Worker, progress: Progress) -> None:
        self._mode, self._progress = mode, progress
        if mode != NOT_COMPILED:
            use_threads(worker.threads)
        self._shapes: set[tuple[int, ...]] = set()  # of this worker's share of a batch

    @contextlib.contextmanager
    def step(self, batch: Batch) -> Iterator[None]:
        """Around each step, with its batch.

        Raises:
            ConfigError: the network cannot be compiled.
        """
        if self._mode == NOT_COMPILED:
            yield
            return
        if self._mode == CUDA_GRAPHS:
            torch.compiler.cudagraph_mark_step_begin()  # what the step before returned may be overwritten
        shape, began, graphs = tuple(batch.images.shape), time.monotonic(), compiled_graphs()
        is_new = shape not in self._shapes
        self._shapes.add(shape)
        with self._progress.excused() if is_new else contextlib.nullcontext(), compiling(self._mode):
            yield
        if is_new or compiled_graphs() > graphs:
            self._say(shape, compiled_graphs() - graphs, time.monotonic() - began)

    def _say(self, shape: tuple[int, ...], graphs: int, seconds: float) -> None:
        folder = Path(os.environ[CACHE])
        log.info(
            "training.compile=%s: a step with images %s compiled %d graph(s), %.1f s with the step; %s takes %.0f MB, "
            "and spares other processes of this machine the work",
            self._mode,
            list(shape),
            graphs,
            seconds,
            folder,
            megabytes(folder),
        )
