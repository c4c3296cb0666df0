"""All that changes while a member is trained: what a checkpoint holds.

In: a network, its optimiser and weight average. Out: one nested dict of tensors and plain values, and back.
"""

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from platform.data.hybrid_loader import Division
from platform.training.averaging import WeightAverage
from platform.training.checkpoints import State
from platform.training.kept_networks import KeptNetworks


@dataclass
class TrainingState:
    """All that changes in training. What is drawn follows from seeds and the step: there is no state of it."""

    module: nn.Module  # the network itself, without the wrapper that makes it a replica
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    kept: KeptNetworks | None = None  # further networks of the same training
    best: dict[str, float] = field(default_factory=lambda: {"step": -1, "score": -1.0})  # single-view top-1
    improved: dict[str, float] = field(default_factory=lambda: {"step": 0, "score": -1.0})  # by more than min_delta
    evaluated: int = 0  # step of the newest evaluation
    division: Division | None = None  # of the images between decoders, once it is found

    def at(self, step: int) -> State:
        """The state after `step` global steps. Its tensors are the live ones: training goes on to change them."""
        return {
            "step": step,
            "model": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state,
            "best": self.best,
            "improved": self.improved,
            "evaluated": self.evaluated,
        } | self._newer()

    def _newer(self) -> State:
        """What earlier versions had not, where there is something of it."""
        kept = self.kept.state() if self.kept else {}
        return ({"kept": kept} if kept else {}) | ({"division": asdict(self.division)} if self.division else {})

    def scored(self, step: int, score: float, min_delta: float) -> bool:
        """Take in the score of the evaluation after `step`; whether it is the best so far."""
        self.evaluated = step
        if score > self.improved["score"] + min_delta:
            self.improved = {"step": step, "score": score}
        if score <= self.best["score"]:
            return False
        self.best = {"step": step, "score": score}
        return True

    def load(self, saved: State) -> None:
        """Go on from a saved state, with the optimiser's settings as they are configured now: PBT changes them."""
        self.module.load_state_dict(saved["model"])
        settings = [{key: group[key] for key in group if key != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(saved["optimizer"])
        for group, own in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(own)
        self.best, self.evaluated = saved["best"], saved["evaluated"]
        if self.kept:
            self.kept.load(saved.get("kept", {}))
        self.improved = saved.get("improved", saved["best"])  # earlier versions had no patience
        self.division = Division(**saved["division"]) if "division" in saved else None
        average: dict[str, Tensor] = saved["average"]
        for name, value in self.average.state.items():
            value.copy_(average[name])
