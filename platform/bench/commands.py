"""Commands that are measured from outside, as a user gives them.

In: a config, a command. Out: overrides; the command has run in the checkout to its end.
"""

import os
import subprocess
from collections.abc import Mapping

from platform.checkout import ROOT
from platform.config.models import GoogLeNetConfig
from platform.config.sections import Config

LIMIT_S = 900


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
