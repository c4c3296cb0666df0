"""The table of rows as text: cells for a terminal, Markdown and the page, lines of `table.csv`, and what it says in
sentences.

In: a `RowTable`. Out: text. The first sentence is the answer: which row is better than which, or that one cannot tell
them apart and what that would take.
"""

from collections.abc import Iterator

from platform.evaluation.member_table import short_p
from platform.evaluation.rows import Against, RowTable, TableRow
from platform.evaluation.statistics.paired import p_text
from platform.evaluation.statistics.power import images_needed, seeds_needed
from platform.evaluation.verdict import interval_text, sureness

NAMED = 6  # comparisons that are told one by one
CSV_HEADINGS = (
    "row", "seeds", "crops", "top1_error", "top1_error_low", "top1_error_high", "top1_error_sd", "top5_error", "loss",
    "against", "difference", "difference_low", "difference_high", "p_images", "p_images_holm", "p_seeds",
    "p_seeds_holm", "paper_top1_error", "paper_top5_error", "paper_multiply_adds",
)  # fmt: skip
INTERVAL = "95% interval: of the top-1 error over images, Wilson's; of the mean of several seeds a bootstrap's."
DIFFERENCE = "better: points of top-1 by which a row is better than {other}."
P_IMAGES = "p: of that difference over images, {test} test, with Holm's correction over the rows."
P_SEEDS = "p seeds: of that difference over seeds, t-test with one variance for all rows, with Holm's correction."
PAPER = "paper: its errors, on its images; x10^9: its multiply-adds of an image, in billions."


def headings(table: RowTable) -> list[str]:
    """The heads of the columns that `cells` fills; a column that no row fills is left out."""
    return [head for head, _ in _columns(table)]


def cells(row: TableRow, table: RowTable) -> list[str]:
    """A row as text."""
    number = table.rows.index(row)
    return [column[number] for _, column in _columns(table)]


def _columns(table: RowTable) -> list[tuple[str, list[str]]]:
    several = any(row.sd is not None for row in table.rows)
    found = [("row", [row.name for row in table.rows])]
    if several:
        found.append(("seeds", [str(len(row.members)) for row in table.rows]))
    found.append(("top-1 error", [f"{100 * row.top1_error:.2f}%" for row in table.rows]))
    found.append(("95% interval", [interval_text(row.interval) for row in table.rows]))
    if several:
        found.append(("sd", [f"{100 * row.sd:.2f}" if row.sd is not None else "" for row in table.rows]))
    found.append(("top-5 error", [f"{100 * row.top5_error:.2f}%" for row in table.rows]))
    against = [row.against for row in table.rows]
    found.append(("better", [f"{100 * each.images.difference:+.2f}" if each else "" for each in against]))
    found.append(("p", [short_p(each.images.p_holm) if each else "" for each in against]))
    if several:
        found.append(("p seeds", [_seeds_p(each) for each in against]))
    papers = [row.paper for row in table.rows]
    found.append(("paper top-1", [_error(each.top1_error) for each in papers]))
    found.append(("paper top-5", [_error(each.top5_error) for each in papers]))
    found.append(("x10^9", [f"{each.multiply_adds:g}" if each.multiply_adds else "" for each in papers]))
    return [(head, column) for head, column in found if any(column)]


def _error(share: float | None) -> str:
    return f"{100 * share:.2f}%" if share is not None else ""


def _seeds_p(against: Against | None) -> str:
    return short_p(against.seeds_p_holm) if against and against.seeds_p_holm is not None else ""


def csv_rows(table: RowTable) -> Iterator[list[object]]:
    """The head and lines of `table.csv`, unrounded; errors and differences are shares of one."""
    yield list(CSV_HEADINGS)
    for row in table.rows:
        own = [row.top1_error, row.interval.low, row.interval.high, row.sd, row.top5_error, row.loss]
        found: list[object] = [None] * 8
        if against := row.against:
            images = against.images
            found = [against.other, images.difference, images.interval.low, images.interval.high, images.p]
            found += [images.p_holm, against.seeds_p, against.seeds_p_holm]
        paper = [row.paper.top1_error, row.paper.top5_error, row.paper.multiply_adds]
        yield [row.name, len(row.members), table.views, *own, *found, *paper]


def notes(table: RowTable) -> list[str]:
    """What the columns mean."""
    against = [row.against for row in table.rows if row.against]
    is_ladder = len({each.other for each in against}) > 1
    found = [INTERVAL, DIFFERENCE.format(other="the row above" if is_ladder else against[0].other)] if against else []
    found += [P_IMAGES.format(test=against[0].images.test)] if against else []
    found += [P_SEEDS] if any(each.seeds_p is not None for each in against) else []
    return [*found, PAPER] if "paper top-1" in headings(table) or "paper top-5" in headings(table) else found


def verdict(table: RowTable) -> str:
    """Which rows are better or worse than those that they are compared with, and which one cannot tell apart."""
    if not table.samples:
        return "No image can be decoded, so that nothing can be said."
    compared = [(row, row.against) for row in table.rows if row.against]
    if not compared:
        only = table.rows[0]
        return f"Only {only.name} is finished: top-1 error {100 * only.top1_error:.2f}%."
    told = [_told(row, against, table) for row, against in compared if against.is_significant]
    open_ = [(row, against) for row, against in compared if not against.is_significant]
    sentences = told[:NAMED] + ([f"{len(told) - NAMED} more rows differ beyond noise."] if len(told) > NAMED else [])
    if open_:
        listed = "; ".join(_undecided(row, against, table) for row, against in open_[:NAMED])
        more = f"; and {len(open_) - NAMED} more" if len(open_) > NAMED else ""
        sentences.append(f"One cannot tell apart {listed}{more}.")
    return " ".join([*sentences, *_one_seed(table)])


def _told(row: TableRow, against: Against, table: RowTable) -> str:
    images, crops = against.images, f"{table.views} crop{'s' * (table.views > 1)}"
    how = "better" if images.difference > 0 else "worse"
    points = f"{100 * abs(images.difference):.2f} points of top-1 with {crops}"
    over = f"; over seeds t-test p {p_text(against.seeds_p_holm)}" if against.seeds_p_holm is not None else ""
    return f"{row.name} is {how} than {against.other} by {points} ({sureness(images)}{over})."


def _undecided(row: TableRow, against: Against, table: RowTable) -> str:
    """`B and A (+0.30 points, p = 0.60; about 9,000 images would be needed)`."""
    images = against.images
    if not images.differ:
        return f"{row.name} and {against.other} (right on the same images)"
    largest = max(images.p_holm, against.seeds_p_holm or 0.0)
    return (
        f"{row.name} and {against.other} ({100 * images.difference:+.2f} points, p {p_text(largest)}"
        f"{_needed(against, table)})"
    )


def _needed(against: Against, table: RowTable) -> str:
    """What would tell them apart if the difference is what it seems: more images, or more seeds."""
    images, wanted = against.images, []
    if not images.is_significant:
        comparisons = sum(row.against is not None for row in table.rows)
        count = images_needed(images.square, images.difference, comparisons)
        wanted += [f"{count:,} images"] if count and count > images.samples else []
    if against.seeds_p_holm is not None and not against.is_significant:
        count = seeds_needed(table.noise.sd, images.difference)
        wanted += [f"{count:,} seeds"] if count and count > max(len(row.members) for row in table.rows) else []
    return f"; about {' and '.join(wanted)} would be needed" if wanted else ""


def _one_seed(table: RowTable) -> list[str]:
    if table.noise.freedom:
        return []
    return [
        "One training stands for each row: another seed may change this, and table.seeds=3 under another name would "
        "show by how much."
    ]
