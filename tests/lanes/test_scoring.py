"""Scoring on a Ray cluster: the same bits as of one process, and the task of a killed worker again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from platform.cluster.connect import connect, disconnect
from platform.config.checks import CannotGoOn
from platform.config.cluster import ClusterConfig
from platform.evaluation import ensemble
from platform.evaluation.blocks import Members, Part, Task, parts_of, tasks_of
from platform.evaluation.ensemble import score
from platform.lanes import scoring
from platform.lanes.scoring import on_cluster, on_ray
from tests.evaluation.deadly_task import DeadlyOnce
from tests.evaluation.test_ensemble import COUNTS, SAMPLES, member

BLOCK = 7


@pytest.fixture(scope="module")
def cpus() -> Iterator[int]:
    yield connect(ClusterConfig()).cpus
    disconnect()


@pytest.fixture
def members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Members:
    monkeypatch.setattr(ensemble, "WORTH_SPREADING", 0)
    monkeypatch.setattr("platform.evaluation.blocks.TASK_BYTES", 1)
    return {str(number): member(tmp_path, number, corrupt=(2, 5)) for number in range(3)}


@pytest.mark.slow
def test_workers_give_the_same_bits_and_score_each_block_once(cpus: int, members: Members) -> None:
    starts: list[int] = []

    def spread(tasks: list[Task]) -> Iterator[list[Part]]:
        for _, parts in on_ray(tasks, cpus):
            starts.extend(part.start for part in parts)
            yield parts

    assert score(members, COUNTS, BLOCK, spread=spread) == score(members, COUNTS, BLOCK, threads=1)
    assert sorted(starts) == [*range(0, SAMPLES, BLOCK)]


@pytest.mark.slow
def test_the_task_of_a_killed_worker_is_done_again(cpus: int, members: Members, tmp_path: Path) -> None:
    tasks = tasks_of(members, COUNTS, BLOCK)
    tasks[1] = DeadlyOnce(**vars(tasks[1]))
    found = {task.start: parts for task, parts in on_ray(tasks, cpus)}
    assert (tmp_path / "marker").exists()
    tasks = tasks_of(members, COUNTS, BLOCK)
    assert {start: [part.sums for part in parts] for start, parts in found.items()} == {
        task.start: [part.sums for part in parts_of(task)] for task in tasks
    }


def test_a_cluster_that_does_not_answer_or_fails_leaves_the_rest_to_this_machine(
    members: Members, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tasks, here = tasks_of(members, COUNTS, BLOCK), list[Task]()

    def fails_after_two(some: list[Task], cpus: int) -> Iterator[tuple[Task, list[Part]]]:
        for task in some[:2]:
            yield task, parts_of(task)
        raise CannotGoOn("the cluster is gone")

    def in_this_process(some: list[Task], processes: int) -> Iterator[list[Part]]:
        here.extend(some)
        yield from map(parts_of, some)

    monkeypatch.setattr(scoring, "connect", lambda cluster: None)
    monkeypatch.setattr(scoring, "disconnect", lambda: None)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 4.0})
    monkeypatch.setattr(scoring, "on_ray", fails_after_two)
    monkeypatch.setattr(scoring, "in_processes", in_this_process)
    cluster = ClusterConfig(address="127.0.0.1:1")
    together = score(members, COUNTS, BLOCK, spread=lambda some: on_cluster(cluster, some))
    assert together == score(members, COUNTS, BLOCK, threads=1)
    assert here == tasks[2:]
    assert "the cluster does not score (the cluster is gone); this machine does what is left" in caplog.text
