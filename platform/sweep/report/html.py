"""The report as one HTML page that needs nothing else: its plots are part of it, and it loads and runs nothing.

In: a ranking, importances, plots, where they come from. Out: HTML, by `report.html.jinja`, with all text from outside
escaped. MLflow's artifact viewer shows it.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from platform.config.jobs import SweepConfig
from platform.report.frame import template
from platform.sweep.report.importance import Importance
from platform.sweep.report.ranking import Ranking
from platform.sweep.report.table import cells, column_names, footnotes, left_out, table_lines, title
from platform.sweep.report.verdict import cautions, verdict
from platform.sweep.trial_store import TrialStore

TEMPLATE = Path(__file__).with_name("report.html.jinja")
CAPTIONS = {
    "ranking.png": "Scores",
    "curves.png": "Learning curves",
    "importance.png": "Importance of the keys",
    "front.png": "Top-1 against training speed",
}


@dataclass(frozen=True)
class Origin:
    """Where the figures come from."""

    name: str  # of the sweep
    sweep: SweepConfig
    date: datetime


@dataclass(frozen=True)
class Column:
    """Of the table of points. `kind` is a CSS class: figure, value, ended or none."""

    name: str
    kind: str


@dataclass(frozen=True)
class Row:
    """A point in the table. `kind` is a CSS class: contender, rest or none."""

    kind: str
    cells: list[str]


@dataclass(frozen=True)
class Plot:
    """A PNG as part of the page."""

    caption: str
    base64: str


def page(ranking: Ranking, shares: Importance, store: TrialStore, origin: Origin, plots: list[Path]) -> str:
    """The page as HTML: the verdict first, then what it rests on. `plots` are PNG files of the names in `CAPTIONS`."""
    drawn = {path.name: Plot(CAPTIONS[path.name], base64.b64encode(path.read_bytes()).decode()) for path in plots}
    return template(TEMPLATE).render(
        name=origin.name,
        verdict=verdict(ranking),
        has_seeds=ranking.has_seeds,
        cautions=cautions(ranking),
        title=title(ranking),
        columns=list(_columns(ranking)),
        rows=list(_rows(ranking)),
        footnotes=[*left_out(ranking), *footnotes(ranking)],
        importance=shares,
        importance_plot=drawn.pop("importance.png", None),
        plots=list(drawn.values()),
        space={key: _json(values) for key, values in origin.sweep.space.items()},
        provenance=_provenance(ranking, store, origin),
    )


def _columns(ranking: Ranking) -> Iterator[Column]:
    names, keys = column_names(ranking), len(ranking.keys)
    kinds = ["figure", "", *["value"] * keys, *["figure"] * (len(names) - keys - 3), "ended"]
    return map(Column, names, kinds)


def _rows(ranking: Ranking) -> Iterator[Row]:
    contenders = {point.name for point in ranking.contenders} if ranking.is_tested else set[str]()
    for line in table_lines(ranking):
        kind = "contender" if line.name in contenders else "" if line.rank else "rest"
        yield Row(kind, cells(line, ranking))


def _provenance(ranking: Ranking, store: TrialStore, origin: Origin) -> dict[str, str]:
    sweep = origin.sweep
    return {
        "sweep": origin.name,
        "report of": origin.date.strftime("%Y-%m-%d %H:%M %Z").strip(),
        "commit": store.commit or "unknown",
        "groups": _json(store.choices),
        "search": f"{sweep.search}, scheduler {sweep.scheduler}, seed of the search {sweep.seed}",
        "objectives": ", ".join(ranking.objectives),
        "seeds": f"{sweep.seeds} a point, added to the experiment's seed ({store.base.get('seed', 'unknown')})",
        "trials": f"{ranking.tally} of {len(store.trials)}",
        "validation images": f"{ranking.val_samples:,}",
        "noise between seeds": _noise(ranking),
    }


def _noise(ranking: Ranking) -> str:
    if not ranking.noise.freedom:
        return "unknown: one seed a point"
    return (
        f"sd {100 * ranking.noise.sd:.2f} points, pooled over all points ({ranking.noise.freedom} degrees of freedom)"
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
