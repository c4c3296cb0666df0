"""`job=promote`: the best points of a sweep as an experiment of their own, `conf/experiment/NAME.yaml`.

In: a sweep's folder (its trials, learning curves and, for `promote.choose=greedy`, probabilities). Out: the file, and
on the terminal what was chosen and why. Nothing is trained; neither Ray nor MLflow is used.
"""

import io
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from platform.checkout import ROOT
from platform.config.checks import ConfigError, NotComposed, require
from platform.config.evaluation import TOP
from platform.config.experiment import Composer, Experiment
from platform.config.jobs import PromoteConfig
from platform.evaluation.metrics import Scores
from platform.evaluation.report import percent
from platform.evaluation.seal import is_complete, kept_as
from platform.evaluation.statistics.intervals import Interval, wilson
from platform.evaluation.verdict import interval_text
from platform.experiment.folder import ExperimentFolder
from platform.files import write_atomically
from platform.sweep.promote import selection
from platform.sweep.promote.experiment_file import Sweep, experiment_text
from platform.sweep.report.over_images import interval_of, right_of
from platform.sweep.report.ranking import outcomes
from platform.sweep.report.right_images import right_images
from platform.sweep.trial_store import FILE, FINISHED, Trial, TrialStore, name_of
from platform.tracking.lineage import run_of
from platform.training import learning_curve

if TYPE_CHECKING:
    from platform.evaluation.probabilities import MemberProbabilities
    from platform.sweep.promote.greedy import Addition, Selection

GREEDY_MOST, GREEDY_MEMORY = 200, 4 * 10**9  # points and bytes: each point is tried at each addition, and is in memory
EXPERIMENTS = ROOT / "conf" / "experiment"


@dataclass(frozen=True)
class Winner:
    """A point with finished trials. The first of them is the one that the experiment repeats."""

    trial: Trial
    top1: list[float]  # of each finished seed, at the end of the training, 0 to 1, single view
    interval: Interval | None = None  # of their mean over images; None: not known

    @property
    def mean(self) -> float:
        return statistics.fmean(self.top1)

    @property
    def text(self) -> str:
        """`97.93% ± 0.21 (3 seeds, 95% CI 96.10 to 98.70%)`: mean and standard deviation over seeds, and the interval
        over images."""
        interval = f", 95% CI {interval_text(self.interval)}" if self.interval else ""
        if len(self.top1) == 1:
            return f"{percent(self.mean)} (1 seed{interval})"
        sd = 100 * statistics.stdev(self.top1)
        return f"{percent(self.mean)} ± {sd:.2f} ({len(self.top1)} seeds{interval})"


@dataclass(frozen=True)
class Choice:
    """The points chosen, in order, and how they were chosen in one sentence."""

    winners: list[Winner]
    how: str
    path: "list[Addition]"  # of greedy


def run(experiment: Experiment) -> int:
    """Choose points, write the experiment file, and print what was chosen; 0.

    Raises:
        ConfigError: there are too few finished points, or a file of that name exists.
    """
    settings = experiment.config.promote
    file = EXPERIMENTS / f"{settings.experiment}.yaml"
    require(
        settings.replace or not file.exists(),
        f"{_shown(file)} exists; give promote.experiment another name, or promote.replace=true to write over it",
    )
    folder = _folder(settings, Path(experiment.config.output_dir))
    store = TrialStore.read(folder.path)
    winners = _ranked(folder, store)
    _require_enough(winners, settings.count, _shown(folder.path))
    chosen = _choose(settings, winners, folder)
    assert experiment.composer is not None
    write_atomically(file, _text(settings, folder, store, chosen, experiment.composer))
    print(_table(chosen))
    print(f"chosen    {chosen.how}")
    print(f"from      {_shown(folder.path)}, {len(winners)} finished points, run at {_commit(store)}")
    print(f"written   {_shown(file)}")
    print(f"run       {_command(settings)}")
    return 0


def _require_enough(winners: list[Winner], count: int, sweep: str) -> None:
    found = len(winners)
    require(found > 0, f"{sweep} has no finished trial with a score; let job=sweep finish some")
    require(
        found >= count,
        f"promote.count is {count}, but {found} different point(s) of {sweep} have finished; give at most {found}",
    )


def _folder(settings: PromoteConfig, output_dir: Path) -> ExperimentFolder:
    """The folder of the sweep: `promote.sweep` as a path, or as a name in `output_dir`."""
    if settings.sweep is None:
        raise ConfigError("promote.sweep is not given; give the sweep's folder: promote.sweep=runs/NAME")
    places = [Path(settings.sweep).absolute(), output_dir / settings.sweep]
    found = [place for place in places if place.is_dir()]
    nowhere = " or ".join(map(_shown, places))
    require(bool(found), f"promote.sweep is {settings.sweep!r}, and there is no folder {nowhere}")
    swept = [place for place in found if (place / FILE).exists()]
    require(bool(swept), f"{_shown(found[0])} has no {FILE}: it is no sweep; give the folder that job=sweep wrote")
    return ExperimentFolder(swept[0])


def _ranked(folder: ExperimentFolder, store: TrialStore) -> list[Winner]:
    """The finished points as the sweep ranks them; of points that tried the same, the better one."""
    curves = {trial.name: learning_curve.read(folder.member(trial.name).path) for trial in store.trials}
    points, _ = outcomes(store, curves, val_samples=1)  # makes no difference to the order
    right = right_images(folder, [trial.name for trial in store.trials if trial.state == FINISHED])
    trials, seen = {trial.name: trial for trial in store.trials}, set[str]()
    winners = []
    for point in points:
        trial = trials[name_of(point.point, point.seeds[0])]
        tried = json.dumps([sorted(trial.values.items()), trial.changes])
        if tried not in seen:
            seen.add(tried)
            interval = interval_of(point, right_of(point, right), right.samples) if right.samples else None
            winners.append(Winner(trial, list(point.scores), interval))
    return winners


def _choose(settings: PromoteConfig, winners: list[Winner], folder: ExperimentFolder) -> Choice:
    by_point = {winner.trial.point: winner for winner in winners}
    if settings.choose == "greedy":
        from platform.sweep.promote.greedy import greedy  # imports torch, which takes a second

        first = _probabilities(folder, winners[0])
        most = max(settings.count, min(GREEDY_MOST, GREEDY_MEMORY // (4 * first.samples * first.classes)))
        points = sorted(winner.trial.point for winner in winners[:most])  # by number: rank is no hint
        found = greedy({point: _probabilities(folder, by_point[point]) for point in points}, settings.count)
        among = f", among the best {most} of {len(winners)} points" if len(winners) > most else ""
        return Choice([by_point[point] for point in found.points], _greedy_how(found) + among, found.path)
    if settings.choose == "diverse":
        values = {point: winner.trial.values for point, winner in by_point.items()}
        points = selection.diverse(list(by_point), values, settings.count)
        how = "the best points that differ in more than numbers, as far as there are any"
    else:
        points, how = selection.best(list(by_point), settings.count), "the best by top-1, mean over seeds"
    return Choice([by_point[point] for point in points], f"{how}; scored on the images that chose them", [])


def _probabilities(folder: ExperimentFolder, winner: Winner) -> "MemberProbabilities":
    """The probabilities of the validation images, of the trial that the experiment repeats."""
    place = folder.member(winner.trial.name).probabilities
    require(
        is_complete(place, views=1),
        f"{winner.trial.name} has no probabilities in {_shown(place)}, which promote.choose=greedy reads; "
        "run the sweep's command again, or give promote.choose=best",
    )
    require(
        kept_as(place) != TOP,
        f"{winner.trial.name} has only the largest classes of its probabilities (evaluation.keep=top), and "
        "promote.choose=greedy adds up all; give promote.choose=best, or sweep with evaluation.keep=means",
    )
    from platform.evaluation.probabilities import MemberProbabilities  # imports torch, which takes a second

    return MemberProbabilities(place)


def _greedy_how(found: "Selection") -> str:
    """How greedy selection chose, with the scores on images that it did not see."""
    single, ensemble = found.path[0], found.path[-1]
    views = f"{found.views} view{'s' * (found.views > 1)}"
    return (
        f"greedily on {single.selecting.samples} validation images; on the {single.held_out.samples} others top-1 is "
        f"{_sure(ensemble.held_out)} with {views}, of the best single point {_sure(single.held_out)}"
    )


def _sure(scores: Scores) -> str:
    return f"{_top1(scores)} (95% CI {interval_text(wilson(scores.top1, scores.samples))})"


def _top1(scores: Scores) -> str:
    return percent(scores.rates()["top1"])


def _text(
    settings: PromoteConfig, folder: ExperimentFolder, store: TrialStore, chosen: Choice, composer: Composer
) -> str:
    """The text of the experiment file.

    Raises:
        ConfigError: the sweep was run by another version, or the points do not make an ensemble.
    """
    configs = folder.record().configs if folder.exists() else {}
    trials, comments = [each.trial for each in chosen.winners], _comments(settings, folder, store, chosen)
    try:
        return experiment_text(settings.experiment, Sweep(store, configs), trials, comments, composer)
    except (NotComposed, KeyError, TypeError, AttributeError) as error:
        # The last three come from a trials.json that no sweep of this version wrote.
        reason = str(error) if not isinstance(error, KeyError) else f"{error} is missing"
        raise ConfigError(
            f"{_shown(folder.path / FILE)} does not fit this version ({reason}); "
            f"promote with the checkout that ran the sweep: {_commit(store)}"
        ) from error


def _comments(settings: PromoteConfig, folder: ExperimentFolder, store: TrialStore, chosen: Choice) -> list[str]:
    """The comments at the head of the file: where it comes from."""
    count = len(chosen.winners)
    what = f"{count} points of the sweep {folder.name}" if count > 1 else f"A point of the sweep {folder.name}"
    width = max(len(winner.trial.name) for winner in chosen.winners)
    score_width = max(len(winner.text) for winner in chosen.winners)
    return [
        f"{what} ({settings.choose}): {_headline(chosen)}.",
        f"  {_command(settings)}",
        f"Written by job=promote on {time.strftime('%F')} from {_shown(folder.path)}, run at {_commit(store)}"
        f"{f', MLflow run {run.id}' if (run := run_of(folder)) else ''}.",
        f"Chosen: {chosen.how}.",
        "Top-1 on the validation images at the end of the training (1 view), mean ± standard deviation over seeds:",
        *(f"  {each.trial.name:<{width}}  {each.text:<{score_width}}  {_tried(each)}" for each in chosen.winners),
        *(_change(each.trial) for each in chosen.winners if each.trial.changes),
    ]


def _headline(chosen: Choice) -> str:
    if len(chosen.path) > 1:
        return f"top-1 {_top1(chosen.path[-1].held_out)} as an ensemble, on images that did not choose it"
    whose = "the best of them alone has " if len(chosen.winners) > 1 else ""
    return f"{whose}top-1 {chosen.winners[0].text}"


def _tried(winner: Winner) -> str:
    return " ".join(f"{key}={value}" for key, value in winner.trial.values.items())


def _change(trial: Trial) -> str:
    steps = ", ".join(f"{key}={value} after epoch {epoch:g}" for epoch, key, value in trial.changes)
    return (
        f"{trial.name} was changed on the way ({steps}). Here it has the last values from the start: that is another "
        "run, of which no score is known."
    )


def _table(chosen: Choice) -> str:
    halves = ["so far, selecting", "on the others"] if chosen.path else []
    table = Table("trial", "top-1, mean ± sd", "tried", *halves, box=box.SIMPLE_HEAD)
    for place, winner in enumerate(chosen.winners):
        cells = [winner.trial.name, winner.text, _tried(winner), *map(_top1, _halves(chosen, place))]
        table.add_row(*map(Text, cells))  # not markup: [0.1] is a list
    text = io.StringIO()
    Console(file=text, width=120).print(table)
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().rstrip().splitlines())


def _halves(chosen: Choice, place: int) -> list[Scores]:
    """The scores of the ensemble up to this point, on both halves of the images; empty unless `greedy` chose."""
    return [chosen.path[place].selecting, chosen.path[place].held_out] if chosen.path else []


def _commit(store: TrialStore) -> str:
    return f"commit {store.commit}" if store.commit else "an unknown commit"


def _command(settings: PromoteConfig) -> str:
    return f"python -m platform.launch +experiment={settings.experiment}"


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
