"""`optim` and `schedule`: which optimiser, with its settings, and the learning rate over the run.

In: nothing. Out: `OptimConfig`, which every function takes that does not ask which optimiser it is. Each optimiser has
a dataclass of its own, and a line in `OPTIMISERS`.
"""

import math
from dataclasses import dataclass

from platform.config import named
from platform.config.checks import (
    require,
    require_at_least,
    require_choice,
)
from platform.config.choices import SCHEDULES

SCALINGS = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}  # exponents of the batch size


@dataclass
class OptimConfig:
    """What every optimiser has."""

    name: str  # of OPTIMISERS
    lr: float = 0.01  # learning rate, which `schedule` multiplies
    weight_decay: float = 2e-4  # of weights; biases and normalisation have none
    clip_norm: float = 0.0  # largest norm of the whole gradient; 0: not clipped
    scaling: str = "none"  # how lr follows training.batch_size: linear (Goyal et al., arXiv 1706.02677), or by its root
    reference_batch: int | None = None  # images; linear, sqrt: the batch size for which lr is meant
    head_lr: float = 1.0  # learning rate of the classifiers, auxiliary ones too, as a multiple of lr
    layer_decay: float = 1.0  # each block's learning rate is this share of that of the block after it; 1: all are alike

    def __post_init__(self) -> None:
        require_choice("optim.name", self.name, OPTIMISERS)
        require(self.lr > 0, f"optim.lr is {self.lr}; give more than 0")
        require_at_least("optim.weight_decay", self.weight_decay, 0)
        require_at_least("optim.clip_norm", self.clip_norm, 0)
        require_choice("optim.scaling", self.scaling, SCALINGS)
        reference = self.reference_batch
        require(reference is None or reference >= 1, f"optim.reference_batch is {reference}; give at least 1")
        require(
            reference is None or self.scaling != "none",
            f"optim.reference_batch is {reference}, without effect with optim.scaling=none; give linear or sqrt, "
            "or leave it out",
        )
        require(
            reference is not None or self.scaling == "none",
            f"optim.scaling is {self.scaling}; give optim.reference_batch, the batch size for which optim.lr is meant",
        )
        require(0 < self.head_lr <= 1e6, f"optim.head_lr is {self.head_lr}; give a multiple of optim.lr above 0")
        require(0 < self.layer_decay <= 1, f"optim.layer_decay is {self.layer_decay}; give a share in (0, 1]")

    def lr_of(self, batch_size: int) -> float:
        """The learning rate that `schedule` multiplies, with global batches of so many images."""
        return self.lr * (batch_size / (self.reference_batch or batch_size)) ** SCALINGS[self.scaling]


@dataclass
class SGDConfig(OptimConfig):
    """Stochastic gradient descent with momentum."""

    name: str = "sgd"
    momentum: float = 0.9  # 0: plain gradient descent
    nesterov: bool = False  # Nesterov's momentum

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_share("momentum", self.momentum)
        require(not self.nesterov or self.momentum > 0, "optim.nesterov needs optim.momentum above 0; it is 0")


@dataclass
class RMSPropConfig(OptimConfig):
    """RMSProp as TensorFlow has it, with epsilon inside the square root (Szegedy et al., CVPR 2016, section 8)."""

    name: str = "rmsprop"
    decay: float = 0.9  # of the mean square of gradients, which begins at 1
    epsilon: float = 1.0  # added to the mean square, under the root
    momentum: float = 0.9  # of the steps, learning rate included

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_share("decay", self.decay)
        _require_above_0("epsilon", self.epsilon)
        _require_share("momentum", self.momentum)


@dataclass
class AdagradConfig(OptimConfig):
    """Adagrad (Duchi et al., 2011)."""

    name: str = "adagrad"
    initial_sum: float = 0.0  # of squared gradients; TensorFlow's is 0.1
    epsilon: float = 1e-10  # added to the root of the sum

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("optim.initial_sum", self.initial_sum, 0)
        _require_above_0("epsilon", self.epsilon)


@dataclass
class AdamWConfig(OptimConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101)."""

    name: str = "adamw"
    beta1: float = 0.9  # decay of the mean of gradients
    beta2: float = 0.999  # decay of the mean of their squares
    epsilon: float = 1e-8  # added to the root of the mean square

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_share("beta1", self.beta1)
        _require_share("beta2", self.beta2)
        _require_above_0("epsilon", self.epsilon)


@dataclass
class LARSConfig(OptimConfig):
    """SGD with a rate for each layer, for large batches (You et al., arXiv 1708.03888)."""

    name: str = "lars"
    momentum: float = 0.9  # 0: none
    trust_coefficient: float = 0.001  # a layer's step is this share of its weights' norm, times the learning rate

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_decay(self)
        _require_share("momentum", self.momentum)
        _require_above_0("trust_coefficient", self.trust_coefficient)


@dataclass
class LAMBConfig(OptimConfig):
    """Adam with a rate for each layer, for large batches (You et al., arXiv 1904.00962)."""

    name: str = "lamb"
    beta1: float = 0.9  # decay of the mean of gradients
    beta2: float = 0.999  # decay of the mean of their squares
    epsilon: float = 1e-6  # added to the root of the mean square

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_decay(self)
        _require_share("beta1", self.beta1)
        _require_share("beta2", self.beta2)
        _require_above_0("epsilon", self.epsilon)


@dataclass
class MuonConfig(OptimConfig):
    """Muon (Jordan et al., 2024) for matrices and the kernels of convolutions, flattened; AdamW for all others."""

    name: str = "muon"
    momentum: float = 0.95  # of Muon
    nesterov: bool = True  # Nesterov's momentum, also of AdamW, which is NAdamW then
    iterations: int = 5  # of Newton and Schulz, which make the step orthogonal
    beta1: float = 0.9  # AdamW: decay of the mean of gradients
    beta2: float = 0.95  # AdamW: decay of the mean of their squares

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("momentum", "beta1", "beta2"):
            _require_share(key, getattr(self, key))
        require(1 <= self.iterations <= 20, f"optim.iterations is {self.iterations}; give 1 to 20, such as 5")


# A new one is a dataclass and a line here, and the function of its name in `platform/training/optim.py`.
OPTIMISERS: dict[str, type[OptimConfig]] = {
    "sgd": SGDConfig,
    "rmsprop": RMSPropConfig,
    "adagrad": AdagradConfig,
    "adamw": AdamWConfig,
    "lars": LARSConfig,
    "lamb": LAMBConfig,
    "muon": MuonConfig,
}


def optimiser_class(name: str) -> type[OptimConfig]:
    """The dataclass of an optimiser's settings.

    Raises:
        ConfigError: there is no optimiser of that name.
    """
    require_choice("optim.name", name, OPTIMISERS)
    return OPTIMISERS[name]


def converted(optim: OptimConfig, name: str) -> OptimConfig:
    """The settings of the optimiser `name` for those of another, with all that both have.

    Raises:
        ConfigError: it does not have a setting that is not as usual.
    """
    return named.converted(optim, optimiser_class(name), name, "optim")


def _require_share(key: str, value: float) -> None:
    require(0 <= value < 1, f"optim.{key} is {value}; give a share in [0, 1)")


def _require_decay(optim: OptimConfig) -> None:
    """timm's LARS and LAMB give parameters without weight decay no rate of their own, as biases shall have none."""
    require(
        optim.weight_decay > 0,
        f"optim.weight_decay is {optim.weight_decay}, with which {optim.name} has no rate for each layer; give more "
        "than 0, such as 1e-4",
    )


def _require_above_0(key: str, value: float) -> None:
    require(value > 0, f"optim.{key} is {value}; give more than 0")


@dataclass
class ScheduleConfig:
    """The learning rate as a multiple of `optim.lr` over the run."""

    name: str = "step_decay"  # of SCHEDULES
    factor: float = 0.96  # step_decay: the learning rate is multiplied by this ...
    every_epochs: float = 8.0  # ... every 8 epochs (GoogLeNet)
    # linear, cosine, polynomial, one_cycle: multiple of optim.lr at the end; cosine_restarts: of every cycle
    final: float = 0.0
    power: float = 2.0  # polynomial: exponent of the share of the run that is left; 1: linear
    initial: float = 0.04  # one_cycle: multiple of optim.lr at the start
    rise: float = 0.3  # one_cycle: share of the run, after the warm-up, until optim.lr is reached
    cycles: int = 5  # cosine_restarts: parts of the run after the warm-up, each a cosine of its own
    cycle_growth: float = 1.0  # cosine_restarts: each cycle is so many times as long as the one before
    warmup_epochs: float = 0.0  # linear from 0 to where the schedule starts, before any schedule

    def __post_init__(self) -> None:
        require_choice("schedule.name", self.name, SCHEDULES)
        require(0 < self.factor <= 1, f"schedule.factor is {self.factor}; give a share in (0, 1]")
        every, warmup = self.every_epochs, self.warmup_epochs
        require(
            0 < every < math.inf, f"schedule.every_epochs is {every}; give more than 0, and less than infinitely many"
        )
        require(0 <= self.final <= 1, f"schedule.final is {self.final}; give a share in [0, 1]")
        require(0 < self.power < math.inf, f"schedule.power is {self.power}; give more than 0, such as 0.5, 1 or 2")
        require(0 <= self.initial <= 1, f"schedule.initial is {self.initial}; give a share in [0, 1]")
        require(0 < self.rise < 1, f"schedule.rise is {self.rise}; give a share between 0 and 1")
        require_at_least("schedule.cycles", self.cycles, 1)
        growth = self.cycle_growth
        require(0.1 <= growth <= 10, f"schedule.cycle_growth is {growth}; give 0.1 to 10, such as 1 or 2")
        for key in ("cycles", "cycle_growth"):
            value = getattr(self, key)
            require(
                self.name == "cosine_restarts" or value == getattr(ScheduleConfig, key),
                f"schedule.{key} is {value}, without effect with schedule.name={self.name}; give cosine_restarts, or "
                "leave it out",
            )
        require(0 <= warmup < math.inf, f"schedule.warmup_epochs is {warmup}; give at least 0, and not infinitely many")
