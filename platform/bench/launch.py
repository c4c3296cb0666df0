"""From the command to the first training step, against a bare Ray Train job started the same way, in turns.

A run of two short members also shows how soon a lane's second member starts, and how much of the run is not training.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from platform.bench.figures import Figures
from platform.checkout import ROOT
from platform.config.models import GoogLeNetConfig
from platform.config.sections import Config
from platform.experiment.folder import MemberFolder, MemberState

REPEATS = 3  # each takes most of a minute
LIMIT_S = 900


def measure(config: Config, folder: Path, figures: Figures) -> None:
    """Measure the seconds to the first step; `launch.*` and `run.*` into `figures`."""
    from platform.bench.second_launch import second_launch_s  # it runs commands as this module does

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


def settings(config: Config) -> list[str]:
    """Overrides with the user's settings of data, network and batch, for a launch of its own."""
    data, model, training = config.data, config.model, config.training
    is_googlenet = isinstance(model, GoogLeNetConfig)
    return [
        f"data.shards={data.shards}",
        "data.source=null",
        f"data.classes={data.classes}",
        f"data.image_size={data.image_size}",
        f"model.name={model.name}",
        *([f"model.width={model.width}", f"model.batch_norm={model.batch_norm}"] if is_googlenet else []),
        f"training.batch_size={training.batch_size}",
        f"training.precision={training.precision}",
        f"cluster.cpus_per_worker={config.cluster.cpus_per_worker}",
    ]


def environment() -> dict[str, str]:
    """Environment of a process that imports this checkout's `platform`."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def _bare_ray(config: Config, folder: Path) -> float:
    """Seconds from the command to the first step of `platform.bench.baselines.ray_train`."""
    folder.mkdir(parents=True)
    data = config.data
    arguments = [str(folder), str(data.image_size), str(data.classes), str(config.training.batch_size)]
    started = time.time()
    run([sys.executable, "-m", "platform.bench.baselines.ray_train", *arguments, str(config.cluster.cpus_per_worker)])
    return float((folder / "first_step").read_text()) - started


def run(command: list[str], variables: Mapping[str, str] | None = None) -> None:
    """Run a command in the checkout to its end.

    Args:
        command: with its arguments.
        variables: its environment; None: this process's.

    Raises:
        RuntimeError: it failed; with the end of its stderr.
    """
    done = subprocess.run(
        command, cwd=ROOT, env=variables or environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
