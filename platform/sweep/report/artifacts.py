"""The artifacts of a sweep's MLflow run: tables, plots and an HTML page that holds them all.

In: a ranking with its trials and learning curves. Out: files in a folder, and metrics for MLflow.
"""

from datetime import UTC, datetime
from pathlib import Path

from platform.config.jobs import SweepConfig
from platform.sweep.report.html import Origin, page
from platform.sweep.report.importance import Importance, importance
from platform.sweep.report.outcome import Curves
from platform.sweep.report.plots import draw_curves, draw_front, draw_importance, draw_ranking
from platform.sweep.report.ranking import Ranking
from platform.sweep.report.table import csv_text, markdown
from platform.sweep.trial_store import TrialStore


def write(
    ranking: Ranking,
    store: TrialStore,
    curves: Curves,
    sweep: SweepConfig,
    name: str,
    folder: Path,
    date: datetime | None = None,
) -> list[Path]:
    """Write ranking.md, ranking.csv, report.html and the plots that have something to show.

    Args:
        ranking: of the sweep's points.
        store: the sweep's trials.
        curves: the learning curve of each trial, by its name.
        sweep: the sweep's settings.
        name: of the sweep.
        folder: to write into; is made.
        date: of the report; None: now.

    Returns:
        The paths of all files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shares = importance(store, curves)
    plots = _plots(ranking, shares, store, curves, folder)
    origin = Origin(name, sweep, date or datetime.now(UTC))
    texts = {
        "ranking.md": markdown(ranking),
        "ranking.csv": csv_text(ranking),
        "report.html": page(ranking, shares, store, origin, plots),
    }
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    return [folder / file for file in texts] + plots


def metrics(ranking: Ranking) -> dict[str, float]:
    """Metrics for the sweep's MLflow run; scores are 0 to 1. What is not known is left out.

    `best_top1` is of one view, `_low` and `_high` are the ends of its 95% interval over images, `_expected` is what is
    to be expected of it on new images. `best_lead` is over the next point, with its p on the same images (`_p`) and
    between seeds (`_p_seeds`), both corrected for all comparisons with the best (Holm); it has none over a point of
    one seed if it has several, as that is not ranked by its score.
    """
    best, second = ranking.best, ranking.points[1] if len(ranking.points) > 1 else None
    if best and second and second.n == 1 < best.n:
        second = None
    lead = second and second.images_best
    figures = {
        "best_top1": best and best.mean,
        "best_top1_low": best and best.interval and best.interval.low,
        "best_top1_high": best and best.interval and best.interval.high,
        "best_top1_expected": ranking.expected,
        "best_sd": best and best.sd,
        "best_seeds": best and best.n,
        "best_lead": ranking.lead if second else None,
        "best_lead_p": lead and lead.p_holm,
        "best_lead_p_seeds": second and second.p_best,
        "trials_finished": ranking.tally.finished,
        "trials_stopped": ranking.tally.stopped,
        "trials_diverged": ranking.tally.diverged,
        "trials_failed": ranking.tally.failed,
    }
    return {key: float(value) for key, value in figures.items() if value is not None}


def _plots(ranking: Ranking, shares: Importance, store: TrialStore, curves: Curves, folder: Path) -> list[Path]:
    """Draw the plots that have something to show; their paths."""
    paths: list[Path] = []
    if ranking.points:
        paths.append(folder / "ranking.png")
        draw_ranking(ranking, paths[-1])
    if any(curves.get(trial.name) for trial in store.trials):
        paths.append(folder / "curves.png")
        draw_curves(ranking, store, curves, paths[-1])
    if shares.shares:
        paths.append(folder / "importance.png")
        draw_importance(shares, paths[-1])
    if any(point.images_per_s is not None for point in ranking.front):
        paths.append(folder / "front.png")
        draw_front(ranking, paths[-1])
    return paths
