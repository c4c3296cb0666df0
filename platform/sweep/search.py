"""Which points a sweep tries: a list known beforehand (grid, random), or Optuna's TPE, which learns from trials.

In: the space, and how the points tried so far ended. Out: the next point. A search keeps nothing on disk: a new launch
tells it all trials of the trial store again, so that a sweep goes on wherever it was killed.
"""

import itertools
import random
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from platform.config.jobs import SweepConfig
from platform.sweep.space import Parameter, draw, grid
from platform.sweep.trial_store import FINISHED, STOPPED, Point
from platform.training.learning_curve import EvaluationPoint

if TYPE_CHECKING:
    import optuna

MAX_DRAWS = 1000  # for a point that was not tried before: an equal one would train to the same weights


class Search(Protocol):
    """Gives points by their numbers: 0, 1, 2, ... below `size`."""

    size: int

    def next(self, number: int) -> Point:
        """The point of this number. Numbers are asked for in order."""
        ...

    def again(self, number: int, point: Point) -> None:
        """Take note of the point of this number, which an earlier launch was given."""
        ...

    def tell(self, number: int, state: str, curve: list[EvaluationPoint]) -> None:
        """Take note of how the trial of a point's first seed ended: its state and learning curve."""
        ...


def search_of(sweep: SweepConfig, space: list[Parameter], known: int = 0) -> Search:
    """The search that `sweep.search` names.

    Args:
        sweep: its settings.
        space: the swept keys.
        known: how many points earlier launches have tried.

    Raises:
        ConfigError: a grid over a range without points.
    """
    match sweep.search:
        case "grid":
            return Listed(itertools.islice(grid(space), sweep.points))
        case "random":
            return Listed(random_points(sweep, space))
        case _:
            return Tpe(sweep, space, known)


def random_points(sweep: SweepConfig, space: list[Parameter]) -> Iterator[Point]:
    """Random points, all different where possible. Each has a generator of its own, seeded by the sweep's seed and the
    point's number, so that raising `sweep.points` keeps the points before."""
    seen: set[str] = set()
    for number in range(sweep.points or 0):
        point = _unseen(sweep, space, number, seen)
        seen.add(repr(point))
        yield point


def _unseen(sweep: SweepConfig, space: list[Parameter], number: int, seen: set[str]) -> Point:
    """A random point that was not seen; a seen one where `MAX_DRAWS` draws find no other."""
    draws = random.Random(f"{sweep.seed}-{number}")
    point: Point = {}
    for _ in range(MAX_DRAWS):
        point = draw(space, draws)
        if repr(point) not in seen:
            break
    return point


class Listed:
    """Points that nothing learned from trials can change."""

    def __init__(self, points: Iterator[Point]) -> None:
        self.points = list(points)
        self.size = len(self.points)

    def next(self, number: int) -> Point:
        return self.points[number]

    def again(self, number: int, point: Point) -> None:
        pass

    def tell(self, number: int, state: str, curve: list[EvaluationPoint]) -> None:
        pass


class Tpe:
    """Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011); with two objectives its
    multi-objective form. The first ten points are random ones."""

    def __init__(self, sweep: SweepConfig, space: list[Parameter], known: int) -> None:
        import optuna  # takes a second, which only this search needs

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._sweep, self._space = sweep, space
        self.size = sweep.points or 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # multivariate TPE is called experimental since 2020
            sampler = optuna.samplers.TPESampler(
                # A new launch that drew the same again would repeat the first points.
                seed=(sweep.seed + 1000 * known) % 2**32,
                multivariate=True, group=True,  # keys that are used together are modelled together
                constant_liar=True,  # running points count as bad ones, so that others are tried beside them
            )  # fmt: skip
        better = optuna.study.StudyDirection.MAXIMIZE
        self._study = optuna.create_study(sampler=sampler, directions=[better] * len(sweep.objectives))
        self._trials: dict[int, optuna.Trial] = {}
        self._seen: set[str] = set()

    def next(self, number: int) -> Point:
        """The point that TPE proposes; a random one where TPE would repeat a point, as it does among choices."""
        import optuna

        point = self._ask(number)
        if repr(point) in self._seen:
            self._study.tell(self._trials.pop(number), state=optuna.trial.TrialState.FAIL)
            point = _unseen(self._sweep, self._space, number, self._seen)
            self.again(number, point)
        self._seen.add(repr(point))
        return point

    def again(self, number: int, point: Point) -> None:
        """Have Optuna propose this point, so that it knows it as its own."""
        self._study.enqueue_trial({p.key: _optuna_value(p, point[p.key]) for p in self._space if p.key in point})
        self._ask(number)
        self._seen.add(repr(point))

    def tell(self, number: int, state: str, curve: list[EvaluationPoint]) -> None:
        """Hand the trial's curve and end to Optuna; one without a score counts as the worst possible."""
        import optuna

        trial = self._trials.pop(number)
        if len(self._sweep.objectives) == 1:
            for evaluation in curve:
                trial.report(evaluation.top1, round(1000 * evaluation.epoch))  # steps differ with the batch size
        if state == STOPPED and curve and len(self._sweep.objectives) == 1:
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif state == FINISHED and curve:
            self._study.tell(trial, [getattr(curve[-1], objective) for objective in self._sweep.objectives])
        else:  # the worst score: TPE has no other way to learn that training diverges or fails there
            self._study.tell(trial, [0.0] * len(self._sweep.objectives))

    def _ask(self, number: int) -> Point:
        trial = self._trials[number] = self._study.ask()
        point: Point = {}
        for parameter in self._space:
            if parameter.applies(point):
                point[parameter.key] = _suggest(trial, parameter)
        return point


def _suggest(trial: "optuna.Trial", parameter: Parameter) -> object:
    if parameter.choices:
        return parameter.choices[trial.suggest_categorical(parameter.key, range(len(parameter.choices)))]
    if parameter.integer:
        return trial.suggest_int(parameter.key, int(parameter.low), int(parameter.high), log=parameter.log)
    return trial.suggest_float(parameter.key, parameter.low, parameter.high, log=parameter.log)


def _optuna_value(parameter: Parameter, value: object) -> object:
    """A value as Optuna is told it: of choices their position, as Optuna takes no lists."""
    return parameter.choices.index(value) if parameter.choices else value
