"""The launcher of many workers: the CPU time that each simulated second costs it, and what it keeps as days go by.

MLflow is a database file on this machine; its own thread is counted apart. A week of many workers is hundreds of
millions of messages: some of its seconds are played, evenly spread, so that members begin and end as in the week.
"""

import gc
import time
from pathlib import Path

from platform.bench.figures import Figures
from platform.bench.growth import add_growth
from platform.bench.memory import anonymous_kb
from platform.bench.simulated import MEMBERS_PER_LANE, Simulation
from platform.config.scale import ScaleConfig
from platform.config.tracking import TrackingConfig

WARM_UP_S, MEASURED_S = 20, 60  # simulated seconds
KEPT_WORKERS = 2  # of the simulation of days, in one lane
MEMBER_S = 5_000  # simulated seconds of a member there
WEEK_S, WINDOWS = 604_800, 4


def measure(sizes: ScaleConfig, folder: Path, figures: Figures) -> None:
    """Measure at `bench.scale.workers` and `.seconds`; `scale.launcher.*` into `figures`."""
    shares: dict[int, float] = {}
    for workers in sizes.workers:
        shares[workers] = cpu_share(folder / f"workers{workers}", workers)
    what = "of a core, the launcher's CPU time: a beat a second of each worker, metrics a second of each lane of eight"
    add_growth(figures, "launcher.cpu_share", shares, what, "workers")
    kept = {seconds: objects_kept(folder / f"seconds{seconds}", seconds) for seconds in sizes.seconds}
    add_growth(figures, "launcher.objects", kept, "objects in its memory after a run of two workers", "seconds")
    workers = max(sizes.workers)
    message_us, megabytes = over_a_week(folder / "week", workers, sizes.week_looks)
    what = f"CPU us of its main thread for a beat or metrics of {workers} workers in a simulated week"
    add_growth(figures, "launcher.message_us", message_us, what, "messages before and with these")
    add_growth(figures, "launcher.week_mb", megabytes, "MB of memory that is of no file, meanwhile", "messages")


def cpu_share(folder: Path, workers: int) -> float:
    """CPU seconds of the launcher's main thread for a second of so many workers."""
    simulation = Simulation(folder, workers, WARM_UP_S + MEASURED_S, _tracking(folder))
    with simulation.launcher() as launcher:
        for _ in range(WARM_UP_S):
            simulation.second(launcher)
        began = time.thread_time()
        for _ in range(MEASURED_S):
            simulation.second(launcher)
        return (time.thread_time() - began) / MEASURED_S


def objects_kept(folder: Path, seconds: int) -> float:
    """Objects that the garbage collector knows after a run of so many simulated seconds, above those before it."""
    simulation = Simulation(folder, KEPT_WORKERS, MEMBER_S, _tracking(folder))
    gc.collect()
    before = len(gc.get_objects())
    with simulation.launcher() as launcher:
        for _ in range(seconds):
            simulation.second(launcher, writes=False)
    gc.collect()  # MLflow has got everything: what is on its way is not counted
    return float(len(gc.get_objects()) - before)


def over_a_week(folder: Path, workers: int, looks: int) -> tuple[dict[int, float], dict[int, float]]:
    """(CPU microseconds of the launcher's main thread for each message, megabytes of its process), by the messages that
    it has seen, in four parts of the week. The first eighth, in which members begin, is in none."""
    every_s = WEEK_S // looks
    simulation = Simulation(folder, workers, WEEK_S // MEMBERS_PER_LANE, _tracking(folder), every_s)
    each = workers + simulation.lanes  # messages of a second
    costs, megabytes, seen, looks = {}, {}, 0, WEEK_S // every_s
    with simulation.launcher() as launcher:
        for _ in range(looks // 8):
            simulation.second(launcher)
            seen += each
        for _ in range(WINDOWS):
            began, part = time.thread_time(), (looks - looks // 8) // WINDOWS
            for _ in range(part):
                simulation.second(launcher)
            seen += part * each
            costs[seen] = 1e6 * (time.thread_time() - began) / (part * each)
            gc.collect()
            megabytes[seen] = anonymous_kb() / 1e3
    return costs, megabytes


def _tracking(folder: Path) -> TrackingConfig:
    folder.mkdir(parents=True)
    return TrackingConfig(uri=f"sqlite:///{folder.parent / 'mlflow.db'}")
