"""Logs of each launch of an experiment, beside its results: what is left when its processes and nodes are gone.

runs/NAME/logs/0003-20261129-203312/      the third launch, when it began (UTC)
    driver.log                            what the command printed
    lane0-rank1-HOST-PID.log              a worker: each message to the launcher, what it printed, how it died
    nodes/HOST-SESSION/                   the ends of Ray's own logs of that node, copied every few seconds
    left-out.txt                          files that are not here, because there are too many

With `checkpoint.copy_to` they are also there (`log_copies`). Launches before the newest `MOST_LAUNCHES` are removed.
"""

import contextlib
import faulthandler
import logging
import os
import re
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from platform.cluster.node_logs import NodeLogs
from platform.config.experiment import Experiment
from platform.experiment.log_copies import LogCopies
from platform.experiment.log_file import LogFile, LogQueue, Tee
from platform.experiment.secrets import Mask
from platform.files import append_line

log = logging.getLogger("platform")
MOST_LAUNCHES, MOST_FILES = 30, 500
DRIVER_BYTES, WORKER_BYTES = 8_000_000, 1_000_000  # of a part; at most three are kept, see `LogFile`
LAST_S = 5.0  # for the traceback of what ends a worker to be written
_LAUNCH = re.compile(r"(\d{4,})-\d{8}-\d{6}")


def launches(experiment: Path) -> list[Path]:
    """The folders of the launches so far, oldest first; others that somebody put beside them are none of ours."""
    with contextlib.suppress(OSError):
        return sorted(
            (each for each in (experiment / "logs").iterdir() if _number(each) and each.is_dir()), key=_number
        )
    return []


def _number(launch: Path) -> int:
    return int(found[1]) if (found := _LAUNCH.fullmatch(launch.name)) else 0


@contextlib.contextmanager
def keep_logs(experiment: Experiment) -> Iterator[None]:
    """For the time of the block write what this process prints, and Ray's logs on this node, to a folder of this
    launch. Its lock is held by the caller."""
    try:
        folder = _new_launch(experiment.folder)
    except OSError as error:  # the run is worth more than its logs
        log.warning("no logs are kept in %s (%s)", experiment.folder / "logs", error.strerror or error)
        yield
        return
    driver, streams = LogFile(folder / "driver.log", DRIVER_BYTES), (sys.stdout, sys.stderr)
    tees = [Tee(stream, driver) for stream in streams]
    sys.stdout, sys.stderr = tees  # pyright: ignore[reportAttributeAccessIssue]
    node = NodeLogs(folder / "nodes", Mask())
    copies = LogCopies(experiment, folder, MOST_LAUNCHES)
    try:
        yield
    except BaseException as error:
        for tee in tees:
            tee.end()
        driver.write(f"ended by {type(error).__name__}: {error}\n")
        raise
    finally:
        node.stop()
        for tee in tees:
            tee.end()
        sys.stdout, sys.stderr = streams
        driver.close()
        copies.stop()


def _new_launch(experiment: Path) -> Path:
    before = launches(experiment)
    number = _number(before[-1]) + 1 if before else 1
    folder = experiment / "logs" / f"{number:04}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    folder.mkdir(parents=True)
    for old in before[: max(0, len(before) + 1 - MOST_LAUNCHES)]:
        shutil.rmtree(old, ignore_errors=True)
        append_line(folder / "left-out.txt", f"{old.name}: removed, as {MOST_LAUNCHES} launches are kept")
    return folder


def keep_worker_log(experiment: Path, lane: int, rank: int) -> None:
    """Write what this worker does and prints to a file of its own, for the rest of its life. Ray's logs of its node are
    copied beside, by one of the node's processes."""
    before = launches(experiment)
    if not before or _worker_logs:  # of a launcher that keeps none; of another trial in this process
        return
    folder, name = before[-1], f"lane{lane}-rank{rank}-{socket.gethostname()}-{os.getpid()}.log"
    with contextlib.suppress(OSError):
        if len(list(folder.iterdir())) > MOST_FILES:
            append_line(folder / "left-out.txt", f"{name}: left out, as {MOST_FILES} files are kept")
            return
    file = LogFile(folder / name, WORKER_BYTES)
    lines = LogQueue(file)  # a training step does not wait for a shared file system
    _worker_logs.append(lines)
    sys.stdout, sys.stderr = Tee(sys.stdout, lines), Tee(sys.stderr, lines)  # pyright: ignore[reportAttributeAccessIssue]
    if file.fileno() >= 0:
        faulthandler.enable(file.fileno())  # a crash in compiled code leaves its Python stack here
    NodeLogs(folder / "nodes", Mask())
    note("starts")


_worker_logs: list[LogQueue] = []


def note(text: str) -> None:
    """A line of this worker's log, with the time; nothing in other processes. Returns at once."""
    for lines in _worker_logs:
        lines.write(f"{time.strftime('%F %T', time.gmtime())} {text}\n")


@contextlib.contextmanager
def noting_errors() -> Iterator[None]:
    """Write the traceback of what ends the block to this worker's log."""
    try:
        yield
    except BaseException:
        note(traceback.format_exc())
        for lines in _worker_logs:
            lines.flush(LAST_S)
        raise
