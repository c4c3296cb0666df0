"""The network that is evaluated, for kinds of state that none of the platform's own networks has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.index import Split
from platform.training.averaged_network import AveragedNetwork
from platform.training.averaging import WeightAverage
from platform.training.feed import Feed
from platform.training.progress import Progress
from platform.training.state import TrainingState
from platform.training.worker import Worker


class Indexed(nn.Module):
    """With a buffer that its state has, and one that it has not: as timm's Swin Transformers."""

    kept: Tensor
    built: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("kept", torch.zeros(2))
        self.register_buffer("built", torch.arange(2), persistent=False)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A real group of processes, of which this is the only one."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_a_buffer_that_the_state_has_not_is_as_built_at_any_number_of_workers() -> None:
    network = Indexed()
    average = WeightAverage(network, TrainingConfig(averaging="none"), 4, 12)
    state = TrainingState(network, torch.optim.SGD(network.parameters(), lr=0.1), average)
    no_images: Any = None  # they are for batch norm
    feed = Feed(Config(), Split("train", []), no_images, Worker(0, 2))
    averaged = AveragedNetwork(feed.cfg, feed, state, no_images, torch.float32, Progress())
    with torch.no_grad():
        network.linear.weight.fill_(3.0)
        network.kept.fill_(5.0)
    average.update(network, 0)
    found = cast("Indexed", averaged.after(1))
    assert not found.training
    assert torch.equal(found.linear.weight, torch.full((2, 2), 3.0))
    assert found.kept.tolist() == [5.0, 5.0]
    assert found.built.tolist() == [0, 1]
