"""`job=bench`: what this machine does with this experiment, against yardsticks measured in the same run."""

import importlib.metadata
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from jobs.train import prepare_data
from platform.bench import checkpoint, launch, loader, order, restart, step
from platform.bench.figures import Figures
from platform.config import Experiment


def run(experiment: Experiment) -> int:
    """Measure `bench.parts`, print the table, write `bench.json` if asked."""
    config = experiment.config
    figures = Figures()
    print(_machine())
    with tempfile.TemporaryDirectory(prefix="platform-bench-") as scratch:
        if "loader" in config.bench.parts:
            _announce("loader")
            loader.measure(config, Path(scratch) / "loader", figures)
        if "order" in config.bench.parts:
            _announce("order")
            order.measure(config, figures)
        if "step" in config.bench.parts:
            _announce("step")
            step.measure(config, prepare_data(config), Path(scratch) / "step", figures)
        if "launch" in config.bench.parts:
            _announce("launch")
            prepare_data(config)
            launch.measure(config, Path(scratch) / "launch", figures)
        if "checkpoint" in config.bench.parts:
            _announce("checkpoint")
            checkpoint.measure(config, prepare_data(config), Path(scratch) / "checkpoint", figures)
        if "restart" in config.bench.parts:
            _announce("restart")
            prepare_data(config)
            restart.measure(config, Path(scratch) / "restart", figures)
    print()
    print("\n".join(figures.lines()))
    if config.bench.json:
        Path(config.bench.json).write_text(json.dumps(figures.medians(), indent=1) + "\n")
        print(f"written to {config.bench.json}")
    return 0


def _announce(part: str) -> None:
    print(f"measuring {part} ...", file=sys.stderr, flush=True)


def _machine() -> str:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "ray"))
    return f"{time.strftime('%F')}: {len(os.sched_getaffinity(0))} processors, {gpu}; {versions}"
