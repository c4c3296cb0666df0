"""A task that kills the process that scores it, for tests of scoring elsewhere: workers import this module."""

import os
import signal

from platform.evaluation.blocks import Task


class DeadlyOnce(Task):
    """Kills the process that takes it for the first time."""

    @property
    def blocks(self) -> range:
        marker = self.members["0"].parent / "marker"
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().blocks
