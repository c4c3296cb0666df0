"""The two tables of the rivals as text: Markdown, as docs/comparison.md has them."""

from collections.abc import Mapping

from platform.bench.figures import number
from platform.bench.rivals import kills
from platform.bench.rivals.kills import Kills, Resumed
from platform.bench.rivals.loaders import LOADERS
from platform.bench.rivals.speed import Speed, middle

NONE = "-"  # what a loader does not have


def speed_table(speeds: Mapping[str, Speed], absent: Mapping[str, str]) -> list[str]:
    """Rows by images a CPU-second, the most first; those that were not measured last, with the reason."""
    lines = [
        "| loader | images a CPU-second | images/s, two workers | first batch, s | next batch after resuming, s "
        "| memory, MB | own format, s |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    measured = {name: found for name, found in speeds.items() if not found.failed}
    for name in sorted(measured, key=lambda name: -(middle(measured[name].images_per_cpu_s) or 0)):
        found = measured[name]
        cells = [found.images_per_cpu_s, found.images_per_s, found.first_batch_s, found.resume_s]
        values = [_cell(middle(cell)) for cell in cells] + [_cell(found.pss_mb), _cell(found.convert_s or None)]
        lines.append(f"| {_titled(name, found)} | {' | '.join(values)} |")
    failed = {name: found.failed for name, found in speeds.items() if found.failed}
    return lines + [_absent(name, reason, 6) for name, reason in (failed | dict(absent)).items()]


def exactness_table(found: Mapping[str, Kills], absent: Mapping[str, str]) -> list[str]:
    """What became of an epoch's samples; a loader that was not measured has the reason."""
    lines = [
        f"| loader | {kills.WORLD} → {kills.WORLD} ranks: missed | repeated | re-batched "
        f"| {kills.WORLD} → {kills.OTHER_WORLD} ranks: missed | repeated | re-batched | remark |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, result in found.items():
        if result.failed or not (result.same and result.other):
            lines.append(_absent(name, result.failed, 7))
            continue
        cells = [*_counts(result.same), *_counts(result.other), _remark(result)]
        lines.append(f"| {LOADERS[name].title} | {' | '.join(cells)} |")
    return lines + [_absent(name, reason, 7) for name, reason in absent.items()]


def _counts(resumed: Resumed) -> list[str]:
    counts = resumed.exactness
    return [f"{each:,}" for each in (counts.missed, counts.repeated, counts.rebatched)]


def _remark(result: Kills) -> str:
    """Why epochs started anew, once where it is the same reason."""
    assert result.same
    assert result.other
    same, other = result.same.how, result.other.how
    remarks = [same] if same == other else [f"{text} ({ranks})" for text, ranks in _named(same, other) if text]
    return "; ".join(_plain(text) for text in [*filter(None, remarks), *result.notes])


def _named(same: str, other: str) -> list[tuple[str, str]]:
    return [(same, f"{kills.WORLD} ranks"), (other, f"{kills.OTHER_WORLD} ranks")]


def _titled(name: str, found: Speed) -> str:
    return f"{LOADERS[name].title} {found.version}".strip() if LOADERS[name].module else LOADERS[name].title


def _absent(name: str, reason: str, cells: int) -> str:
    return f"| {LOADERS[name].title} | not measured: {_plain(reason)} |{' |' * (cells - 1)}"


def _cell(value: float | None) -> str:
    return NONE if value is None else number(value)


def _plain(text: str) -> str:
    """Without what ends a cell or a line."""
    return " ".join(text.replace("|", "/").split())
