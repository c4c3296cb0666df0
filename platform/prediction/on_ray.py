"""Blocks of images on a Ray cluster, by Ray Data: actors that hold the model, each at one block at a time.

In: the blocks that are not finished. Out: their numbers, as workers have written them. Only numbers pass through Ray:
workers read the images and write the rows, so that memory is bounded by a batch of images a worker.
"""

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from ray.data import ActorPoolStrategy, DataContext, from_items
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

from platform.cluster.resources import Resources, gpus_per_worker
from platform.config.checks import CannotGoOn, ConfigError
from platform.config.cluster import ClusterConfig
from platform.data.cache import ShardError
from platform.data.storage import StorageError
from platform.prediction.parts import InFolder
from platform.prediction.predictor import Predictor
from platform.prediction.task import Task
from platform.redaction import shared_secrets, trust
from platform.text import first_line

log = logging.getLogger("platform")
BLOCKS_PER_TASK, TASKS_AHEAD = 1, 2  # of an actor
STARTS = 3  # in a row without a finished block


class BlockWriter:
    """An actor of Ray Data's: the rows of the blocks that it is given are written to their parts."""

    def __init__(self, task: Task, parts: InFolder, gpus: int, threads: int, secrets: str) -> None:
        import torch

        trust(secrets)  # of URLs: another machine's environment does not have them
        torch.set_num_threads(threads)
        self._blocks, self._parts = task.blocks, parts
        self._predictor = Predictor(task, "cuda" if gpus else "cpu")

    def __call__(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """Classify and write the blocks of these numbers."""
        images = []
        for number in numbers["block"].tolist():
            rows = [row for batch in self._predictor.batches(self._blocks[number]) for row in batch]
            self._parts.write(number, rows)
            images.append(len(rows))
        return {"block": numbers["block"], "images": np.array(images)}


def workers_of(cluster: ClusterConfig, resources: Resources, blocks: int) -> tuple[int, int]:
    """(actors, GPUs of each): as many as the cluster has room for, at most one for each block."""
    gpus = gpus_per_worker(cluster, resources)
    room = resources.gpus // gpus if gpus else resources.cpus // cluster.cpus_per_worker
    return max(1, min(room, blocks)), gpus


def write_blocks(
    task: Task, parts: InFolder, unfinished: list[int], cluster: ClusterConfig, resources: Resources
) -> Iterator[int]:
    """Classify blocks on the Ray that this process is connected to.

    Args:
        task: what is classified by what.
        parts: where workers write, which all of them see.
        unfinished: numbers of blocks.
        cluster: CPUs and GPUs of each worker.
        resources: of the cluster.

    Yields:
        the number of images of each block that is written, in any order; at the start 0.

    Raises:
        CannotGoOn: workers die again and again, or cannot load the model; blocks that are written stay.
        ConfigError, StorageError, ShardError: what a worker has raised.
    """
    left, starts = set(unfinished), 0
    yield 0
    while left:
        try:
            for block, images in _written(task, parts, sorted(left), cluster, resources):
                left.discard(block)
                starts = 0
                yield images
        except RayError as error:
            starts += 1
            cause = getattr(error, "cause", None)
            if isinstance(cause, ConfigError | StorageError | ShardError):
                raise cause from None
            if starts == STARTS or cause is not None:
                raise CannotGoOn(
                    f"Ray has given up ({first_line(cause or error)}); finished blocks stay, and the same command goes "
                    "on from them"
                ) from error
            log.warning(
                "a worker has died (%s); going on with the %d blocks that are left", first_line(error), len(left)
            )
            left -= parts.finished()


def _written(
    task: Task, parts: InFolder, blocks: list[int], cluster: ClusterConfig, resources: Resources
) -> Iterator[tuple[int, int]]:
    """(number, images) of each block, as they are written; RayError where a worker dies.

    Workers are not restarted by Ray Data, which would do it without end, and prints lines of its own about it.
    """
    actors, gpus = workers_of(cluster, resources, len(blocks))
    context = DataContext.get_current()
    context.enable_progress_bars = False  # we show our own
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # of max_restarts, for which 2.60 has no other place
        written = from_items([{"block": number} for number in blocks], override_num_blocks=len(blocks)).map_batches(
            BlockWriter,  # pyright: ignore[reportArgumentType]
            batch_size=BLOCKS_PER_TASK,
            fn_constructor_args=(task, parts, gpus, cluster.cpus_per_worker, shared_secrets()),
            compute=ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=TASKS_AHEAD),
            num_cpus=0 if gpus else cluster.cpus_per_worker,
            num_gpus=gpus,
            max_restarts=0,
            max_task_retries=0,
        )
    for row in written.iter_rows():
        yield int(row["block"]), int(row["images"])
