"""Averages of the weights over the run, which are what is evaluated.

A new kind of average is a function here, and its line in `platform/config/choices.py`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from platform.config.choices import AVERAGINGS, chosen
from platform.config.training import TrainingConfig
from platform.data.order import steps_of

Weight = Callable[[int], float]  # global step, from 0 -> what its parameters count for in the average, in (0, 1]


def polyak(training: TrainingConfig, steps_per_epoch: int, total_steps: int) -> Weight:
    """The mean of all iterates since the share `averaging_start` of the run (Polyak and Juditsky, 1992).

    Until then it is the newest parameters: the early, poor iterates would weigh on the mean.
    """
    start = math.floor(steps_of(training.averaging_start, total_steps))
    return lambda step: 1.0 if step < start else 1 / (step - start + 1)


def ema(training: TrainingConfig, steps_per_epoch: int, total_steps: int) -> Weight:
    """An exponential moving average, in which a step has faded to 1/e after `averaging_epochs`.

    Its horizon is shorter at first, as in TensorFlow's ExponentialMovingAverage: the start is soon forgotten.
    """
    decay = math.exp(-1 / (training.averaging_epochs * steps_per_epoch))
    return lambda step: 1 - min(decay, (1 + step) / (10 + step))


def none(training: TrainingConfig, steps_per_epoch: int, total_steps: int) -> Weight:
    """The newest parameters."""
    return lambda step: 1.0


class WeightAverage:
    """The average `training.averaging` of a network's state. Counts global steps, whatever the world size.

    Batch norm's running statistics are averaged with the parameters; those of the averaged network are others, see
    `batch_norm`.
    """

    def __init__(self, model: nn.Module, training: TrainingConfig, steps_per_epoch: int, total_steps: int) -> None:
        self._weight: Weight = chosen(AVERAGINGS[training.averaging])(training, steps_per_epoch, total_steps)
        self._state = {name: value.clone() for name, value in model.state_dict().items()}
        self._behind = False  # whether it is to be copied from the network, as it was asked for last
        self._model = model  # whose tensors the next are
        self._owners = _owners(model, self._state)

    @property
    def state(self) -> dict[str, Tensor]:
        """Name -> tensor, of the same names as the network's state; those of the last call, changed in place."""
        if self._behind:
            self._take(1.0)
        return self._state

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the parameters after global step `step` (counted from 0).

        As long as the average is the newest parameters they are copied when `state` is read, not every step.
        """
        if self._model is not model:
            self._model, self._owners = model, _owners(model, self._state)
        weight = self._weight(step)
        if weight == self._weight(step + 1) == 1:
            self._behind = True
        else:
            self._take(weight)

    @torch.no_grad()
    def _take(self, weight: float) -> None:
        self._behind = False
        averaged, newest = [], []
        for name, (module, attribute) in self._owners.items():
            value = getattr(module, attribute)
            if value.is_floating_point():
                averaged.append(self._state[name])
                newest.append(value)
            else:
                self._state[name].copy_(value)  # counters, as batch norm's
        if weight == 1:
            torch._foreach_copy_(averaged, newest)  # pyright: ignore[reportPrivateImportUsage]
        else:
            torch._foreach_lerp_(averaged, newest, weight)  # pyright: ignore[reportPrivateImportUsage]

    def is_of_several(self, steps: int) -> bool:
        """Whether, after so many global steps (at least 1), it is another network than the newest."""
        return self._weight(steps - 1) < 1


def _owners(model: nn.Module, state: dict[str, Tensor]) -> dict[str, tuple[nn.Module, str]]:
    """The module and attribute of each tensor of a network's state: `state_dict` of every step would take longer than
    averaging."""
    modules = dict(model.named_modules(remove_duplicate=False))
    parts = {name: name.rpartition(".") for name in state}
    return {name: (modules[module], attribute) for name, (module, _, attribute) in parts.items()}
