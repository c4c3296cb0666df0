"""What is told of networks as files: the table as Markdown and CSV, the picture as SVG.

In: networks. Out: `summary.md`, `summary.csv`, `network.svg` in a folder; of further networks with their names.
"""

from collections.abc import Mapping
from pathlib import Path

from platform.config.sections import Config
from platform.files import write_atomically
from platform.summary.network import Network, key_of
from platform.summary.picture.draw import picture_of
from platform.summary.speed import Speed
from platform.summary.table import csv_table, markdown_page


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
