"""What the programs have in common: they read one epoch of batches and say so, a JSON object a line.

In: a JSON object as the only argument, see `Job`; a line on standard input to begin, another to end. Out: messages on
standard output (what libraries print there goes to standard error): `platform.bench.rivals.protocol` has the kinds.
Knows the standard library only: each program runs in whatever environment its library needs.
"""

import json
import os
import sys
import tarfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

REFUSED = 3  # exit status: the library does not load the state for this world size


@dataclass
class Job:
    """What one process is to do. Shards hold `KEY.jpg` and `KEY.cls`; each sample's label is its number, from 0."""

    action: str  # convert: to the library's own format, once; read: one epoch, or the rest of it
    shards: list[str]  # tar files
    folder: str  # the same images as a folder for each label
    converted: str  # folder for the library's own format
    scratch: str  # folder for caches
    samples: int
    batch_size: int = 1  # of this rank
    rank: int = 0
    world: int = 1
    workers: int = 2  # processes or threads that decode, for each rank
    image_size: int = 224
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)
    seed: int = 0
    normalised: bool = True  # on the CPU; only this project's program can leave it to the device
    save_every: int = 0  # batches; 0: never
    states: str = ""  # folder for states
    stop_at: int = 0  # after so many batches in all it waits to be killed; 0: never
    resume: str = ""  # folder with the states of all ranks; empty: from the epoch's beginning
    resume_step: int = 0  # batches done before them
    resume_world: int = 0  # ranks that saved them


class Reader(Protocol):
    """A loader at the beginning or in the middle of an epoch."""

    def __iter__(self) -> Iterator[list[int]]:
        """Sample numbers of the batches left in this epoch, each after the whole batch has arrived."""
        ...

    def save(self, folder: Path) -> None:
        """Save the state after the newest batch, as the library's documentation says, for all ranks in one folder."""
        ...


class Stateless:
    """A reader of a library that offers no state: the epoch starts anew."""

    def __init__(self, batches: Callable[[], Iterator[list[int]]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return self._batches()

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def run(
    package: str,
    read: Callable[[Job], Reader],
    convert: Callable[[Job], None] | None = None,
) -> None:
    """Do the job on the command line.

    Args:
        package: whose version is reported.
        read: opens the loader, with the state of `job.resume` if there is one.
        convert: makes the library's own format from the shards; None: it reads them as they are.
    """
    messages = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job = Job(**json.loads(sys.argv[1]))

    def say(event: str, **rest: Any) -> None:
        messages.write(json.dumps({"event": event, "at": time.monotonic(), "rank": job.rank, **rest}) + "\n")

    say("ready", version=_version(package))
    _wait_for_a_line()
    if job.action == "convert":
        if convert:
            convert(job)
            say("converted")
    else:
        _read(job, read, say)
    say("end")
    _wait_for_a_line()
    messages.flush()
    os._exit(0)  # what libraries do at exit is not measured, and some wait for ever


def _read(job: Job, read: Callable[[Job], Reader], say: Callable[..., None]) -> None:
    try:
        reader = read(job)
        batches = iter(reader)
        first = next(batches, None)
    except Exception as error:
        if not job.resume:
            raise
        traceback.print_exc()
        say("refused", reason=f"{type(error).__name__}: {error}"[:300])
        os._exit(REFUSED)
    step = job.resume_step
    while first is not None:
        say("batch", step=step, samples=first)
        step += 1
        if job.save_every and step % job.save_every == 0:
            folder = Path(job.states) / str(step)
            folder.mkdir(parents=True, exist_ok=True)
            reader.save(folder)
            say("saved", step=step)
        if step == job.stop_at:
            _wait_for_a_line()  # for SIGKILL, with all that it has read ahead
        first = next(batches, None)


def _wait_for_a_line() -> None:
    if not sys.stdin.readline():
        os._exit(1)  # whoever measures is gone


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def samples_of(shard: str) -> Iterator[tuple[bytes, int]]:
    """The encoded image and the number of each sample of a tar file."""
    image = b""
    with tarfile.open(shard) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file, "shards have files only"
            content = file.read()
            if member.name.endswith(".jpg"):
                image = content
            else:
                yield image, int(content)


def state_file(folder: str | Path, rank: int) -> Path:
    """Where a rank's state is."""
    return Path(folder) / f"rank-{rank}"


def saved_by_this_rank(job: Job) -> Path:
    """The state that this rank loads; of a library whose state is one for all ranks, any rank's.

    Raises:
        ValueError: fewer ranks saved one.
    """
    if job.rank >= job.resume_world:
        raise ValueError(f"{job.resume_world} ranks saved a state each, none for rank {job.rank}")
    return state_file(job.resume, job.rank)
