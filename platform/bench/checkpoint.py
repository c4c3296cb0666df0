"""What checkpoints cost the training: the platform's loop with one every few steps against one without, in turns. That
is the copy that training waits for, and what the writing thread takes from training meanwhile."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from platform.bench.figures import Figures
from platform.bench.step import loop_seconds
from platform.config.sections import Config
from platform.config.training import CheckpointConfig
from platform.data.index import Index
from platform.training.progress import Progress

STEPS, EVERY_STEPS = 48, 2  # as often as the writer can, so that the difference stands out of the noise
NEVER_S = 1e9


def measure(config: Config, index: Index, folder: Path, figures: Figures) -> None:
    """Measure the extra seconds of a checkpoint; `checkpoint.*` into `figures`."""
    torch.set_num_threads(config.cluster.cpus_per_worker)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    without = replace(config, checkpoint=CheckpointConfig(every_s=NEVER_S))
    often = replace(config, checkpoint=CheckpointConfig(every_s=NEVER_S, every_steps=EVERY_STEPS))
    loop_seconds(without, index, device, folder / "warm-up", 2)
    for repeat in range(config.bench.repeats):
        plain_s = loop_seconds(without, index, device, folder / f"without{repeat}", STEPS)
        saves, saved = _Saves(), folder / f"often{repeat}"
        saving_s = loop_seconds(often, index, device, saved, STEPS, saves)
        save_s = (saving_s - plain_s) / (saves.count - 1)  # the last comes after the last report
        share = save_s / config.checkpoint.every_s
        figures.add("checkpoint.save_s", save_s, "seconds of training that a checkpoint costs")
        figures.add("checkpoint.bytes_mb", _newest(saved).stat().st_size / 1e6, "size of a checkpoint")
        figures.add("checkpoint.cost_share", share, f"of the training, every {config.checkpoint.every_s:g} s")


class _Saves(Progress):
    """Counts the checkpoints that are taken; none is while another is being written."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def checkpoint_is_taken(self) -> Callable[[], None]:
        self.count += 1
        return super().checkpoint_is_taken()


def _newest(folder: Path) -> Path:
    return max((folder / "checkpoints").glob("*.pt"))
