"""Networks as stages by name, for tests."""

import copy
import functools

import torch
from torch import nn

from platform.config.models import GoogLeNetConfig, ModelConfig
from platform.summary.network import Network, network_of
from platform.summary.operations import Recording
from platform.summary.recorder import record
from platform.summary.stages import Stage, stages_of


@functools.cache
def googlenet() -> Network:
    return network_of(GoogLeNetConfig(), 1000, 224)


@functools.cache
def torchvisions(name: str, image_size: int = 224) -> Network:
    return network_of(ModelConfig(f"torchvision/{name}"), 1000, image_size)


def recorded(network: nn.Module, image_size: int = 32) -> Recording:
    """Of a copy, as statistics of batch norm move."""
    return record(copy.deepcopy(network), torch.empty(2, 3, image_size, image_size))


def stages(network: nn.Module, image_size: int = 32) -> list[Stage]:
    return stages_of(recorded(network, image_size))
