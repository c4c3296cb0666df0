"""Who stands still is named once; looking for them costs one pass over the beats, however many members there are."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.lanes import Lanes
from platform.cluster import Beat
from platform.training.progress import COMPUTING, WAITING


class Terminal:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Counted(dict[tuple[str, int], Beat]):
    """A dict that counts the entries that were looked at."""

    looks = 0

    def __iter__(self) -> Iterator[tuple[str, int]]:
        for key in super().__iter__():
            self.looks += 1
            yield key

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


def beat(member: str, rank: int, *, ago_s: float = 0.0, still_for_s: float = 0.0, doing: str = COMPUTING) -> Beat:
    at = time.time() - ago_s
    return Beat(member, 0, rank, 2, f"node{rank}", "id", 1, at, at, -1, 7, 0.0, doing, still_for_s)


def lanes(*beats: Beat) -> Lanes:
    return Lanes([], None, Path("live.json"), 60.0, _beats=Counted({(each.member, each.rank): each for each in beats}))


def warned(made: Lanes) -> list[str]:
    terminal: Any = Terminal()
    for _ in range(2):
        made._warn_of_stalls(terminal)
    return terminal.warnings


def test_of_several_that_stand_still_those_are_named_that_wait_for_nobody():
    made = lanes(
        beat("fine", 0, still_for_s=59),
        beat("slow", 0, still_for_s=90),
        beat("slow", 1, still_for_s=90, doing=WAITING),
        beat("stuck", 0, still_for_s=90),
        beat("stuck", 1, still_for_s=90),
        beat("gone", 0, still_for_s=90, doing=WAITING),
        beat("gone", 1, ago_s=40),
    )
    assert warned(made) == [
        "gone: rank 1 on node1 has not been heard of at step 7",
        "slow: rank 1 on node1 stands still, waiting for data at step 7",
        "stuck: rank 0 on node0 stands still, computing at step 7",
        "stuck: rank 1 on node1 stands still, computing at step 7",
    ]


def test_every_beat_is_looked_at_once():
    made = lanes(*(beat(f"m{number}", rank, still_for_s=90) for number in range(50) for rank in range(4)))
    terminal: Any = Terminal()
    made._warn_of_stalls(terminal)
    assert len(terminal.warnings) == 200
    assert isinstance(made._beats, Counted)
    assert made._beats.looks == 200
