"""Trial stores and curves made by hand, for the tests of everything that reads them."""

import numpy as np

from platform.sweep.report.outcome import Curves
from platform.sweep.report.right_images import RightImages
from platform.sweep.trial_store import FAILED, FINISHED, STOPPED, Point, Trial, TrialStore
from platform.training.learning_curve import EvaluationPoint


def evaluation(epoch: float, top1: float, *, last: bool = False, images_per_s: float = 100.0) -> EvaluationPoint:
    return EvaluationPoint(epoch, round(10 * epoch), top1, 1.0, 1.0, images_per_s, last)


def curve(
    final: float, epochs: int = 12, until: int | None = None, images_per_s: float = 100.0, rise: float = 3
) -> list[EvaluationPoint]:
    """Rises to `final`, or is cut off."""
    return [
        evaluation(epoch, final * (1 - 0.7 * np.exp(-epoch / rise)) if epoch < epochs else final,
               last=epoch == epochs, images_per_s=images_per_s)
        for epoch in range(1, (until or epochs) + 1)
    ]  # fmt: skip


def store_of(*points: list[float], values: list[Point] | None = None) -> tuple[TrialStore, Curves]:
    """A point for each list, with a finished trial for each of its scores."""
    store, curves = TrialStore(commit="0123abc"), Curves()
    for number, scores in enumerate(points):
        chosen = values[number] if values else {"optim.lr": 0.01 * (number + 1)}
        for seed, score in enumerate(scores):
            trial = Trial(f"p{number:03d}-s{seed}", number, chosen, seed, [], FINISHED)
            store.trials.append(trial)
            curves[trial.name] = curve(score)
    return store, curves


def realistic(val_samples: int = 360, points: int = 14, seeds: int = 3) -> tuple[TrialStore, Curves]:
    """Groups, a key that only one of them has, and a rate; the weak are stopped, a point fails, one loses a seed."""
    draws = np.random.default_rng(3)
    store = TrialStore(commit="796c801f3c2b", choices={"schedule": "googlenet"}, base={"seed": 0})
    curves = Curves()
    for number in range(points):
        sampling = ["multi_scale", "random_square", "centre_square"][number % 3]
        schedule = ["step_decay", "cosine"][number // 3 % 2]
        rate = float(np.exp(draws.uniform(np.log(0.002), np.log(0.2))))
        values: Point = {"sampling": sampling, "schedule": schedule, "optim.lr": rate}
        if schedule == "step_decay":
            values["schedule.factor"] = [0.9, 0.96][number % 2]
        true = 0.96 - 0.03 * (np.log10(rate) + 1.6) ** 2 - 0.02 * (number % 3 == 2) - 0.008 * (schedule == "cosine")
        for seed in range(seeds):
            trial = Trial(f"p{number:03d}-s{seed}", number, values, seed, [], FINISHED)
            store.trials.append(trial)
            score = round((true + draws.normal(0, 0.006)) * val_samples) / val_samples
            rise = 1.2 + number % 5 / 3
            speed = {"multi_scale": 700, "random_square": 820, "centre_square": 990}[sampling] + draws.normal(0, 8)
            curves[trial.name] = curve(score, images_per_s=speed, rise=rise)
            if true < 0.925:
                trial.state, trial.reason = STOPPED, "asha: not among the best third at epoch 3"
                curves[trial.name] = curve(score, until=3 + number % 3, images_per_s=speed, rise=rise)
            if number == 6 or (number == 12 and seed == 1):
                trial.state = FAILED
                trial.reason = "the loss was not finite in 10 steps in a row; lower optim.lr" if seed else "worker died"
                curves[trial.name] = curve(score, until=2, rise=rise)
    return store, curves


def right_images(store: TrialStore, curves: Curves, val_samples: int = 360) -> RightImages:
    """What the scores of finished trials come from: trainings find the same images hard, but for some."""
    found = {}
    for number, trial in enumerate(store.trials):
        if trial.state == FINISHED and curves[trial.name][-1].last:
            own = np.random.default_rng(number).normal(0, 0.1, val_samples)
            right = np.zeros(val_samples, np.bool_)
            easy = np.argsort(np.arange(val_samples) / val_samples + own)
            right[easy[: round(curves[trial.name][-1].top1 * val_samples)]] = True
            found[trial.name] = right
    return RightImages(found)
