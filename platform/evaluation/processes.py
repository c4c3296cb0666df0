"""Scoring by several processes of this machine, each on one thread: beyond eight threads of one they help each other
less.

In: tasks, whose probabilities are on disk. Out: their parts, as they are ready. A task whose process dies is done again
by a new one.
"""

import multiprocessing
import queue
import signal
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection

import torch

from platform.cluster.resources import cpus_here
from platform.evaluation.blocks import Part, Task, parts_of
from platform.evaluation.ensemble import MOST_THREADS, Spread
from platform.packing.threads import Threads

MOST_PROCESSES = 16  # each has its blocks in memory, about 200 MB with what it needs itself
TRIES = 4  # at a task, by processes that die
_context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang


def of_this_machine() -> Spread | None:
    """None: threads of this process do as well."""
    return partial(in_processes, processes=processes_here()) if cpus_here() > MOST_THREADS else None


def processes_here() -> int:
    """How many this machine has CPUs and memory for."""
    return min(cpus_here(), MOST_PROCESSES)


def in_processes(tasks: list[Task], processes: int) -> Iterator[list[Part]]:
    """Score tasks in so many processes.

    Raises:
        RuntimeError: processes die again and again over one task.
        Exception: whatever scoring raises.
    """
    processes = max(1, min(processes, len(tasks)))
    idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()

    def work(task: Task) -> list[Part]:
        why: Exception | None = None
        for _ in range(TRIES):
            process = _one_of(idle)
            try:
                found = process.parts(task)
            except (EOFError, OSError) as died:  # of the pipe; what scoring itself raises comes through it
                process.end()
                why = died
                continue
            idle.put(process)
            return found
        raise RuntimeError(f"{TRIES} processes in turn have died over images {task.start} to {task.stop}") from why

    threads = Threads(work, processes, "scoring")
    try:
        for _, parts in threads.results(tasks, ahead=2 * processes):
            yield parts
    finally:
        threads.join()
        while not idle.empty():
            idle.get().end()


def _one_of(idle: "queue.SimpleQueue[_Process]") -> "_Process":
    """One that has nothing to do, or a new one: another thread may have taken the last."""
    try:
        return idle.get_nowait()
    except queue.Empty:
        return _Process()


class _Process:
    """A process that scores one task after another."""

    def __init__(self) -> None:
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(target=_serve, args=(theirs,), name="scoring", daemon=True)
        self._process.start()
        theirs.close()

    def parts(self, task: Task) -> list[Part]:
        """Have a task scored.

        Raises:
            EOFError: or OSError: it has died.
            ValueError: what scoring itself raises, in words.
        """
        self._pipe.send(task)
        found, error = self._pipe.recv()
        if error is not None:
            raise ValueError(error)
        return found

    def end(self) -> None:
        """It ends by itself when nobody can ask any more."""
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks
    torch.set_num_threads(1)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send((parts_of(task), None))
        except Exception as error:
            pipe.send((None, f"{type(error).__name__}: {error}"))
