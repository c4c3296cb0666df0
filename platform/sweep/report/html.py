"""The report as one HTML page that needs nothing else: its pictures are part of it, and it loads and runs nothing.

In: a ranking, importances, pictures, where it comes from. Out: HTML, with all text from outside escaped. MLflow's
artifact viewer shows it.
"""

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path

from platform.config.jobs import SweepConfig
from platform.sweep.report.importance import Importance
from platform.sweep.report.ranking import Ranking
from platform.sweep.report.table import Line, cells, column_names, footnotes, table_lines, title
from platform.sweep.trial_store import TrialStore
from platform.text import printable

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.verdict { border-left: 4px solid #0072b2; background: #eef5fa; padding: .8rem 1rem; font-size: 1.05rem; }
.caution { border-left: 4px solid #e69f00; background: #fdf6e7; padding: .4rem 1rem; margin: .5rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #999; white-space: nowrap; }
td.figure, th.figure { text-align: right; white-space: nowrap; }
td.value { max-width: 16rem; overflow-wrap: break-word; } td.ended { min-width: 12rem; overflow-wrap: break-word; }
tr.contender { background: #eef5fa; } tr.rest { color: #777; }
img { max-width: 100%; } .note { color: #555; font-size: .87rem; margin: .3rem 0; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem 1.5rem; overflow-wrap: anywhere; }
"""

HOW_TO_READ = {
    "top-1 %": "The mean over the finished seeds of a point, of the validation score at the end of the training (one "
    "view of each image). In brackets: the score where a training ended early, which does not compare with the others.",
    "± sd": "The standard deviation between the seeds of a point: how far another training of it would typically lie "
    "from the mean. Not an error of the mean.",
    "p": "How often two points that are really equal would differ so much through their seeds alone (t-test with the "
    "variance of all points pooled, assumed to be the same at all of them). Below 0.05 the difference counts as more "
    "than noise; one in twenty equal pairs does so by chance. Each line is compared with the line above.",
    "contenders (*)": "Points that cannot be told apart from the best when all comparisons with it are counted in "
    "(Holm). To choose among them by score is to choose by luck: take the cheapest, or train more seeds.",
    "best of many": "The best of several points has had some luck, too: expect a new training of it to score somewhat "
    "lower. With one seed a point the luck can be all there is.",
    "stopped": "Ended early by the scheduler, as others did better up to then. Its final score is unknown; it might "
    "have caught up. Failed: ended by an error.",
}
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


def page(ranking: Ranking, shares: Importance, store: TrialStore, origin: Origin, pictures: list[Path]) -> str:
    """The verdict first, then what it rests on."""
    heading = escape(printable(f"Sweep {origin.name}"))
    cautions = [f'<p class="caution">{_text(caution)}</p>' for caution in ranking.cautions]
    parts = [
        f"<h1>{heading}</h1>",
        f'<p class="verdict">{_text(ranking.verdict)}</p>',
        *cautions,
        "<h2>Ranking</h2>",
        *_table(ranking),
        *(_picture(path) for path in pictures if path.name != "importance.png"),
        *_importance(shares, pictures),
        "<h2>How to read it</h2>",
        _definitions(HOW_TO_READ),
        "<h2>Space</h2>",
        _definitions({key: _json(values) for key, values in origin.sweep.space.items()}),
        "<h2>Where it comes from</h2>",
        _definitions(_provenance(ranking, store, origin)),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _table(ranking: Ranking) -> list[str]:
    names, keys = column_names(ranking), len(ranking.keys)
    kinds = ["figure", "", *["value"] * keys, *["figure"] * (len(names) - keys - 3), "ended"]
    head = "".join(f'<th class="{kind}">{_text(name)}</th>' for kind, name in zip(kinds, names, strict=True))
    body = [_row(line, kinds, ranking) for line in table_lines(ranking)]
    return [
        f'<p class="note">{_text(title(ranking))}</p>',
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>',
        *body,
        "</tbody></table></div>",
        *(f'<p class="note">{_text(note)}</p>' for note in footnotes(ranking)),
    ]


def _row(line: Line, kinds: list[str], ranking: Ranking) -> str:
    contender = ranking.noise.freedom > 0 and line.name in {point.name for point in ranking.contenders}
    kind = "contender" if contender else "" if line.rank else "rest"
    row = zip(kinds, cells(line, ranking), strict=True)
    return f'<tr class="{kind}">' + "".join(f'<td class="{kind}">{_text(cell)}</td>' for kind, cell in row) + "</tr>"


def _importance(shares: Importance, pictures: list[Path]) -> list[str]:
    """The picture with its caution, or why there is none."""
    if shares.reason:
        return ["<h2>Importance of the keys</h2>", f'<p class="note">Not known: {_text(shares.reason)}.</p>']
    caution = [f'<p class="caution">{_text(shares.caution)}</p>'] if shares.caution else []
    return [
        *(_picture(path) for path in pictures if path.name == "importance.png"),
        *caution,
        '<p class="note">Of what single keys explain of the differences between finished trials (functional ANOVA on '
        "a random forest). It tells which key mattered over the values that were tried, not which value is best.</p>",
    ]


def _picture(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    caption = CAPTIONS[path.name]
    return f'<h2>{caption}</h2>\n<img alt="{caption}" src="data:image/png;base64,{data}">'


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


def _definitions(entries: dict[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{_text(key)}</dt><dd>{_text(text)}</dd>" for key, text in entries.items()) + "</dl>"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _text(text: str) -> str:
    return escape(printable(text))
