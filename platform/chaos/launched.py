"""An experiment launched in a process of its own, which can be killed and launched again, and watched from outside.

In: the overrides of its command line. Out: its exit status, and where its workers are.
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
    """An entry of `live.json`."""

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
        overrides: of the command line, `name=` among them.
        folder: of the experiment, `output_dir/NAME`.
        environment: added to this process's.
        log: gets what it prints.
    """

    def __init__(self, overrides: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> None:
        self.overrides, self.folder, self.log = list(overrides), folder, log
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._environment = os.environ | {"PYTHONPATH": path, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self.pids: list[int] = []  # of its launchers, all that there were

    def start(self, *more: str) -> None:
        """Launch it, or launch it again, with more overrides for this time."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "platform.launch", *self.overrides, *more],
                env=self._environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.pids.append(self._process.pid)

    @property
    def pid(self) -> int:
        """Process id of the newest launcher."""
        assert self._process
        return self._process.pid

    def kill(self) -> None:
        """Kill the launcher alone, without what it has started."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def status(self) -> int | None:
        """The launcher's exit status; None while it runs."""
        return self._process.poll() if self._process else None

    def wait(self, limit_s: float | None = None) -> int:
        """Wait for the launcher's end and return its exit status; subprocess.TimeoutExpired after `limit_s` seconds."""
        assert self._process
        return self._process.wait(limit_s)

    def end(self) -> None:
        """Kill all launchers and what they have started, if anything is left."""
        for pid in self.pids:
            session.kill(pid)
        if self._process:
            self._process.wait()

    def workers(self) -> list[LiveWorker]:
        """The workers in `live.json`; none where there is no such file."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            found: list[dict[str, Any]] = json.loads((self.folder / "live.json").read_text())
            return [LiveWorker(**worker) for worker in found]
        return []

    def training(self) -> list[LiveWorker]:
        """The workers that are computing a step now."""
        return [worker for worker in self.workers() if worker.doing == COMPUTING and time.time() - worker.at < 5]

    def attempts(self) -> dict[str, list[Attempt]]:
        """The log of attempts of each member that was ever started."""
        folders = sorted((self.folder / "members").glob("*"))
        return {folder.name: read_attempts(folder) for folder in folders}

    def steps_done(self) -> int:
        """Steps done over all members, each counted up to its furthest step."""
        of_each = (attempts for attempts in self.attempts().values())
        return sum(max((attempt.reached for attempt in attempts), default=0) for attempts in of_each)

    def next_step_after(self, struck_at: float, member: str) -> float | None:
        """Time of the first step of a member's attempts that started after `struck_at`; None: none yet.

        Both are seconds since the epoch.
        """
        firsts = [
            attempt.first_step_at
            for attempt in self.attempts().get(member, [])
            if attempt.started > struck_at and attempt.first_step_at
        ]
        return min(firsts, default=None)
