"""Runs a loader's program, one process for each rank: timed, its memory and CPU time taken, killed if asked.

In: jobs, see `programs/participant.py`. Out: what the processes said and took.
"""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from platform.bench.rivals.loaders import LOADERS, PROGRAMS, python
from platform.bench.rivals.protocol import MAX_LINE, Message, ProtocolError, parse
from platform.checkout import ROOT

LIMIT_S = 240.0  # for each run, most of which take less than 20
MEMORY_EVERY_S = 0.2


class LoaderError(Exception):
    """A loader's program failed, hung or spoke in riddles."""


class Refused(LoaderError):
    """The library does not load its state for this number of ranks."""


@dataclass
class Outcome:
    """What a run took and said."""

    messages: list[Message] = field(default_factory=list)
    garbled: int = 0  # lines that were no messages
    began: float = 0.0  # on the monotonic clock: all had imported their libraries, and were let go
    ended: float = 0.0  # the last has read its epoch
    cpu_s: float = 0.0  # of all processes, between the two
    pss_mb: float = 0.0  # of 1e6 bytes, at the most: memory that several processes share is counted once
    rss_mb: float = 0.0  # the same with shared memory counted for each

    @property
    def batches(self) -> list[Message]:
        """The messages about batches, as they came."""
        return [message for message in self.messages if message.event == "batch"]

    @property
    def has_converted(self) -> bool:
        """Whether there was anything to convert."""
        return any(message.event == "converted" for message in self.messages)

    @property
    def first_batch_s(self) -> float:
        """Seconds from the start, after the imports, to a batch."""
        return min(message.at for message in self.batches) - self.began

    @property
    def version(self) -> str:
        """Of the library."""
        return next((message.text for message in self.messages if message.event == "ready"), "")


def run(name: str, jobs: list[dict[str, Any]], scratch: Path, *, memory: bool = False, kill: bool = False) -> Outcome:
    """Run the processes of all ranks to the end of the epoch, or kill them when all have reached `stop_at`.

    Args:
        name: of LOADERS.
        jobs: one for each process.
        scratch: a folder that is theirs, also as HOME and for temporary files.
        memory: take it, which costs CPU time of this process.
        kill: SIGKILL to all processes and their children at `stop_at`.

    Raises:
        Refused: the library does not load the state.
        LoaderError: a process failed, or it took too long.
    """
    outcome = Outcome()
    with _started(name, jobs, scratch) as ranks, _watched(ranks, outcome, memory):
        _await(ranks, outcome, {"ready"})
        before, outcome.began = _cpu_s(ranks), time.monotonic()
        _let_go(ranks)
        _await(ranks, outcome, {"end"}, stop_at=jobs[0].get("stop_at", 0) if kill else 0)
        outcome.cpu_s = _cpu_s(ranks) - before
        outcome.ended = max(message.at for message in outcome.messages)
    return outcome


class _Rank:
    """A process of one rank, and a thread that reads what it says."""

    def __init__(self, name: str, job: dict[str, Any], scratch: Path, environment: dict[str, str]) -> None:
        self.errors = scratch / f"errors-{job['rank']}"
        self.said: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [str(python(name)), str(PROGRAMS / LOADERS[name].program), json.dumps(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=scratch,
                env=environment,
                process_group=0,
            )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        with contextlib.suppress(ValueError, OSError):  # closed
            while line := self.process.stdout.readline(MAX_LINE + 1):
                self.said.put(line)

    def complaint(self) -> str:
        """The last line on standard error."""
        lines = self.errors.read_text(errors="replace").strip().splitlines()
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it said nothing")


@contextlib.contextmanager
def _started(name: str, jobs: list[dict[str, Any]], scratch: Path) -> Iterator[list[_Rank]]:
    """The processes, which are ended with all their children at the end of the block."""
    scratch.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    ranks: list[_Rank] = []
    # A short path: Ray's sockets are below it. Removed at the end, as what is killed does not tidy up.
    with tempfile.TemporaryDirectory(prefix="rivals-", ignore_cleanup_errors=True) as temporary:
        try:
            for job in jobs:
                environment = _environment(name, job, scratch, port) | {"TMPDIR": temporary}
                ranks.append(_Rank(name, job, scratch, environment))
            yield ranks
        finally:
            for rank in ranks:
                _kill(rank.process)


def _environment(name: str, job: dict[str, Any], scratch: Path, port: int) -> dict[str, str]:
    """As torchrun sets it; caches go to `scratch`."""
    rank, world = str(job["rank"]), str(job["world"])
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "PYTHON"))}
    kept |= {"RANK": rank, "LOCAL_RANK": rank, "GLOBAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    kept |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "HOME": str(scratch)}
    kept |= {"PYTHONDONTWRITEBYTECODE": "1"}
    return kept if LOADERS[name].module else kept | {"PYTHONPATH": str(ROOT)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await(ranks: list[_Rank], outcome: Outcome, events: set[str], stop_at: int = 0) -> None:
    """Collect what the ranks say until each has said one of `events`, or has done `stop_at` batches."""
    limit = time.monotonic() + LIMIT_S
    waiting = set(ranks)
    while waiting:
        for rank in list(waiting):
            message = _next(rank, outcome)
            if message is None:
                _require_alive(rank, outcome)
            elif message.event == "refused":
                raise Refused(message.text)
            elif message.event in events or (message.event == "batch" and message.step + 1 == stop_at):
                waiting.discard(rank)
        if time.monotonic() > limit:
            raise LoaderError(f"it took more than {LIMIT_S:g} s; the last it said: {ranks[0].complaint()}")


def _next(rank: _Rank, outcome: Outcome) -> Message | None:
    """What it says next, or None: nothing now."""
    with contextlib.suppress(queue.Empty):
        try:
            message = parse(rank.said.get(timeout=0.02))
        except ProtocolError:
            outcome.garbled += 1
            return None
        outcome.messages.append(message)
        return message
    return None


def _require_alive(rank: _Rank, outcome: Outcome) -> None:
    if rank.process.poll() is not None and rank.said.empty():
        time.sleep(0.1)  # its last words may be on their way
        if rank.said.empty():
            raise LoaderError(f"it ended with {rank.process.returncode}: {rank.complaint()}")


def _let_go(ranks: list[_Rank]) -> None:
    for rank in ranks:
        assert rank.process.stdin
        with contextlib.suppress(BrokenPipeError):
            rank.process.stdin.write(b"\n")
            rank.process.stdin.flush()


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_s(ranks: list[_Rank]) -> float:
    """CPU time of the processes, their children, and those of their children that have ended and were waited for."""
    total = 0.0
    for rank in ranks:
        for process in _family(rank.process):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])  # user, system, children's user, children's system
    return total


def _kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and all below it."""
    for each in _family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # whoever was started meanwhile
    process.wait()
    for stream in filter(None, (process.stdin, process.stdout)):
        with contextlib.suppress(OSError):
            stream.close()


@contextlib.contextmanager
def _watched(ranks: list[_Rank], outcome: Outcome, memory: bool) -> Iterator[None]:
    """Take the memory of all processes together again and again, if `memory`."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(MEMORY_EVERY_S):
            pss = rss = 0
            for rank in ranks:
                for process in _family(rank.process):
                    with contextlib.suppress(psutil.Error):
                        found = process.memory_full_info()
                        pss, rss = pss + found.pss, rss + found.rss
            outcome.pss_mb, outcome.rss_mb = max(outcome.pss_mb, pss / 1e6), max(outcome.rss_mb, rss / 1e6)

    watcher = threading.Thread(target=watch, daemon=True)
    if memory:
        watcher.start()
    try:
        yield
    finally:
        done.set()
        if memory:
            watcher.join()
