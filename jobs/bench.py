"""`job=bench`: what this machine does with this experiment, beside baselines measured in the same run.

In: an experiment. Out: a printed table, and `bench.json` as a file.
"""

import importlib.metadata
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from jobs.pack import prepare_data
from platform.bench import actors, checkpoint, launch, loader, order, restart, scale, step, sweep, views
from platform.bench.figures import Figures
from platform.bench.rivals import measure as rivals
from platform.cluster.resources import cpus_here
from platform.config.experiment import Experiment
from platform.config.jobs import BENCH_PARTS
from platform.config.sections import Config
from platform.data.index import Index

Measure = Callable[[Config, Path, Figures], None]  # the path is a folder for scratch files


def _with_data(measure: Callable[[Config, Index, Path, Figures], None]) -> Measure:
    return lambda config, folder, figures: measure(config, prepare_data(config), folder, figures)


MEASURES: dict[str, Measure] = {
    "loader": loader.measure,
    "order": lambda config, folder, figures: order.measure(config, figures),
    "step": _with_data(step.measure),
    "launch": _with_data(lambda config, index, folder, figures: launch.measure(config, folder, figures)),
    "checkpoint": _with_data(checkpoint.measure),
    "actors": actors.measure,
    "restart": _with_data(lambda config, index, folder, figures: restart.measure(config, folder, figures)),
    "sweep": _with_data(sweep.measure),
    "views": views.measure,
    "scale": scale.measure,
    "rivals": rivals.measure,
}


def run(experiment: Experiment) -> int:
    """Measure `bench.parts`, print the table, and write the medians to `bench.json` if that is set."""
    config = experiment.config
    figures = Figures()
    print(_machine())
    with tempfile.TemporaryDirectory(prefix="platform-bench-") as scratch:
        for part in BENCH_PARTS:
            if part in config.bench.parts:
                print(f"measuring {part} ...", file=sys.stderr, flush=True)
                MEASURES[part](config, Path(scratch) / part, figures)
    print()
    print("\n".join(figures.lines()))
    if config.bench.json:
        Path(config.bench.json).write_text(json.dumps(figures.medians(), indent=1) + "\n")
        print(f"written to {config.bench.json}")
    return 0


def _machine() -> str:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "ray"))
    return f"{time.strftime('%F')}: {cpus_here()} CPUs, {gpu}; {versions}"
