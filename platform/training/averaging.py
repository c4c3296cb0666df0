"""Averages of the weights over the run, which are what is evaluated."""

import math

import torch
from torch import Tensor, nn

from platform.config.sections import TrainingConfig
from platform.data.order import steps_of


class WeightAverage:
    """Polyak's uniform average of the iterates, or an exponential one. Counts global steps, whatever the world size.

    Polyak averaging (Polyak and Juditsky, 1992) starts after a share of the run, so that the early, poor iterates do
    not weigh on it; until then, and with averaging "none", the average is the newest weights. Batch norm's running
    statistics are averaged with them, which is not what they are of the averaged network: see `batch_norm`.
    """

    def __init__(self, model: nn.Module, training: TrainingConfig, steps_per_epoch: int, total_steps: int) -> None:
        self._kind = training.averaging
        self._start = math.floor(steps_of(training.averaging_start, total_steps)) if self._kind == "polyak" else 0
        self._decay = math.exp(-1 / (training.averaging_epochs * steps_per_epoch))
        self.state: dict[str, Tensor] = {name: value.clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after global step `step` (counted from 0)."""
        share = self._share(step)
        averaged, newest = [], []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                averaged.append(self.state[name])
                newest.append(value)
            else:
                self.state[name].copy_(value)  # counters, as batch norm's
        torch._foreach_lerp_(averaged, newest, share)  # pyright: ignore[reportPrivateImportUsage]

    def is_of_several(self, steps: int) -> bool:
        """Whether, after so many global steps, it is another network than the newest."""
        return self._kind == "ema" or (self._kind == "polyak" and steps > self._start + 1)

    def _share(self, step: int) -> float:
        """What the newest weights count for."""
        if self._kind == "none" or step < self._start:
            return 1.0
        if self._kind == "polyak":
            return 1 / (step - self._start + 1)
        return 1 - min(self._decay, (1 + step) / (10 + step))  # a short horizon first: the start is soon forgotten
