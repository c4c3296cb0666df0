"""What a network is taken apart into, and what each part costs."""

import torch
from torch import Tensor, nn

from platform.summary.branches import series_of, text_of
from platform.summary.repeats import groups_of
from tests.summary.tables import googlenet, stages


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)
        self.two = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(torch.relu(self.norm(self.one(x))))


class Net(nn.Module):
    """A stem, three blocks, a module that is used twice, an auxiliary head, a functional pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.blocks = nn.Sequential(Block(8), Block(8), Block(8))
        self.heads = nn.ModuleDict({"early": nn.Linear(8, 10)})
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.spare = nn.Parameter(torch.ones(5))
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool(self.stem(x) * self.scale)
        early = self.heads["early"](x.mean((2, 3)))
        x = self.pool(self.blocks(x))
        return self.classifier(x.mean((2, 3))), early


def test_rows_are_modules_and_what_is_done_between_them():
    found = stages(Net())
    names = ["stem", "pool", "mean", "early", "blocks.0", "blocks.1", "blocks.2", "pool", "mean", "classifier"]
    assert sorted(stage.name for stage in found) == sorted(names)
    assert [stage.name for stage in found if stage.is_auxiliary] == ["mean", "early"]
    block = next(stage for stage in found if stage.name == "blocks.1")
    assert (block.kind, block.shape, block.depth) == ("Block", (8, 8, 8), 2)
    assert text_of(series_of(block.layers)) == "16-8 + skip"


def test_every_parameter_counts_once_where_it_is_first_used():
    network = Net()
    found = stages(network)
    assert sum(stage.parameters for stage in found) == sum(each.numel() for each in network.parameters()) - 5
    stem, block = found[0], next(stage for stage in found if stage.name == "blocks.1")
    assert (stem.parameters, stem.weights) == (3 * 8 * 9 + 8 + 8, 3 * 8 * 9)
    assert (block.parameters, block.weights) == (8 * 16 * 9 + 32 + 16 * 8 + 8, 8 * 16 * 9 + 16 * 8)


def test_blocks_that_look_alike_are_a_group():
    groups = {group.name: group for group in groups_of(stages(Net()))}
    assert len(groups["blocks.0-2"].stages) == 3
    assert groups["blocks.0-2"].multiply_adds == 3 * (8 * 16 * 9 + 16 * 8) * 64


def test_memory_is_what_the_backward_pass_keeps():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 10))
    found = stages(network, 8)
    # The convolution keeps its input, the ReLU its output, which the linear layer keeps, too, for nothing.
    assert sum(stage.activation_bytes for stage in found) == 4 * (3 * 64 + 4 * 64)


def test_memory_is_what_autograd_packs():
    """Of the real network with its own tensors, each storage once."""
    network, images, seen = Net(), torch.rand(2, 3, 32, 32), {}
    own = {each.untyped_storage().data_ptr() for each in network.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = network.train()(images)
    assert len(kept) == 2
    assert sum(stage.activation_bytes for stage in stages(network)) == sum(seen.values()) / 2


def test_where_a_head_reads_is_known():
    found = {stage.name: stage for stage in googlenet().stages}
    assert found["auxiliary.4a"].sources == (found["4a"].number,)
    assert found["4b"].sources == (found["4a"].number,)
    assert [stage.name for stage in googlenet().auxiliary] == ["auxiliary.4a", "auxiliary.4d"]


def test_maps_with_their_channels_last_are_told_alike():
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 24)

        def forward(self, x: Tensor) -> Tensor:
            x = x.permute(0, 2, 3, 1)
            return torch.cat([x, self.linear(x)], -1)

    conv, last = stages(nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), Last()))
    assert (conv.shape, last.shape) == ((8, 8, 8), (32, 8, 8))
    assert [layer.width for layer in last.layers] == [24, 32]
    assert last.receptive_field is not None
    assert last.receptive_field.text == "4"


def test_googlenets_modules_are_told_by_the_widths_of_their_branches():
    found = {stage.name: text_of(series_of(stage.layers)) for stage in googlenet().stages}
    assert found["3a"] == "64 | 96-128 | 16-32 | pool-32"
    assert found["auxiliary.4d"] == "pool-128-1024-1000"
