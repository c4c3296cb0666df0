"""What is told of networks as files: the table as Markdown and CSV, the picture as SVG.

In: networks. Out: `summary.md`, `summary.csv`, `network.svg` in a folder; of further networks with their names.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from platform.config.sections import Config
from platform.daemon_thread import DaemonThread
from platform.files import write_atomically
from platform.summary.network import Network, key_of, known_network
from platform.summary.picture.draw import picture_of
from platform.summary.speed import Speed
from platform.summary.table import csv_table, markdown_page

log = logging.getLogger("platform")
PATIENCE_S = 60.0


def different(members: Mapping[str, Config]) -> dict[str, str]:
    """Which network each member has: member -> the first member of the same one."""
    first: dict[str, str] = {}
    return {name: first.setdefault(key_of(config), name) for name, config in members.items()}


def write_summary(network: Network, folder: Path, name: str = "", speed: Speed | None = None) -> list[Path]:
    """Write the files of a network.

    Args:
        network: to tell of.
        folder: is made if it is not there.
        name: behind the names of the files, of a network that is not the only one.
        speed: as measured; None: it was not.
    """
    suffix = f"-{name}" if name else ""
    contents = {
        f"summary{suffix}.md": markdown_page(network, speed),
        f"summary{suffix}.csv": csv_table(network),
        f"network{suffix}.svg": picture_of(network).file,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        write_atomically(folder / file, content)
    return [folder / file for file in contents]


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
        firsts = different(self.members)
        for place, first in enumerate(dict.fromkeys(firsts.values())):
            config = self.members[first]
            network = known_network(config)
            self.files += write_summary(network, self.folder, first if place else "")
            self.figures |= {name: network.figures() for name, same in firsts.items() if same == first}
