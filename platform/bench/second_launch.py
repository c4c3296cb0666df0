"""A second launch on a cluster that runs already: from the command to the first training step.

Against the bare Ray Train job of `launch`, which starts its own Ray each time.
"""

import sys
import time
from pathlib import Path

from platform.bench.commands import environment, run, settings
from platform.chaos.nodes import LocalCluster
from platform.cluster.resources import cpus_here
from platform.config.experiment import SINGLE
from platform.config.sections import Config
from platform.experiment.member_folder import MemberFolder


def second_launch_s(config: Config, folder: Path) -> float:
    """Seconds to the first step of the second of two launches on a cluster of this machine."""
    folder.mkdir(parents=True)
    with LocalCluster(folder, nodes=1, cpus=cpus_here()) as cluster:
        variables = environment() | cluster.environment
        for name in ("first", "second"):
            commanded = time.time()
            run(
                [sys.executable, "-m", "platform.launch", *_overrides(config, folder, name, cluster.address)], variables
            )
            state = MemberFolder(folder / name / "members" / SINGLE).state()
    return state.times["first_step"] - commanded


def _overrides(config: Config, folder: Path, name: str, address: str) -> list[str]:
    return [
        "job=train",
        f"name={name}",
        "cluster=ray",
        f"cluster.address={address}",
        "cluster.gpus_per_worker=0",
        "evaluation.views=[1]",
        "export.models=false",
        *settings(config),
        "training.epochs=0.1",
        f"output_dir={folder}",
        f"tracking.uri=sqlite:///{folder.parent / 'mlflow.db'}",
    ]
