"""The networks of an experiment, told of as files while its members train.

In: the members' configs. Out: files and figures, from a daemon thread, which imports torch: whoever only launches
members does not wait for that.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from platform.config.sections import Config
from platform.daemon_thread import DaemonThread

log = logging.getLogger("platform")
PATIENCE_S = 60.0


@dataclass
class Summaries:
    """The networks of an experiment, told of by a daemon thread while its members train; a run does not fail for it."""

    members: Mapping[str, Config]
    folder: Path  # for the files
    files: list[Path] = field(default_factory=list)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)  # of each member's network
    _thread: DaemonThread | None = None

    def start(self) -> None:
        """Begin, unless that is done."""
        self._thread = self._thread or DaemonThread("summary", self._tell)

    def wait(self) -> None:
        """Until everything is told; what is missing then was said in a line."""
        self.start()
        assert self._thread is not None
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            log.warning("the summary of the network takes too long (%s); left out", self._thread.where())

    def _tell(self) -> None:
        from platform.summary.files import different, write_summary
        from platform.summary.network import known_network

        firsts = different(self.members)
        for place, first in enumerate(dict.fromkeys(firsts.values())):
            config = self.members[first]
            network = known_network(config)
            self.files += write_summary(network, self.folder, first if place else "")
            self.figures |= {name: network.figures() for name, same in firsts.items() if same == first}
