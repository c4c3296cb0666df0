"""Workers of Ray that die, and what is lost with them: without a Ray, whose deaths and GPUs are told."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from platform.cluster.resources import Resources
from platform.config.checks import CannotGoOn
from platform.config.cluster import ClusterConfig
from platform.prediction import on_ray

CLUSTER = ClusterConfig(address="10.0.0.1:6379")
WITH_GPU, WITHOUT = Resources(2, 16, 1), Resources(1, 8, 0)


class Told:
    """A cluster whose worker dies at its first start, after it has written some blocks."""

    def __init__(self, patch: pytest.MonkeyPatch, resources: list[Resources], written: set[int]) -> None:
        self.starts: list[tuple[list[int], int, int]] = []  # blocks, actors, GPUs of each
        self.slept: list[float] = []
        self._resources, self._written = resources, written
        patch.setattr(on_ray, "resources_now", self._now)
        patch.setattr(on_ray, "_written", self._start)
        patch.setattr(on_ray.time, "sleep", self.slept.append)

    def classify(self, blocks: int) -> list[int]:
        """The images of each yield; blocks have five."""
        task: Any = SimpleNamespace(blocks=[range(5)] * blocks)
        parts: Any = SimpleNamespace(finished=lambda: self._written)
        return list(on_ray.write_blocks(task, parts, list(range(blocks)), CLUSTER, gpus=1))

    def _now(self) -> Resources:
        return self._resources.pop(0) if len(self._resources) > 1 else self._resources[0]

    def _start(
        self, task: Any, parts: Any, blocks: list[int], cluster: ClusterConfig, actors: int, gpus: int
    ) -> Iterator[tuple[int, int]]:
        self.starts.append((blocks, actors, gpus))
        if len(self.starts) == 1:
            raise ActorDiedError
        yield from ((block, 5) for block in blocks)


def test_blocks_begun_on_a_gpu_wait_for_one_and_do_not_go_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch, [WITH_GPU, WITHOUT, WITHOUT, WITH_GPU], written={0})
    assert sum(told.classify(3)) == 15
    assert told.starts == [([0, 1, 2], 1, 1), ([1, 2], 1, 1)]
    assert told.slept == [1.0, 1.0, 5.0]  # after the death, and twice for a GPU


def test_after_a_death_with_nothing_left_nothing_is_waited_for_or_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(monkeypatch, [WITH_GPU], written={0, 1, 2})
    assert sum(told.classify(3)) == 15
    assert (len(told.starts), told.slept, caplog.text) == (1, [], "")


def test_where_no_gpu_comes_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch, [WITH_GPU, WITHOUT], written=set())
    with pytest.raises(CannotGoOn, match=r"no room for a worker of 1 GPU\(s\); finished blocks stay"):
        told.classify(3)
    assert len(told.starts) == 1
