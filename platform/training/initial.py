"""What a training begins with: the state before its first step, with weights drawn from the seed or read from a file.

In: a member's config; a file of the launcher's, which rank 0 reads. Out: network, optimiser and averages, the same on
every rank.
"""

import logging
from pathlib import Path

import torch

from platform.config.sections import Config
from platform.models.build import build
from platform.models.frozen import freeze
from platform.models.initial import Weights, classifiers, start_from
from platform.models.strided import narrow_strided, require_none_narrow
from platform.training import weight_decay
from platform.training.averaging import WeightAverage
from platform.training.kept_networks import KeptNetworks
from platform.training.lr_scales import scale_lr
from platform.training.optim import optimiser
from platform.training.peers import from_rank_0
from platform.training.progress import Progress
from platform.training.state import TrainingState
from platform.training.timetable import Timetable
from platform.training.worker import Worker

log = logging.getLogger("platform.training")


def initial_state(cfg: Config, timetable: Timetable, device: torch.device) -> TrainingState:
    """The state before the first step, all of it drawn from the member's seed.

    Args:
        cfg: the member's.
        timetable: of the run, which averages and cycles of the schedule depend on.
        device: that the network is on.

    Raises:
        ConfigError: `model.freeze` names no parameter, or all of them; or a CPU would compute wrong gradients.
    """
    module = build(cfg.model, cfg.data.classes, cfg.data.image_size, cfg.seed).to(device)
    module = module.to(memory_format=torch.channels_last if cfg.training.channels_last else torch.contiguous_format)
    if device.type == "cpu" and cfg.training.channels_last:
        require_none_narrow(narrow_strided(module), cfg.model.name)
    freeze(module, cfg.model.freeze)
    optimizer = optimiser(module, cfg.optim)
    scale_lr(optimizer, module, cfg.optim, cfg.model, cfg.data.classes, cfg.data.image_size)
    log.info(weight_decay.summary(module))
    average = WeightAverage(module, cfg.training, timetable.steps_per_epoch, timetable.last_step)
    kept = KeptNetworks(module, cfg.training, cfg.schedule, timetable.steps_per_epoch, timetable.last_step)
    return TrainingState(module, optimizer, average, kept)


def begin_with(
    file: Path, state: TrainingState, cfg: Config, classes: list[str], worker: Worker, progress: Progress
) -> None:
    """Give a new training the weights that fit; what does not keeps what was drawn from the seed.

    Args:
        file: safetensors, with the names of its classes where they are known.
        state: of a training of no step yet; the average begins with the same.
        cfg: the member's.
        classes: names of its classes; empty: nobody named them.
        worker: this one.
        progress: is told that something moves while rank 0 reads.

    Raises:
        OSError: the file is not there.
        ConfigError: too little fits.
    """
    weights = from_rank_0(worker, lambda: Weights.read(file), progress.moved)
    heads = classifiers(cfg.model, cfg.data.classes, cfg.data.image_size)
    found = start_from(state.module, weights, heads, classes)
    found.require_enough(str(cfg.model.init), cfg.model.name)
    for name, value in state.module.state_dict().items():
        state.average.state[name].copy_(value)
    if state.kept:
        state.kept.begin(state.module)
