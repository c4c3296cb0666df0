"""Logs of each launch of an experiment, beside its results: what is left when its processes and nodes are gone.

runs/NAME/logs/0003-20261129-203312/      the third launch, when it began (UTC)
    driver.log                            what the command printed
    lane0-rank1-HOST-PID.log              a worker: each message to the launcher, what it printed, how it died
    nodes/HOST-SESSION/                   the ends of Ray's own logs of that node, copied every few seconds
    left-out.txt                          files that are not here, because there are too many

With `checkpoint.copy_to` the folders of all launches are also in COPY_TO/NAME-logs. Older launches than the newest
`MOST_LAUNCHES` are removed.
"""

import contextlib
import faulthandler
import logging
import os
import shutil
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from platform.cluster.node_logs import NodeLogs
from platform.config.sections import Config, Experiment
from platform.data.storage import Storage, StorageError, is_remote, join
from platform.experiment.log_file import LogFile, Tee, masked
from platform.files import append_line
from platform.text import first_line

log = logging.getLogger("platform")
MOST_LAUNCHES, MOST_FILES = 30, 500
DRIVER_BYTES, WORKER_BYTES = 8_000_000, 1_000_000  # of a part; at most three are kept, see `LogFile`
COPY_EVERY_S = 300.0  # to checkpoint.copy_to


def launches(experiment: Path) -> list[Path]:
    """The folders of the launches so far, oldest first."""
    with contextlib.suppress(OSError):
        return sorted(each for each in (experiment / "logs").iterdir() if each.is_dir())
    return []


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
    sys.stdout, sys.stderr = (Tee(stream, driver) for stream in streams)  # pyright: ignore[reportAttributeAccessIssue]
    node = NodeLogs(folder / "nodes", masked)
    copies = _Copies(experiment.config, experiment.name, folder)
    try:
        yield
    except BaseException as error:
        driver.write(f"ended by {type(error).__name__}: {error}\n")
        raise
    finally:
        sys.stdout, sys.stderr = streams
        node.stop()
        driver.close()
        copies.stop()


def _new_launch(experiment: Path) -> Path:
    before = launches(experiment)
    number = int(before[-1].name.partition("-")[0]) + 1 if before else 1
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
    if not before or _worker_files:  # of a launcher that keeps none; of another trial in this process
        return
    folder, name = before[-1], f"lane{lane}-rank{rank}-{socket.gethostname()}-{os.getpid()}.log"
    with contextlib.suppress(OSError):
        if len(list(folder.iterdir())) > MOST_FILES:
            append_line(folder / "left-out.txt", f"{name}: left out, as {MOST_FILES} files are kept")
            return
    file = LogFile(folder / name, WORKER_BYTES)
    if file.fileno() < 0:
        return
    _worker_files.append(file)
    sys.stdout, sys.stderr = Tee(sys.stdout, file), Tee(sys.stderr, file)  # pyright: ignore[reportAttributeAccessIssue]
    faulthandler.enable(file.fileno())  # a crash in compiled code leaves its Python stack here
    NodeLogs(folder / "nodes", masked)
    note("starts")


_worker_files: list[LogFile] = []


def note(text: str) -> None:
    """A line of this worker's log, with the time; nothing in other processes."""
    for file in _worker_files:
        file.write(f"{time.strftime('%F %T', time.gmtime())} {text}\n")


@contextlib.contextmanager
def noting_errors() -> Iterator[None]:
    """Write the traceback of what ends the block to this worker's log."""
    try:
        yield
    except BaseException:
        note(traceback.format_exc())
        raise


class _Copies:
    """The launches' logs in the store of `checkpoint.copy_to`, brought up to date now and then."""

    def __init__(self, config: Config, name: str, folder: Path) -> None:
        self._folder, self._copied = folder, dict[Path, int]()
        place = config.checkpoint.copy_to
        self._to = join(join(place, f"{name}-logs"), folder.name) if place else ""
        self._storage, self._over = Storage(config.storage), threading.Event()
        self._thread = threading.Thread(target=self._run, name="copies of logs", daemon=True)
        if self._to:
            self._thread.start()

    def stop(self) -> None:
        """Copy what is new and end, within 20 s: a store that hangs shall not use up the grace of a pod."""
        self._over.set()
        if self._to:
            self._thread.join(20)

    def _run(self) -> None:
        while not self._over.wait(COPY_EVERY_S):
            self._copy()
        self._copy()

    def _copy(self) -> None:
        for file in sorted(each for each in self._folder.rglob("*") if each.is_file()):
            try:
                size = file.stat().st_size
                if self._copied.get(file) != size:
                    self._put(file, str(file.relative_to(self._folder)))
                    self._copied[file] = size
            except (StorageError, OSError) as error:
                log.warning("logs are not copied to %s (%s)", masked(self._to), first_line(error))
                return

    def _put(self, file: Path, name: str) -> None:
        if is_remote(self._to):
            self._storage.write(join(self._to, name), file.read_bytes())
        else:
            target = Path(self._to) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
