"""The stages of a network as a table: for a terminal of 100 columns, as Markdown, as CSV.

In: a network. Out: text.
"""

import csv
import io
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from platform.evaluation.text_table import markdown
from platform.summary.branches import series_of, text_of
from platform.summary.layers import CONV, POOL
from platform.summary.network import Network
from platform.summary.repeats import Group, groups_of
from platform.summary.speed import Speed
from platform.summary.stages import Stage

WIDTH = 100  # columns of a terminal
HEADS = ("stage", "layers", "output", "depth", "parameters", "mult-adds", "memory", "field")
COLUMNS = (
    "stage", "module", "layers", "output", "depth", "parameters", "weights", "multiply_adds", "activation_bytes",
    "receptive_field", "auxiliary",
)  # fmt: skip
NOTES = (
    "layers: channels or features of each; | side by side, concatenated; + added; * multiplied; skip: the input.",
    "depth: layers with weights, one after the other. mult-adds: for an image, biases left out.",
    "memory: what training keeps of an image for the backward pass, in float32.",
    "field: pixels each way that a value depends on through windows, beyond the image's edge too.",
)
NO_PIXELS = {"all": "the whole image, by attention or other layers over all places", "?": "not followed"}


def lines(network: Network, speed: Speed | None = None) -> list[str]:
    """The table for a terminal."""
    text = io.StringIO()
    console = Console(file=text, width=WIDTH, color_system=None, highlight=False, markup=False)
    console.print(headline(network))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in HEADS:
        is_text = head in HEADS[:2]
        table.add_column(Text(head), justify="left" if is_text else "right", no_wrap=True, overflow="ellipsis")
    names, layers = table.columns[:2]
    names.max_width, names.no_wrap, names.overflow = 22, False, "fold"
    layers.no_wrap, layers.overflow = False, "fold"
    for group in groups_of(network.stages):
        table.add_row(*map(Text, cells(group)))
    table.add_section()
    table.add_row(*map(Text, sums(network)))
    console.print(table)
    for note in (*NOTES, *own_notes(network, speed)):
        console.print(note)
    return [line.rstrip() for line in text.getvalue().rstrip().splitlines()]


def markdown_page(network: Network, speed: Speed | None = None) -> str:
    """The same as Markdown."""
    rows = [list(HEADS), *map(cells, groups_of(network.stages)), sums(network)]
    escaped = [[cell.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_") for cell in row] for row in rows]
    parts = [f"# {network.label}", headline(network), markdown(escaped, text_columns=(0, 1))]
    return "\n\n".join([*parts, *NOTES, *own_notes(network, speed)]) + "\n"


def csv_table(network: Network) -> str:
    """Every stage with whole numbers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for stage in network.stages:
        figures = [stage.depth, stage.parameters, stage.weights, stage.multiply_adds, round(stage.activation_bytes)]
        where = [stage.name, stage.kind, layers_text(stage), shape_text(stage.shape)]
        writer.writerow([*where, *figures, field_text(stage), "yes" if stage.is_auxiliary else "no"])
    return text.getvalue()


def headline(network: Network) -> str:
    """What it is in a line."""
    size = network.image_size
    pools = network.depth_with_pools != network.depth
    return (
        f"{network.label}, images of {size}x{size}, {network.classes:,} classes: {network.depth} layers deep"
        f"{f' ({network.depth_with_pools} with poolings)' * pools}, {count(network.parameters)} parameters, "
        f"{count(network.multiply_adds)} multiply-adds"
    )


def cells(group: Group) -> list[str]:
    """A row of the table: a stage, or several that look alike, with what all of them cost."""
    stage, times = group.first, len(group.stages)
    layers = layers_text(stage)
    return [
        group.name + ("*" if stage.is_auxiliary else ""),
        layers if times == 1 else f"{times} x [{layers}]",
        shape_text(stage.shape),
        str(stage.depth * times) if stage.depth else "",
        f"{group.parameters:,}" if group.parameters else "",
        count(group.multiply_adds) if group.multiply_adds else "",
        bytes_text(group.activation_bytes),
        field_text(group.last),
    ]


def layers_text(stage: Stage) -> str:
    """`conv 7x7/2, 64` of one layer, the widths of several."""
    if len(stage.layers) != 1:
        return text_of(series_of(stage.layers))
    layer = stage.layers[0]
    if layer.kind == POOL:
        return layer.what.replace("max", "max pool").replace("avg", "average pool")
    return f"{'conv ' * (layer.kind == CONV)}{layer.what}, {layer.width}"


def shape_text(shape: Sequence[int]) -> str:
    """`28x28x256` of maps as papers have it, `197x768` of tokens, `1000` of features."""
    if len(shape) != 3:
        return "x".join(map(str, shape))
    channels, height, width = shape
    return f"{height}x{width}x{channels}"


def count(number: float) -> str:
    """`163 K`, `13.4 M`, `1.58 G`: three digits."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if number >= limit * 0.9995:
            value = number / limit
            return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {unit}"
    return str(round(number))


def bytes_text(size: float) -> str:
    """`3.76 MB`, of 1e6 bytes; `4 kB`; nothing for less."""
    if size < 500:
        return ""
    if size < 0.1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.2f} MB" if size < 99.995e6 else f"{size / 1e6:,.0f} MB"


def field_text(stage: Stage) -> str:
    """The receptive field of a stage's output, in pixels."""
    return stage.receptive_field.text if stage.receptive_field else "?"


def sums(network: Network) -> list[str]:
    """The last row of the table: all stages together."""
    costs = [f"{network.parameters:,}", count(network.multiply_adds), bytes_text(network.activation_bytes)]
    return ["all", "", "", str(network.depth), *costs, ""]


def own_notes(network: Network, speed: Speed | None = None) -> list[str]:
    """What signs in a network's table mean, and what the table does not say of it; besides NOTES."""
    said: list[str] = []
    fields = {field_text(stage) for stage in network.stages}
    if words := [f"{sign}: {why}" for sign, why in NO_PIXELS.items() if sign in fields]:
        said.append(f"field, {'; '.join(words)}.")
    if network.auxiliary:
        parameters = sum(stage.parameters for stage in network.auxiliary)
        said.append(
            f"*: auxiliary heads, in training only: {count(parameters)} of the parameters; their multiply-adds are not "
            "in the sum, nor are they in the depth."
        )
    said.append(f"Weights of inference, as papers count them, without biases and normalisation: {network.weights:,}.")
    if network.unused:
        said.append(f"{network.unused:,} parameters are used by no stage.")
    if speed:
        said.append(f"Measured here: {speed.text}.")
    return said
