"""What the networks are made of: for each the stages with their costs as a table, and the picture.

In: members. Out: a section with a part for each network that differs.
"""

from collections.abc import Mapping
from dataclasses import replace

from platform.config.sections import Config
from platform.report.section import Picture, Section, Table
from platform.summary.files import different
from platform.summary.network import Network, known_network
from platform.summary.picture.draw import picture_of
from platform.summary.repeats import groups_of
from platform.summary.table import HEADS, NOTES, cells, own_notes, sums

TITLE = "Networks"
NAMED = 3  # members in the title of their network
MOST = 1_500_000  # characters of all pictures: the page stays one that can be sent


def section(members: Mapping[str, Config]) -> Section:
    """The section of the networks; of a single one without a title of its own.

    Args:
        members: with their configs.

    Raises:
        ConfigError: there is no such network any more, or it does not take the images.
    """
    firsts, parts, room, left_out = different(members), [], MOST, []
    for first in dict.fromkeys(firsts.values()):
        title = _title([name for name, same in firsts.items() if same == first])
        part = _part(title, f"network-{first}" if parts else "network", known_network(members[first]))
        room -= sum(len(picture.drawing.markup) for picture in part.pictures)
        if room < 0:
            left_out.append(title)
            part = replace(part, pictures=[], notes=[f"{part.pictures[0].drawing.title}.", *part.notes])
        parts.append(part)
    notes = [" ".join(NOTES)]
    if left_out:
        lost = "; ".join(left_out)
        notes.append(f"Too large for this page, and in the folder summary beside it: the picture(s) of {lost}.")
    if len(parts) > 1:
        return Section("networks", TITLE, notes, parts=parts)
    return replace(parts[0], anchor="networks", title=TITLE, notes=[*parts[0].notes, *notes])


def _title(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _part(title: str, file: str, network: Network) -> Section:
    rows = [*map(cells, groups_of(network.stages)), sums(network)]
    table = Table(HEADS, rows, words=(0, 1), strong=(len(rows) - 1,))
    return Section(
        "", title, [" ".join(own_notes(network))], [table], [Picture(file, picture_of(network))], stacked=True
    )
