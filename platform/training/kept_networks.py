"""Networks of one training besides the one that is evaluated as it: other averages, and snapshots of its cycles.

In: the weights after every step. Out: weights by name, which are part of the checkpoints, and files at the end:
`networks/ema.pt`, `networks/last.pt` (the newest weights), `networks/cycle02.pt` ... beside the member's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from platform.config.optim import ScheduleConfig
from platform.config.training import TrainingConfig
from platform.text import first_line
from platform.training.averaging import WeightAverage
from platform.training.checkpoints import CheckpointError, save_whole
from platform.training.schedules import cycle_ends

Weights = dict[str, Tensor]
LAST = {"none": "last"}  # averaging that is none: the newest weights


class KeptNetworks:
    """What `training.also_average` and `training.snapshots` ask for; nothing by default.

    Args:
        module: the network, with its initial weights.
        training: which averages, and whether snapshots (Huang et al., arXiv 1704.00109) are kept.
        schedule: whose cycles end in snapshots.
        steps_per_epoch: of the data.
        total_steps: of the run.
    """

    def __init__(
        self,
        module: nn.Module,
        training: TrainingConfig,
        schedule: ScheduleConfig,
        steps_per_epoch: int,
        total_steps: int,
    ) -> None:
        self._averages: dict[str, WeightAverage] = {}
        for kind in training.also_average:
            own = replace(training, averaging=kind, also_average=[])
            self._averages[LAST.get(kind, kind)] = WeightAverage(module, own, steps_per_epoch, total_steps)
        self._ends = cycle_ends(schedule, steps_per_epoch, total_steps) if training.snapshots else []
        self._snapshots: dict[str, Weights] = {}
        self._devices = {name: value.device for name, value in module.state_dict().items()}

    def begin(self, module: nn.Module) -> None:
        """Start from other initial weights."""
        for average in self._averages.values():
            for name, value in module.state_dict().items():
                average.state[name].copy_(value)

    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after global step `step` (counted from 0)."""
        for average in self._averages.values():
            average.update(module, step)
        if step + 1 in self._ends:
            weights = _on_host(module.state_dict())  # where they never change, they take no memory of the device
            self._snapshots[f"cycle{self._ends.index(step + 1) + 1:02d}"] = weights

    def state(self) -> dict[str, Weights]:
        """All of them by name, as far as there are any; the live tensors."""
        return {name: average.state for name, average in self._averages.items()} | self._snapshots

    def load(self, saved: Mapping[str, Weights]) -> None:
        """Go on from what `state` gave."""
        for name, weights in saved.items():
            if name not in self._averages:
                self._snapshots[name] = _on_host(weights)
                continue
            for key, value in self._averages[name].state.items():
                value.copy_(weights[key])

    def save(self, folder: Path, step: int, network: Callable[[Weights, bool], nn.Module], *, write: bool) -> None:
        """Write each to `folder`, as it is evaluated.

        Args:
            folder: the member's `networks`.
            step: global steps that are done.
            network: (weights, whether they are an average of several) -> the network that is evaluated; every rank
                calls it.
            write: whether this rank writes.

        Raises:
            StorageError: the disk does not take it.
        """
        for name, weights in self.state().items():
            average = self._averages.get(name)
            there = {key: value.to(self._devices[key]) for key, value in weights.items()}
            found = network(there, average is not None and average.is_of_several(step))
            if write:
                save_whole(folder / f"{name}.pt", found.state_dict())


def _on_host(weights: Mapping[str, Tensor]) -> Weights:
    """A copy on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in weights.items()}  # sync point


def read_networks(folder: Path) -> dict[str, Weights]:
    """The weights that `KeptNetworks.save` left, by name.

    Raises:
        CheckpointError: a file is damaged.
    """
    found = {}
    for path in sorted(folder.glob("*.pt")):
        try:
            found[path.stem] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever torch says of bytes from anywhere
            raise CheckpointError(
                f"{path} is unusable ({first_line(error)}); remove weights.pt of this member, and the same command "
                "makes both again from the newest checkpoint"
            ) from error
    return found
