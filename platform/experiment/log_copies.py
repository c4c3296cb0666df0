"""The logs of a launch in the store of `checkpoint.copy_to`, brought up to date now and then.

In: the folder of the launch. Out: COPY_TO/NAME-DIGEST-logs/LAUNCH, beside the experiment's checkpoints and named as
they are, from when the experiment has a record. As many launches are kept there as here.
"""

import contextlib
import logging
import re
import threading
import time
from pathlib import Path

from platform.config.checks import ConfigError
from platform.config.experiment import Experiment
from platform.data.storage import Storage
from platform.data.urls import join
from platform.experiment.folder import ExperimentFolder
from platform.files import SUFFIX
from platform.text import first_line

log = logging.getLogger("platform")
EVERY_S = 300.0
PASS_BYTES = 50_000_000  # that one pass copies: what waited for longest comes first, the rest in the next one
SAID_AFTER_S, LONGEST_S = 2.0, 20.0  # of the end: a store that hangs shall not use up the grace of a pod
_LAUNCH = re.compile(r"\d{4,}-(\d{8}-\d{6})/")


class LogCopies:
    """Copies on a daemon thread from now on, if there is a place to copy to."""

    def __init__(self, experiment: Experiment, folder: Path, most_launches: int) -> None:
        self._experiment, self._folder, self._most_launches = experiment, folder, most_launches
        self._place = experiment.config.checkpoint.copy_to or ""
        self._at = ""  # where copies were made last
        self._copied: dict[Path, tuple[float, int, int]] = {}  # -> when; what it was then: size, time of its change
        self._storage, self._over = Storage(experiment.config.storage), threading.Event()
        self._thread = threading.Thread(target=self._run, name="copies of logs", daemon=True)
        if self._place:
            self._thread.start()

    def stop(self) -> None:
        """Copy what is new and end, within `LONGEST_S`; it is said where that takes a while."""
        self._over.set()
        if not self._place:
            return
        self._thread.join(SAID_AFTER_S)
        if self._thread.is_alive():
            print(f"copying logs to {self._place}, for {LONGEST_S:g} s at most ...", flush=True)
            self._thread.join(LONGEST_S - SAID_AFTER_S)
        if self._thread.is_alive():
            log.warning("the newest logs are only in %s: %s takes them too slowly", self._folder, self._place)

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            self._copy()
        self._copy()

    def _copy(self) -> None:
        place = ""
        try:
            if place := self._of_experiment():
                if place != self._at:
                    self._copied.clear()
                self._copy_changed(join(place, self._folder.name))
                if place != self._at:
                    self._remove_old(place)
                self._at = place
        except (OSError, ConfigError) as error:  # a damaged record is reported elsewhere
            log.warning("logs are not copied to %s (%s)", place or self._place, first_line(error))

    def _of_experiment(self) -> str:
        """Where the logs of this experiment go; "" as long as it has no record. With `fresh=true` that is a new one."""
        folder = ExperimentFolder(self._experiment.folder)
        copies = folder.record().copies if folder.exists() else ""
        return join(self._place, f"{copies}-logs") if copies else ""

    def _copy_changed(self, place: str) -> None:
        left = PASS_BYTES
        files = [each for each in self._folder.rglob("*") if each.is_file() and not each.name.endswith(SUFFIX)]
        for file in sorted(files, key=self._turn):
            with contextlib.suppress(FileNotFoundError):  # of a node that was removed; set aside
                found = file.stat()
                if self._copied.get(file, ())[1:] == (found.st_size, found.st_mtime_ns):
                    continue
                if (left := left - found.st_size) < 0:
                    return
                self._storage.write(join(place, file.relative_to(self._folder).as_posix()), file.read_bytes())
                self._copied[file] = time.monotonic(), found.st_size, found.st_mtime_ns

    def _turn(self, file: Path) -> tuple[bool, float, Path]:
        """What the command printed, which is read first, then what waited for longest."""
        return file.name != "driver.log", self._copied[file][0] if file in self._copied else 0.0, file

    def _remove_old(self, place: str) -> None:
        """By their times: of an experiment that moved to another machine the numbers began anew."""
        found = {launch[0]: launch[1] for name, _ in self._storage.list(place, "") if (launch := _LAUNCH.match(name))}
        for old in sorted(found, key=lambda name: found[name])[: -self._most_launches]:
            self._storage.remove(join(place, old.rstrip("/")))
