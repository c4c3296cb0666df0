"""What a trial of a sweep costs besides its training, against a bare Ray Tune job with Ray Train in it, in turns.

Both have the same network, trials, steps, CPUs and trials side by side, and train without a GPU. The platform's trials
also read real images, save, validate, write their weights and probabilities and log to MLflow: all of that counts as
overhead here, and the bare ones do none of it.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from platform.bench.commands import run, settings
from platform.bench.figures import Figures
from platform.cluster.resources import cpus_here
from platform.config.sections import Config
from platform.data.index import Index
from platform.data.order import steps_per_epoch
from platform.data.sets import training_split

REPEATS = 3  # each takes about two minutes
RATES = [0.01, 0.011, 0.012, 0.013]  # one a trial
SIDE_BY_SIDE = 2
STEPS = 20  # of a trial


@dataclass(frozen=True)
class Timing:
    """Of one sweep, in seconds since the epoch."""

    commanded: float
    began: float  # with the first trial
    ended: float  # the last trial
    trainings: list[tuple[float, float]]  # of each trial: end of the first step, of the last

    def overhead_s(self, side_by_side: int) -> float:
        """Seconds of a trial's share of the machine in which no step was done."""
        trained_s = sum(last - first for first, last in self.trainings)
        return ((self.ended - self.began) * side_by_side - trained_s) / len(self.trainings)

    @property
    def first_trial_s(self) -> float:
        """Seconds from the command to the first trial's first step."""
        return min(first for first, _ in self.trainings) - self.commanded


def measure(config: Config, index: Index, folder: Path, figures: Figures) -> None:
    """Measure the seconds of a trial that are not training; `sweep.*` into `figures`."""
    side_by_side = max(1, min(SIDE_BY_SIDE, cpus_here() // config.cluster.cpus_per_worker))
    _platform(config, index, side_by_side, folder / "warm-up", RATES[:1])  # makes the tracking database
    for repeat in range(min(REPEATS, config.bench.repeats)):
        bare = _bare_tune(config, side_by_side, folder / f"bare{repeat}")
        platform = _platform(config, index, side_by_side, folder / f"platform{repeat}", RATES)
        ours_s, bare_s = platform.overhead_s(side_by_side), bare.overhead_s(side_by_side)
        trials = f"{len(RATES)} trials, {side_by_side} side by side"
        ours = f"of a trial's wall time not steps: starting, validating, saving; platform, {trials}"
        bare_too = "the same, bare Ray Tune with Ray Train, which neither validates nor saves"
        figures.add("sweep.overhead_s_per_trial", ours_s, ours)
        figures.add("sweep.bare_tune_s_per_trial", bare_s, bare_too)
        figures.add(
            "sweep.over_bare_tune", ours_s / bare_s, "platform over bare, of these overheads; not of wall times"
        )
        figures.add("sweep.first_trial_s", platform.first_trial_s, "command to the first step of the first trial")
        figures.add("sweep.bare_first_trial_s", bare.first_trial_s, "the same, bare Ray Tune with Ray Train")
        over_bare = platform.first_trial_s / bare.first_trial_s
        figures.add("sweep.first_trial_over_bare", over_bare, "platform over bare, of these two")


def _platform(config: Config, index: Index, side_by_side: int, folder: Path, rates: list[float]) -> Timing:
    streams = config.loader.streams
    per_epoch = steps_per_epoch(training_split(index, config.data).samples, streams, config.training.batch_size)
    overrides = [
        "job=sweep",
        "name=sweep",
        f"+sweep.space={{optim.lr:{rates}}}",
        *settings(config),
        f"loader.streams={streams}",
        f"cluster.lanes={side_by_side}",
        "cluster.gpus_per_worker=0",
        f"training.epochs={(STEPS - 0.5) / per_epoch}",  # rounded up to whole steps
        "evaluation.every_epochs=0",
        "evaluation.views=[1]",
        f"output_dir={folder}",
        f"tracking.uri=sqlite:///{folder.parent / 'mlflow.db'}",
    ]
    commanded = time.time()
    run([sys.executable, "-m", "platform.launch", *overrides])
    return _timing_of_journal(commanded, folder / "sweep" / "tracking.jsonl")


def _timing_of_journal(commanded: float, path: Path) -> Timing:
    """The timing of a sweep, from its tracking journal."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    trials = {entry["run"]: entry["began"] for entry in entries if entry["do"] == "start" and entry["parent"]}
    ended = [entry["at_ms"] / 1e3 for entry in entries if entry["do"] == "finish" and entry["run"] in trials]
    trainings = [_training(entries, trial) for trial in trials]
    return Timing(commanded, min(trials.values()), max(ended), trainings)


def _training(entries: list[dict[str, Any]], trial: str) -> tuple[float, float]:
    """Times of a trial's first and last step, both of which are logged when they are done."""
    logged = [entry for entry in entries if entry["do"] == "metrics" and entry["run"] == trial]
    steps = [entry["at_ms"] / 1e3 for entry in logged if any(name == "train/loss" for name, *_ in entry["points"])]
    return min(steps), max(steps)


def _bare_tune(config: Config, side_by_side: int, folder: Path) -> Timing:
    folder.mkdir(parents=True)
    job = {
        "folder": str(folder),
        "model": asdict(config.model),
        "classes": config.data.classes,
        "image_size": config.data.image_size,
        "batch_size": config.training.batch_size,
        "cpus": config.cluster.cpus_per_worker,
        "steps": STEPS,
        "rates": RATES,
        "side_by_side": side_by_side,
    }
    commanded = time.time()
    run([sys.executable, "-m", "platform.bench.baselines.ray_tune", json.dumps(job)])
    trainings = [tuple(map(float, line.split())) for line in (folder / "trainings").read_text().splitlines()]
    began, ended = (float((folder / name).read_text()) for name in ("began", "ended"))
    return Timing(commanded, began, ended, [(first, last) for first, last in trainings])
