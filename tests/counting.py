"""What an action costs, counted: the files below a folder that it opens, and the bytes that they grow by or are
replaced with; and the instructions of Python that it executes. Never how long it takes."""

import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

_counting: list["Cost"] = []  # audit hooks cannot be taken away: this one looks only while somebody counts


@dataclass
class Cost:
    """Of one action."""

    folder: Path
    opened: Counter[str] = field(default_factory=Counter)  # file, below the folder -> times
    written: dict[str, int] = field(default_factory=dict)  # file -> bytes

    @property
    def opens(self) -> int:
        return self.opened.total()

    @property
    def bytes_written(self) -> int:
        return sum(self.written.values())


def cost_of(action: Callable[[], Any], folder: Path) -> Cost:
    """Run an action of this process (any of its threads) and count."""
    cost, before = Cost(folder.resolve()), _versions(folder)
    _counting.append(cost)
    try:
        action()
    finally:
        _counting.remove(cost)
    for name, (inode, size, changed) in _versions(folder).items():
        old_inode, old_size, old_changed = before.get(name, (inode, 0, 0))
        if inode != old_inode or size < old_size:  # another file in its place: all of it was written
            cost.written[name] = size
        elif changed != old_changed:
            cost.written[name] = size - old_size
    return cost


def operations_of(action: Callable[[], Any]) -> int:
    """How many of Python's instructions an action executes in this thread; what C does within one counts as one."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def _versions(folder: Path) -> dict[str, tuple[int, int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
    }


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _counting or isinstance(arguments[0], int):
        return
    with suppress(ValueError, TypeError):  # elsewhere
        path = Path(os.path.realpath(os.fsdecode(arguments[0])))
        for cost in _counting:
            if path.is_relative_to(cost.folder):
                cost.opened[str(path.relative_to(cost.folder))] += 1


sys.addaudithook(_note)
