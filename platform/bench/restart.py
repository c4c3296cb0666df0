"""From SIGKILL of a worker process to the next training step: the platform against a bare Ray Train job, in turns.

Both have the same network, workers and CPUs, train without a GPU and save every few steps; the bare one is what
Ray Train's documentation shows, with Ray's own defaults.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from platform.bench.commands import environment, settings
from platform.bench.figures import Figures
from platform.checkout import ROOT
from platform.cluster.resources import cpus_here
from platform.config.sections import Config
from platform.experiment.goodput import read_attempts

REPEATS = 3  # each takes most of two minutes
WORKERS = 2
EVERY_STEPS = 5
KILLED_AFTER = 2 * EVERY_STEPS + 2  # steps, so that there is a checkpoint
LIMIT_S = 300.0  # for each wait
POLL_EVERY_S = 0.1
T = TypeVar("T")


def measure(config: Config, folder: Path, figures: Figures) -> None:
    """Measure the seconds from a worker's death to the next step; `restart.*` into `figures`."""
    workers = max(1, min(WORKERS, cpus_here() // config.cluster.cpus_per_worker))
    for repeat in range(min(REPEATS, config.bench.repeats)):
        bare_s = _bare_ray(config, workers, folder / f"bare{repeat}")
        platform_s = _platform(config, workers, folder / f"platform{repeat}")
        of = f"{workers} worker{'s' if workers > 1 else ''}"
        figures.add("restart.platform_s", platform_s, f"worker killed to the next step, platform, {of}")
        figures.add("restart.bare_ray_s", bare_s, "the same, a bare Ray Train job")
        figures.add("restart.over_bare_ray", platform_s / bare_s, "platform over bare Ray Train")


def _platform(config: Config, workers: int, folder: Path) -> float:
    overrides = [
        "job=train",
        "name=restart",
        *settings(config),
        f"cluster.workers={workers}",
        "cluster.gpus_per_worker=0",
        "training.epochs=10000",
        f"checkpoint.every_steps={EVERY_STEPS}",
        "evaluation.every_epochs=0",
        "evaluation.views=[1]",
        f"output_dir={folder}",
        f"tracking.uri=sqlite:///{folder.parent / 'mlflow.db'}",
    ]
    run, members = folder / "restart", folder / "restart" / "members"

    def to_kill() -> int | None:
        with contextlib.suppress(FileNotFoundError):
            found = json.loads((run / "live.json").read_text())
            if len(found) == workers and all(worker["step"] >= KILLED_AFTER for worker in found):
                return found[-1]["pid"]
        return None

    def next_step_at() -> float | None:
        attempts = [attempt for member in members.iterdir() for attempt in read_attempts(member)]
        return attempts[1].first_step_at or None if len(attempts) > 1 else None

    with _started([sys.executable, "-m", "platform.launch", *overrides], folder) as process:
        seconds = _seconds_of_restart(process, to_kill, next_step_at, folder)
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_S)
    return seconds


def _bare_ray(config: Config, workers: int, folder: Path) -> float:
    folder.mkdir(parents=True)
    job = {
        "folder": str(folder),
        "model": asdict(config.model),
        "classes": config.data.classes,
        "image_size": config.data.image_size,
        "batch_size": config.training.batch_size // workers,
        "workers": workers,
        "cpus": config.cluster.cpus_per_worker,
        "every_steps": EVERY_STEPS,
    }
    killed: list[int] = []

    def to_kill() -> int | None:
        steps = _bare_steps(folder, workers - 1)
        if len(steps) >= KILLED_AFTER:
            killed.extend({_bare_steps(folder, rank)[-1][0] for rank in range(workers)})
            return steps[-1][0]
        return None

    def next_step_at() -> float | None:
        return next((at for pid, at in _bare_steps(folder, 0) if pid not in killed), None)

    with _started([sys.executable, "-m", "platform.bench.baselines.restart", json.dumps(job)], folder) as process:
        seconds = _seconds_of_restart(process, to_kill, next_step_at, folder)
        process.wait(LIMIT_S)  # started again, it ends by itself
    return seconds


def _bare_steps(folder: Path, rank: int) -> list[tuple[int, float]]:
    """Process id and time of each step that a rank has done."""
    path = folder / f"steps-{rank}"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), float(at)) for pid, at in (line.split() for line in lines)]


def _seconds_of_restart(
    process: subprocess.Popen[bytes],
    to_kill: Callable[[], int | None],
    next_step_at: Callable[[], float | None],
    folder: Path,
) -> float:
    pid = _awaited(process, to_kill, folder)
    os.kill(pid, signal.SIGKILL)
    killed_at = time.time()
    return _awaited(process, next_step_at, folder) - killed_at


def _awaited(process: subprocess.Popen[bytes], found: Callable[[], T | None], folder: Path) -> T:
    """Call `found` until it returns something, and return that.

    Raises:
        RuntimeError: the process ended first, or it took too long.
    """
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        if (value := found()) is not None:
            return value
        time.sleep(POLL_EVERY_S)
    how = f"ended with {process.returncode}" if process.poll() is not None else f"took more than {LIMIT_S:g} s"
    raise RuntimeError(f"{process.args} {how}: {(folder / 'output').read_text()[-2000:]}")


@contextlib.contextmanager
def _started(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, which is killed at the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "output", "wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
