"""How much each swept key explains of the differences in top-1: functional ANOVA (Hutter et al. 2014), by Optuna.

In: finished trials, each seed an observation. Out: a share for each key, or the reason why there is none.
A key that some points lack is evaluated on the trials that have it, and marked so: its share is of their variance only.
"""

import json
import math
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platform.evaluation.statistics.seeds import LEVEL, Noise
from platform.sweep.report.outcome import Curves, final_top1
from platform.sweep.trial_store import Point, TrialStore

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

POINTS_NEEDED = 4  # a random forest on fewer says nothing
LOG_FROM = 10  # a key whose largest value is this many times its smallest is compared by logarithms
MOST_OBSERVED = 1000  # trials that the forest is grown on: its cost is more than in proportion to them
SEED = 0  # of the random forest: the same trials give the same shares


@dataclass(frozen=True)
class Observation:
    """A finished trial."""

    point: int
    values: Point
    top1: float


@dataclass(frozen=True)
class Share:
    """The importance of one key: its part of all that single keys explain. Not corrected for noise between seeds."""

    key: str
    share: float  # 0 to 1
    trials: int  # that it was evaluated on: fewer than all for a key that some points lack


@dataclass(frozen=True)
class Importance:
    """The shares of all keys. Without any, `reason` says why; `caution` says why they may mean little."""

    shares: tuple[Share, ...] = ()  # largest first
    trials: int = 0  # finished
    reason: str = ""
    caution: str = ""


def importance(store: TrialStore, curves: Curves) -> Importance:
    """The importance of every key with several values. `curves`: learning curves, by the trial's name."""
    found = _observations(store, curves)
    apart = max(1, -(-len(found) // MOST_OBSERVED))
    kept = set(sorted({each.point for each in found})[::apart])  # whole points, with all their seeds
    seen = [each for each in found if each.point in kept]
    reason = _unclear(seen)
    if reason:
        return Importance(trials=len(seen), reason=reason)
    known: Known = {}
    shares = [share for key in _keys(seen) if (share := _share(key, seen, known)) is not None]
    if not shares:
        return Importance(trials=len(seen), reason="no key took several values among enough finished points")
    shares.sort(key=lambda each: (-each.share, each.key))
    some = [f"Computed on {len(seen):,} of {len(found):,} finished trials."] if apart > 1 else []
    return Importance(tuple(shares), len(seen), caution=" ".join([*some, _caution(seen)]).strip())


def _observations(store: TrialStore, curves: Curves) -> list[Observation]:
    """The finished trials, in an order that does not depend on when they ended."""
    scored = [(trial, final_top1(trial, curves)) for trial in sorted(store.trials, key=lambda t: (t.point, t.seed))]
    return [Observation(trial.point, trial.values, score) for trial, score in scored if score is not None]


def _unclear(seen: Sequence[Observation]) -> str:
    """Why there can be no importance; empty if there can."""
    points = len({each.point for each in seen})
    if points < POINTS_NEEDED:
        return f"{points} point(s) finished; importance needs at least {POINTS_NEEDED}"
    return "all scores are equal" if len({each.top1 for each in seen}) == 1 else ""


def _caution(seen: Sequence[Observation]) -> str:
    """A warning where the points do not differ by more than noise (F test): a forest explains noise, too."""
    scores: defaultdict[int, list[float]] = defaultdict(list)
    for each in seen:
        scores[each.point].append(each.top1)
    points = list(scores.values())
    p = Noise.of(points, resolution=1e-9).p_of_all(points)
    if p is None:
        return "One seed a point: what is explained may be noise."
    return "" if p < LEVEL else f"The points differ by no more than noise between seeds (F test, p = {p:.2f})."


def _keys(seen: Sequence[Observation]) -> list[str]:
    return list(dict.fromkeys(key for each in seen for key in each.values))


# Shares by keys and trials: a forest gives those of all keys that the same trials have.
Known = dict[tuple[tuple[str, ...], tuple[int, ...]], dict[str, float]]


def _share(key: str, seen: Sequence[Observation], known: Known) -> Share | None:
    """The share of a key, on the trials that have it and with the other keys that all of these have; None: no share.
    Forests that were grown before are in `known`."""
    having = [each for each in seen if key in each.values]
    common = [each for each in _keys(having) if all(each in other.values for other in having)]
    varied = [each for each in common if len({_text(other.values[each]) for other in having}) > 1]
    if key not in varied or _unclear(having):
        return None
    asked = tuple(varied), tuple(map(id, having))
    if asked not in known:
        known[asked] = _fanova(having, varied)
    return Share(key, float(known[asked][key]), len(having))


def _fanova(seen: Sequence[Observation], keys: Sequence[str]) -> dict[str, float]:
    """Normalised shares of the keys, all of which every observation has."""
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    columns = {key: _column([each.values[key] for each in seen]) for key in keys}
    with _quiet():
        study = optuna.create_study(direction="maximize")
        for place, each in enumerate(seen):
            params = {key: column.numbers[place] for key, column in columns.items()}
            distributions = {key: column.distribution for key, column in columns.items()}
            study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=each.top1))
        return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=SEED))


@dataclass(frozen=True)
class _Column:
    """The values of a key in a form that Optuna takes."""

    numbers: list[Any]
    distribution: "BaseDistribution"


def _column(values: Sequence[Any]) -> _Column:
    """Numbers stay numbers. Text, booleans, lists and mixed values become categories, told apart by their JSON."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        texts = [_text(value) for value in values]
        return _Column(texts, CategoricalDistribution(sorted(set(texts))))
    if min(values) > 0 and max(values) / min(values) >= LOG_FROM:
        # `log=True` would not do: the evaluator ignores it, and weighs the interval by its width as it is given.
        logs = [math.log10(value) for value in values]
        return _Column(logs, FloatDistribution(min(logs), max(logs)))
    if all(isinstance(value, int) for value in values):
        return _Column(list(values), IntDistribution(min(values), max(values)))
    floats = [float(value) for value in values]
    return _Column(floats, FloatDistribution(min(floats), max(floats)))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's lines on stderr and its warnings."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
