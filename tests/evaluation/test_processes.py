"""Scoring by several processes: the same bits, each block once, and the task of a killed process again."""

import os
import signal
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from platform.config.checks import ConfigError
from platform.evaluation import blocks, ensemble, processes
from platform.evaluation.blocks import Members, Part, Task, tasks_of
from platform.evaluation.ensemble import score
from platform.evaluation.images import WHAT_IS_SAID, ImageResults
from platform.evaluation.kept import kept_scores
from platform.evaluation.probabilities import MemberProbabilities
from platform.evaluation.processes import in_processes
from tests.evaluation.test_ensemble import COUNTS, SAMPLES, member

BLOCK = 7


@pytest.fixture
def members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Members:
    """Worth several processes, with two blocks a task."""
    made = {str(number): member(tmp_path, number, corrupt=(2, 5)) for number in range(3)}
    monkeypatch.setattr(ensemble, "WORTH_SPREADING", 0)
    monkeypatch.setattr(blocks, "TASK_BYTES", 2 * BLOCK * sum(each.bytes for each in made.values()) // SAMPLES)
    return made


def said(images: ImageResults | None) -> list[Any]:
    assert images is not None
    return [getattr(images, name) for name in WHAT_IS_SAID]


def test_any_number_of_processes_gives_the_same_bits_and_scores_each_block_once(members: Members) -> None:
    alone = score(members, COUNTS, BLOCK, threads=1)
    for count in (1, 2, 3):
        starts: list[int] = []

        def spread(tasks: list[Task], count: int = count, starts: list[int] = starts) -> Iterator[list[Part]]:
            for parts in in_processes(tasks, count):
                starts.extend(part.start for part in parts)
                yield parts

        together = score(members, COUNTS, BLOCK, spread=spread)
        assert together == alone
        assert all(map(np.array_equal, said(together.images), said(alone.images), [True] * len(WHAT_IS_SAID)))
        assert sorted(starts) == [*range(0, SAMPLES, BLOCK)]


def test_everything_that_is_said_of_an_image_is_taken_over() -> None:
    of_each = {each.name for each in fields(ImageResults)} - {"names", "view_counts", "labels_N", "valid_N"}
    assert of_each == set(WHAT_IS_SAID)


def test_tasks_are_whole_blocks_of_about_the_same_bytes(members: Members) -> None:
    tasks = tasks_of(members, COUNTS, BLOCK)
    assert [start for task in tasks for start in task.blocks] == [*range(0, SAMPLES, BLOCK)]
    assert {len(task.blocks) for task in tasks[:-1]} == {2}
    assert tasks[-1].stop == SAMPLES


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first process that has a task: it is killed."""
    pids: list[int] = []
    parts = processes._Process.parts

    def watched(self: processes._Process, task: Task) -> list[Part]:
        if not pids:
            assert self._process.pid
            pids.append(self._process.pid)
            os.kill(self._process.pid, signal.SIGKILL)
        return parts(self, task)

    monkeypatch.setattr(processes._Process, "parts", watched)
    return pids


def test_the_task_of_a_killed_process_is_done_again(members: Members, killed: list[int]) -> None:
    alone = score(members, COUNTS, BLOCK, threads=1)
    assert score(members, COUNTS, BLOCK, spread=lambda tasks: in_processes(tasks, 2)) == alone
    assert len(killed) == 1


@pytest.mark.usefixtures("members")
def test_processes_that_die_again_and_again_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(self: processes._Process, task: Task) -> list[Part]:
        raise EOFError

    monkeypatch.setattr(processes._Process, "parts", dies)
    monkeypatch.setattr(processes, "TRIES", 2)
    folders = {str(number): tmp_path / str(number) for number in range(3)}
    with pytest.raises(ConfigError, match="2 processes in turn have died over images 0 to"):
        kept_scores(folders, COUNTS, tmp_path / "scores.json", spread=lambda tasks: in_processes(tasks, 1))


def test_damage_is_said_by_whoever_meets_it(tmp_path: Path, members: Members) -> None:
    opened = {name: MemberProbabilities(tmp_path / name) for name in members}
    (tmp_path / "1" / "part-0000.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match="ValueError"):
        score(opened, COUNTS, BLOCK, spread=lambda tasks: in_processes(tasks, 1))
