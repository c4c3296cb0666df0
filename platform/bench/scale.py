"""What grows with the size of a cluster, a data set or an experiment, and how fast: `bench.parts=[scale]`.

Workers, stores and trials are simulated, and the platform's own code is driven by them: a machine without a cluster can
measure it. Costs are CPU time, memory and counts of operations, so that waiting does not count.
"""

from collections.abc import Callable
from pathlib import Path

from platform.bench import scale_copies, scale_index, scale_launcher, scale_probabilities, scale_trials
from platform.bench.figures import Figures
from platform.config.scale import SCALE_ROWS, ScaleConfig
from platform.config.sections import Config

Row = Callable[[ScaleConfig, Path, Figures], None]  # the path is a folder of the row's own, which is there

ROWS: dict[str, Row] = {
    "index": scale_index.measure,
    "launcher": scale_launcher.measure,
    "copies": scale_copies.measure,
    "trials": scale_trials.measure,
    "probabilities": scale_probabilities.measure,
}


def measure(config: Config, folder: Path, figures: Figures) -> None:
    """Measure the rows of `bench.scale.rows`; `scale.*` into `figures`."""
    for name in SCALE_ROWS:
        if name in config.bench.scale.rows:
            place = folder / name
            place.mkdir(parents=True)
            ROWS[name](config.bench.scale, place, figures)
