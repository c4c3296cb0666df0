"""The weights that a training begins with in the place of those drawn from the seed.

In: a file of the launcher's, which rank 0 reads. Out: network and average with them, the same on every rank.
"""

from pathlib import Path

from platform.config.sections import Config
from platform.models.initial import Weights, classifiers, start_from
from platform.training.peers import from_rank_0
from platform.training.progress import Progress
from platform.training.state import TrainingState
from platform.training.worker import Worker


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
