"""The launcher of many workers: the CPU time that each simulated second costs it, and what it keeps as days go by.

MLflow is a database file on this machine; its own thread is counted apart.
"""

import gc
import time
from pathlib import Path

from platform.bench.figures import Figures
from platform.bench.growth import add_growth
from platform.bench.simulated import Simulation
from platform.config.scale import ScaleConfig
from platform.config.tracking import TrackingConfig

WARM_UP_S, MEASURED_S = 20, 60  # simulated seconds
KEPT_WORKERS = 2  # of the simulation of days, in one lane
MEMBER_S = 5_000  # simulated seconds of a member there


def measure(sizes: ScaleConfig, folder: Path, figures: Figures) -> None:
    """Measure at `bench.scale.workers` and `.seconds`; `scale.launcher.*` into `figures`."""
    shares: dict[int, float] = {}
    for workers in sizes.workers:
        shares[workers] = cpu_share(folder / f"workers{workers}", workers)
    what = "of a core, the launcher's CPU time: a beat a second of each worker, metrics a second of each lane of eight"
    add_growth(figures, "launcher.cpu_share", shares, what, "workers")
    kept = {seconds: objects_kept(folder / f"seconds{seconds}", seconds) for seconds in sizes.seconds}
    add_growth(figures, "launcher.objects", kept, "objects in its memory after a run of two workers", "seconds")


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


def _tracking(folder: Path) -> TrackingConfig:
    folder.mkdir(parents=True)
    return TrackingConfig(uri=f"sqlite:///{folder.parent / 'mlflow.db'}")
