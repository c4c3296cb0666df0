"""What is chosen by a name, and where its function is: one plain dict a kind. Names stand here and nowhere else.

In: nothing. Out: dicts name -> `module:function`, which `chosen` imports at the first use: the settings are checked
without PyTorch. A new one is a function and a line here; networks and optimisers, which have settings of their own, are
in `models` and `optim`.
"""

import functools
import pkgutil
from typing import Any

# (schedule, steps per epoch, total steps) -> a function: step -> multiple of optim.lr
SCHEDULES = {
    "step_decay": "platform.training.schedules:step_decay",
    "constant": "platform.training.schedules:constant",
    "linear": "platform.training.schedules:linear",
    "cosine": "platform.training.schedules:cosine",
    "polynomial": "platform.training.schedules:polynomial",
    "one_cycle": "platform.training.schedules:one_cycle",
    "cosine_restarts": "platform.training.schedules:cosine_restarts",
}

# (training, steps per epoch, total steps) -> a function: step -> weight of the newest parameters in the average
AVERAGINGS = {
    "polyak": "platform.training.averaging:polyak",
    "ema": "platform.training.averaging:ema",
    "none": "platform.training.averaging:none",
}

# (sampling, data, width, height, uniform draws) -> the box of the image that is shown
SAMPLING_METHODS = {
    "area_aspect": "platform.data.sampling:area_aspect",
    "random_square": "platform.data.sampling:random_square",
    "centre_square": "platform.data.sampling:centre_square",
}

# (split, order, data, sampling, device, rank=, world=, threads=, prefetch=, sizes=) -> a TrainLoader
DECODERS = {
    "cpu": "platform.data.decoders:on_cpu",
    "gpu": "platform.data.decoders:on_gpu",
    "auto": "platform.data.decoders:on_both",
}


@functools.cache
def chosen(place: str) -> Any:
    """The function at `module:function`, an entry of these dicts; imports its module."""
    return pkgutil.resolve_name(place)
