"""Blocks of images on a Ray cluster, by Ray Data: actors that hold the model, each at one block at a time.

In: the blocks that are not finished. Out: their numbers, as workers have written them. Only numbers pass through Ray:
workers read the images and write the rows, so that memory is bounded by a batch of images a worker.
"""

import logging
import textwrap
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from ray.data import ActorPoolStrategy, DataContext, from_items
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

from platform.cluster.connect import resources_now
from platform.cluster.resources import Resources
from platform.config.checks import CannotGoOn, ConfigError
from platform.config.cluster import ClusterConfig
from platform.data.cache import ShardError
from platform.data.store_errors import StorageError
from platform.prediction.parts import InFolder
from platform.prediction.predictor import Predictor
from platform.prediction.task import Task
from platform.redaction import shared_secrets, trust
from platform.text import first_line

log = logging.getLogger("platform")
BLOCKS_PER_TASK, TASKS_AHEAD = 1, 2  # of an actor
# After a worker's death, before the next start; so many in a row without a finished block are all. That a node is lost
# is known up to half a minute later, and workers that are started on it until then die as well.
PAUSES_S = (1.0, 5.0, 15.0, 30.0)
LONGEST = 120  # characters of Ray's reasons, which hold addresses and ids


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


def workers_of(cluster: ClusterConfig, resources: Resources, blocks: int, gpus: int) -> int:
    """Number of actors with so many GPUs each: as many as the cluster has room for, at most one for each block. One at
    least where an autoscaler makes room."""
    room = resources.gpus // gpus if gpus else resources.cpus // cluster.cpus_per_worker
    return max(int(cluster.autoscaled), min(room, blocks))


def write_blocks(
    task: Task, parts: InFolder, unfinished: list[int], cluster: ClusterConfig, gpus: int
) -> Iterator[int]:
    """Classify blocks on the Ray that this process is connected to.

    Args:
        task: what is classified by what.
        parts: where workers write, which all of them see.
        unfinished: numbers of blocks.
        cluster: CPUs of each worker.
        gpus: of each worker, whatever is lost on the way: CPUs are many times slower, and their last digits are others.

    Yields:
        the number of images of each block that is written, in any order; at the start 0.

    Raises:
        CannotGoOn: workers die again and again, cannot load the model, or have no room; blocks that are written stay.
        ConfigError, StorageError, ShardError: what a worker has raised.
    """
    left, starts = set(unfinished), 0
    yield 0
    while left:
        actors = _actors_with_room(cluster, len(left), gpus)
        try:
            for block, images in _written(task, parts, sorted(left), cluster, actors, gpus):
                left.discard(block)
                starts = 0
                yield images
        except RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, ConfigError | StorageError | ShardError):
                raise cause from None
            if starts == len(PAUSES_S) or cause is not None:
                raise CannotGoOn(
                    f"Ray has given up ({first_line(cause or error)}); finished blocks stay, and the same command goes "
                    "on from them"
                ) from error
            finished = left & parts.finished()  # what the dead one had written, and not told
            left -= finished
            yield sum(len(task.blocks[number]) for number in finished)
            if not left:  # it had written the last one, and only not told
                return
            why = textwrap.shorten(first_line(error), LONGEST, placeholder=" ...")
            log.warning("a worker has died (%s); going on with the %d blocks that are left", why, len(left))
            time.sleep(PAUSES_S[starts])
            starts += 1


def _actors_with_room(cluster: ClusterConfig, blocks: int, gpus: int) -> int:
    """Number of actors for which there is room: for a node that is lost another may come.

    Raises:
        CannotGoOn: none has come.
    """
    wanted = f"a worker of {gpus} GPU(s)" if gpus else f"a worker of {cluster.cpus_per_worker} CPU(s)"
    for pause in PAUSES_S:
        if actors := workers_of(cluster, resources_now(), blocks, gpus):
            return actors
        log.warning("the cluster has no room for %s; looking again in %g s", wanted, pause)
        time.sleep(pause)
    if actors := workers_of(cluster, resources_now(), blocks, gpus):
        return actors
    raise CannotGoOn(
        f"the cluster has no room for {wanted}; finished blocks stay, and the same command goes on from them"
    )


def _written(
    task: Task, parts: InFolder, blocks: list[int], cluster: ClusterConfig, actors: int, gpus: int
) -> Iterator[tuple[int, int]]:
    """(number, images) of each block, as they are written; RayError where a worker dies.

    Workers are not restarted by Ray Data, which would do it without end, and prints lines of its own about it.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False  # we show our own
    context.print_on_execution_start = False
    _say_only_in_the_log_file()
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


def _say_only_in_the_log_file() -> None:
    """Of a worker's death Ray Data prints several tracebacks; what of it matters is said here."""
    logger = logging.getLogger("ray.data")
    logger.setLevel(logging.ERROR)
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)
