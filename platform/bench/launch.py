"""From the command to the first training step, against a bare Ray Train job started the same way, in turns.

A run of two short members also shows how soon a lane's second member starts, and how much of the run is not training.
"""

import sys
import time
from pathlib import Path

from platform.bench.commands import run, settings
from platform.bench.figures import Figures
from platform.bench.second_launch import second_launch_s
from platform.config.sections import Config
from platform.experiment.member_folder import MemberFolder, MemberState

REPEATS = 3  # each takes most of a minute


def measure(config: Config, folder: Path, figures: Figures) -> None:
    """Measure the seconds to the first step; `launch.*` and `run.*` into `figures`."""
    _platform(config, folder / "warm-up", 0.1)  # makes the tracking database, which takes seconds
    for repeat in range(min(REPEATS, config.bench.repeats)):
        bare_s = _bare_ray(config, folder / f"bare{repeat}")
        started = time.time()
        first, second, seconds = _platform(config, folder / f"run{repeat}", 1.0)
        first_step_s = first.times["first_step"] - started
        training_s = sum(state.times["trained"] - state.times["first_step"] for state in (first, second))
        again_s = second_launch_s(config, folder / f"cluster{repeat}")
        next_s = second.times["first_step"] - first.times["ended"]
        figures.add("launch.first_step_s", first_step_s, "command to the first training step, platform")
        figures.add("launch.bare_ray_s", bare_s, "the same, a bare Ray Train job")
        figures.add("launch.over_bare_ray", first_step_s / bare_s, "platform over bare Ray Train")
        figures.add("launch.second_s", again_s, "the same of a second launch on a running cluster")
        figures.add("launch.second_over_bare", again_s / bare_s, "that over bare Ray Train, which starts its Ray")
        figures.add("launch.next_member_s", next_s, "end of a member to the first step of the next in its lane")
        figures.add("run.seconds", seconds, "a run of two members of one epoch, one lane")
        figures.add("run.not_training_share", 1 - training_s / seconds, "share of that run's wall time not training")


def _platform(config: Config, folder: Path, epochs: float) -> tuple[MemberState, MemberState, float]:
    """Run two members in one lane; returns their states and the wall time."""
    overrides = [
        "job=ensemble",
        "name=bench",
        "+ensemble.members={first:['order_seed=1'],second:['order_seed=2']}",
        "cluster.lanes=1",
        "evaluation.views=[1]",
        "export.models=false",  # which a bare Ray Train job has not either
        *settings(config),
        f"training.epochs={epochs}",
        f"output_dir={folder}",
        f"tracking.uri=sqlite:///{folder.parent / 'mlflow.db'}",
    ]
    started = time.time()
    run([sys.executable, "-m", "platform.launch", *overrides])
    first, second = (MemberFolder(folder / "bench" / "members" / name).state() for name in ("first", "second"))
    return first, second, time.time() - started


def _bare_ray(config: Config, folder: Path) -> float:
    """Seconds from the command to the first step of `platform.bench.baselines.ray_train`."""
    folder.mkdir(parents=True)
    data = config.data
    arguments = [str(folder), str(data.image_size), str(data.classes), str(config.training.batch_size)]
    started = time.time()
    run([sys.executable, "-m", "platform.bench.baselines.ray_train", *arguments, str(config.cluster.cpus_per_worker)])
    return float((folder / "first_step").read_text()) - started
