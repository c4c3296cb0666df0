"""Scoring of kept probabilities on the nodes of a Ray cluster, as far as they are free.

In: tasks, whose probabilities every node sees. Out: their parts, as they are ready. Ray does the task of a worker that
dies again on another. Where nothing is free, or the cluster does not answer, this machine scores by itself.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from platform.cluster.connect import connect, disconnect
from platform.config.checks import CannotGoOn, ConfigError
from platform.config.cluster import ClusterConfig
from platform.evaluation.blocks import Part, Task, parts_of
from platform.evaluation.processes import in_processes, processes_here
from platform.text import first_line

log = logging.getLogger("platform")
RETRIES = 3  # of a task whose worker died
AHEAD = 2  # tasks for each CPU, so that none waits for the next


def on_cluster(cluster: ClusterConfig, tasks: list[Task]) -> Iterator[list[Part]]:
    """Join a cluster, and score there.

    Args:
        cluster: the section of the config.
        tasks: to be scored, each once.

    Raises:
        ValueError: what scoring itself raises.
    """
    left = {task.start: task for task in tasks}
    try:
        connect(replace(cluster, expected_workers=0))  # whoever is there
        free = int(ray.available_resources().get("CPU", 0))
        if free > 1:
            print(f"scoring on {free} free CPUs of the cluster", flush=True)
            for task, parts in on_ray(tasks, free):
                del left[task.start]
                yield parts
    except (RayError, CannotGoOn, ConfigError) as error:
        log.warning("the cluster does not score (%s); this machine does what is left", first_line(error))
    finally:
        disconnect()
    yield from in_processes(list(left.values()), processes_here())


def on_ray(tasks: list[Task], cpus: int) -> Iterator[tuple[Task, list[Part]]]:
    """Score on the Ray that this process is connected to, so many tasks at a time.

    Raises:
        RayError: the cluster is gone, or workers have died again and again over one task.
        ValueError: what scoring itself raises.
    """
    score = ray.remote(_parts_there).options(num_cpus=1, max_retries=RETRIES)
    under_way: dict[ray.ObjectRef, Task] = {}
    for task in tasks:
        under_way[score.remote(task)] = task
        if len(under_way) == AHEAD * cpus:
            yield from _done(under_way)
    while under_way:
        yield from _done(under_way)


def _done(under_way: dict[ray.ObjectRef, Task]) -> Iterator[tuple[Task, list[Part]]]:
    for each in ray.wait(list(under_way))[0]:
        task = under_way.pop(each)
        try:
            yield task, ray.get(each)
        except RayTaskError as error:
            raise ValueError(first_line(error.cause)) from error


def _parts_there(task: Task) -> list[Part]:
    torch.set_num_threads(1)
    return parts_of(task)
