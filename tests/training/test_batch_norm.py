"""Batch norm's statistics of an averaged network, against torch's own way to take them."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from platform.config.data import DataConfig
from platform.config.sections import Config
from platform.data.index import Index
from platform.data.order import Order
from platform.data.pixels import Pixels
from platform.data.train_loader import TrainLoader
from platform.data.training_order import training_order
from platform.models.build import build
from platform.training.batch_norm import layers, newest_images, recompute
from platform.training.loop import train
from platform.training.worker import Worker
from tests.training.test_loop import config, nothing

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.Dropout(0.5)
    )


def images(batches: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [3 * torch.randn(8, 3, 9, 9, generator=generator) + 1 for _ in range(batches)]


def test_statistics_are_those_that_torch_takes() -> None:
    ours, theirs = network().eval(), network()
    recompute(ours, images(5), 5, Worker(), torch.float32)
    update_bn(images(5), theirs)
    for name, value in theirs.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(ours.state_dict()[name], value, msg=name)


def test_all_but_the_statistics_stays_as_it_was() -> None:
    ours, seen = network(), []
    ours.train()(images(1)[0])
    ours.eval()
    before = copy.deepcopy(ours.state_dict())
    ours[-1].register_forward_hook(lambda module, inputs, output: seen.append(torch.equal(inputs[0], output)))
    recompute(ours, images(3), 3, Worker(), torch.float32)
    assert seen == [True] * 3  # no dropout
    assert not any(module.training for module in ours.modules())
    assert [layer.momentum for layer in layers(ours)] == [0.1, 0.1]
    for name, value in ours.state_dict().items():
        assert torch.equal(value, before[name]) == ("running" not in name), name


def stream_by_stream(cfg: Config, index: Index, order: Order, step: int) -> list[Tensor]:
    """What each stream gave last, read as by so many workers."""
    pixels, chunks = Pixels(cfg.data, CPU), []
    steps = 128 // order.per_stream
    for stream in range(order.streams):
        alone = TrainLoader(index.split("train"), order, cfg.data, cfg.sampling, rank=stream, world=order.streams)
        with alone:
            first = max(0, step - steps)
            batches = list(alone.steps(first, first + steps))
        parts = [pixels.training(b.images, b.mirrored_N, b.colour_draws_N8, cfg.sampling) for b in batches]
        chunks.append(torch.cat(parts))
    return chunks


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 90])
@pytest.mark.parametrize("world", [1, 3])
def test_any_number_of_workers_takes_the_newest_images_of_each_stream(
    digits: Index, digits_data: DataConfig, world: int, step: int
) -> None:
    cfg = config(digits_data, batch_size=16)
    order, pixels = training_order(cfg, digits.split("train")), Pixels(digits_data, CPU)
    expected = stream_by_stream(cfg, digits, order, step)
    for rank in range(world):
        loader = TrainLoader(digits.split("train"), order, cfg.data, cfg.sampling, rank=rank, world=world)
        with loader:
            found = list(newest_images(loader, order, step, Worker(rank, world), pixels, cfg.sampling))
        for stream, chunk in zip(order.streams_of(rank, world), found, strict=True):
            assert torch.equal(chunk, expected[stream])


@pytest.mark.slow
@pytest.mark.parametrize("averaging", ["polyak", "ema", "none"])
def test_a_run_ends_with_the_averaged_networks_own_statistics(
    digits: Index, digits_data: DataConfig, tmp_path: Path, averaging: str
) -> None:
    cfg = config(digits_data, batch_norm=True, averaging=averaging, epochs=0.05)
    cfg = replace(cfg, training=replace(cfg.training, averaging_start=0.0))
    model = train(cfg, digits, Worker(), tmp_path, nothing)
    order = training_order(cfg, digits.split("train"))
    expected = build(cfg.model, cfg.data.classes, cfg.data.image_size, cfg.seed)
    expected.load_state_dict(model.state_dict())
    chunks = stream_by_stream(cfg, digits, order, 9)
    expected.eval()
    for layer in layers(expected):
        layer.train()
        layer.reset_running_stats()
        layer.momentum = None
    with torch.no_grad():
        for chunk in chunks:
            expected(chunk)
    same = [
        torch.allclose(value, model.state_dict()[name], rtol=1e-4, atol=1e-6)
        for name, value in expected.state_dict().items()
        if "running" in name and not name.startswith("auxiliary")
    ]
    assert all(same) == (averaging != "none")
    assert len(same) == 2 * 57


def test_a_network_without_batch_norm_is_left_alone() -> None:
    assert layers(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))) == []
