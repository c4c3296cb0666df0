"""Experiments in MLflow without training: a sweep of many trials, an ensemble or a single network of many steps.

In: how many. Out: what a real launch leaves in the store, told by the code of one (`Runs`, with scores from made-up
probabilities). For the pages in a browser: `python -m tests.tracking.made_runs FOLDER` makes FOLDER/mlflow.db and says
what it holds; `make ui URI=sqlite:///FOLDER/mlflow.db` shows it.
"""

import argparse
import math
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from platform.config.data import DataConfig
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.data.index import read_index
from platform.evaluation import report
from platform.evaluation.kept import scored
from platform.evaluation.predict import Predictions
from platform.evaluation.probabilities import seal, write_part
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.goodput import Attempt, write_attempts
from platform.experiment.member_folder import FINISHED, MemberFolder, MemberState
from platform.packing.pack import pack
from platform.sweep.trial_store import Trial
from platform.tracking.runs import Runs
from platform.tune.results import Results
from tests.composing import experiment_of

CLASSES = 10
BEGAN = 1_750_000_000.0  # seconds since the epoch
STEP_S = 0.05
LOGGED_EVERY = 10  # steps, as `training.log_every_steps`
EVALUATED = 20  # times in a training
SAMPLINGS, SCHEDULES = ("multi_scale", "small_crops", "large_crops"), ("googlenet", "inception", "cosine", "one_cycle")


def packed_digits(folder: Path) -> DataConfig:
    """The embedded digits as shards in a folder."""
    data = DataConfig(source="sklearn:digits", shards=str(folder / "shards"), samples_per_shard=300)
    pack(data)
    return data


def made_sweep(
    place: Path, tracking: TrackingConfig, data: DataConfig, *, trials: int, steps: int, images: int = 500
) -> Experiment:
    """A sweep of so many trials of so many steps, a third of which goes on to the end."""
    experiment = _placed(experiment_of("+experiment=sampling_schedule_sweep")[0], place, tracking, data)
    experiment.config.sweep.space = {
        "sampling": SAMPLINGS,
        "schedule": SCHEDULES,
        "optim.lr": {"low": 0.01, "high": 1, "log": True},
    }
    composed = {
        (sampling, schedule): experiment_of(
            "+experiment=sampling_schedule_sweep", f"sampling={sampling}", f"schedule={schedule}"
        )[0].config
        for sampling in SAMPLINGS
        for schedule in SCHEDULES
    }
    folder, index = ExperimentFolder(experiment.folder), read_index(data.shards)
    runs = Runs(experiment, folder, Record({}, {}), [], index)
    results, generator = Results(folder, experiment.config.evaluation.views), np.random.default_rng(0)
    for number in range(trials):
        sampling, schedule = list(composed)[number % len(composed)]
        lr = float(10 ** generator.uniform(-2, 0))
        config = replace(composed[sampling, schedule], data=data, seed=number // len(composed))
        config.optim = replace(config.optim, lr=lr)
        values = {"sampling": sampling, "schedule": schedule, "optim.lr": lr}
        whole = number % 3 == 0
        trial = Trial(f"p{number:03d}-s0", number, values, 0, [], FINISHED if whole else "stopped")
        trial.reason = "" if whole else "asha: not among the best third after 2 epochs"
        at, skill = BEGAN + number, 1.5 - abs(math.log10(lr) + 1) + 0.3 * generator.normal()
        results.begin(runs, trial, config)
        trained = steps if whole else steps // 3
        _log(runs, folder.member(trial.name), trained, steps, skill, at)
        _left(folder.member(trial.name), trained, skill, number, at, views=1 if whole else 0, images=images)
        results.end(runs, results.scored(trial), print)
    runs.close_sweep("FINISHED", {"trials_finished": trials // 3}, [], f"p000-s0 is the best of {trials} trials.")
    assert runs.close() == 0
    return experiment


def made_training(
    place: Path, tracking: TrackingConfig, data: DataConfig, *overrides: str, steps: int, images: int = 500
) -> Experiment:
    """The members of an experiment that these overrides compose, each trained for so many steps."""
    experiment = _placed(experiment_of(*overrides)[0], place, tracking, data)
    folder = ExperimentFolder(experiment.folder)
    record, names, index = Record({}, {}), list(experiment.members), read_index(data.shards)
    views = max(experiment.config.evaluation.views)
    runs = Runs(experiment, folder, record, names, index)
    for number, name in enumerate(names):
        at = BEGAN + number * steps * STEP_S
        runs.begin(name, at)
        skill = 1.2 + 0.15 * number
        _log(runs, folder.member(name), steps, steps, skill, at)
        _left(folder.member(name), steps, skill, number, at, views=views, images=images)
    scores = scored({name: folder.member(name).probabilities for name in names}, experiment.config.evaluation.views)
    tables = report.write(scores, folder.path)
    runs.report({name: folder.member(name).state() for name in names}, scores, tables)
    assert runs.close() == 0
    return experiment


def _placed(experiment: Experiment, place: Path, tracking: TrackingConfig, data: DataConfig) -> Experiment:
    def put(config: Config) -> Config:
        return replace(config, tracking=tracking, data=data, output_dir=str(place / "runs"))

    members = {name: put(config) for name, config in experiment.members.items()}
    return replace(experiment, config=put(experiment.config), members=members)


def _log(runs: Runs, member: MemberFolder, trained: int, steps: int, skill: float, at: float) -> None:
    """The metrics of a training, every ten steps, as workers send them."""
    generator = np.random.default_rng(int(1000 * abs(skill)))
    member.path.mkdir(parents=True, exist_ok=True)
    evaluated = max(steps // EVALUATED // LOGGED_EVERY * LOGGED_EVERY, LOGGED_EVERY)
    for step in range(LOGGED_EVERY, trained + 1, LOGGED_EVERY):
        done, noise = step / steps, 0.05 * generator.normal()
        loss = 2.3 * math.exp(-skill * 2 * done) + abs(noise)
        metrics = {
            "data/corrupt_samples": 0.0, "data/fetch_retries": 0.0, "data/wait_share": 0.01 + abs(noise) / 10,
            "train/loss": loss, "train/main_loss": 0.6 * loss, "train/top1": max(1 - loss / 2.3, 0.1),
            "train/gradient_norm": 1 + noise, "train/images_per_s": 640 + 100 * noise, "progress": done,
            "train/lr": 0.1 * (1 - done), "train/epoch": 6 * done,
        }  # fmt: skip
        runs.log(member.path.name, step, metrics, at + step * STEP_S)
        if step % evaluated == 0:
            top1 = 1 - 0.9 * math.exp(-skill * 2 * done)
            scores = {"val/top1": top1, "val/top5": (1 + top1) / 2, "val/loss": loss}
            runs.log(member.path.name, step, scores, at + step * STEP_S)


def _left(member: MemberFolder, steps: int, skill: float, seed: int, at: float, *, views: int, images: int) -> None:
    """The files of a member that has ended: its attempt, state, and probabilities of so many views, if any."""
    ended = at + steps * STEP_S
    attempt = Attempt(at - 5, at, 0, steps, at + 1, ended, ended + 5, 1, ["node0"], "finished", 2.0, ended)
    write_attempts(member.path, [attempt])
    member.set_state(MemberState(FINISHED, device="CPU", times={"started": at, "ended": ended + 5}))
    if not views:
        return
    member.weights.write_bytes(b"weights")
    shared, own = np.random.default_rng(7), np.random.default_rng(100 + seed)
    labels = shared.integers(0, CLASSES, images)
    logits = shared.normal(size=(images, 1, CLASSES)) + own.normal(size=(images, views, CLASSES))
    logits = torch.from_numpy(logits + (2 + skill) * (np.arange(CLASSES) == labels[:, None, None]))
    everything = Predictions(np.arange(images), labels, np.ones(images, np.bool_), logits.softmax(-1).float())
    write_part(member.probabilities, 0, range(images), views, CLASSES, "float32", iter([everything]))
    seal(member.probabilities, images, views, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--trial-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=100_000, help="of each of the seven members")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(given.folder)  # where MLflow puts the files of a new database
    place, tracking = Path.cwd(), TrackingConfig(uri=f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    data, began = packed_digits(place), time.monotonic()
    if given.steps:
        made_training(place, tracking, data, "+experiment=googlenet_ens", steps=given.steps)
        print(f"seven members of {given.steps:,} steps: {time.monotonic() - began:.0f} s", flush=True)
    if given.trials:
        made_sweep(place, tracking, data, trials=given.trials, steps=given.trial_steps)
        print(f"{given.trials} trials of {given.trial_steps:,} steps: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
