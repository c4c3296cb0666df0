"""An experiment launched in a process of its own, which can be killed and launched again, and watched from outside.

In: the words of its command line. Out: its exit status, and where its workers are.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platform.chaos import session
from platform.checkout import ROOT
from platform.experiment.goodput import Attempt, read_attempts
from platform.training.progress import COMPUTING


@dataclass(frozen=True)
class LiveWorker:
    """A line of `live.json`."""

    member: str
    rank: int
    node: str
    node_id: str
    pid: int
    step: int
    doing: str
    at: float


class Launched:
    """One experiment under `python -m platform.launch`.

    Args:
        words: of the command line, `name=` among them.
        folder: of the experiment, `output_dir/NAME`.
        environment: added to this process's.
        log: gets what it prints.
    """

    def __init__(self, words: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> None:
        self.words, self.folder, self.log = list(words), folder, log
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._environment = os.environ | {"PYTHONPATH": path, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self.pids: list[int] = []  # of its launchers, all that there were

    def start(self, *more: str) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "platform.launch", *self.words, *more],
                env=self._environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.pids.append(self._process.pid)

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def kill(self) -> None:
        """The launcher alone; what it started has to see to itself."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll() if self._process else None

    def wait(self, limit_s: float | None = None) -> int:
        assert self._process
        return self._process.wait(limit_s)

    def end(self) -> None:
        """End it and all that came of it, if anything is left."""
        for pid in self.pids:
            session.kill(pid)
        if self._process:
            self._process.wait()

    def workers(self) -> list[LiveWorker]:
        with contextlib.suppress(OSError, ValueError, TypeError):
            found: list[dict[str, Any]] = json.loads((self.folder / "live.json").read_text())
            return [LiveWorker(**worker) for worker in found]
        return []

    def training(self) -> list[LiveWorker]:
        """The workers that compute now."""
        return [worker for worker in self.workers() if worker.doing == COMPUTING and time.time() - worker.at < 5]

    def attempts(self) -> dict[str, list[Attempt]]:
        """Of each member that was ever started."""
        folders = sorted((self.folder / "members").glob("*"))
        return {folder.name: read_attempts(folder) for folder in folders}

    def steps_done(self) -> int:
        """Over all members, each counted as far as it ever came."""
        of_each = (attempts for attempts in self.attempts().values())
        return sum(max((attempt.reached for attempt in attempts), default=0) for attempts in of_each)

    def next_step_after(self, moment: float, member: str) -> float | None:
        """When a member's first attempt that began after `moment` came to its first step; None: not yet."""
        firsts = [
            attempt.first_step_at
            for attempt in self.attempts().get(member, [])
            if attempt.started > moment and attempt.first_step_at
        ]
        return min(firsts, default=None)
