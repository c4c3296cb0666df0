"""Batches decoded in one call: the same samples, crops and faults as one by one; pixels equal but for rounding."""

from typing import Any

import pytest
import torch

from platform.config.checks import ConfigError
from platform.config.data import DataConfig, LoaderConfig
from platform.config.sampling import SamplingConfig
from platform.data.batch import Batch
from platform.data.deviceloader import DeviceTrainLoader, resize_on_device
from platform.data.index import Index, Split, read_index
from platform.data.order import Order
from platform.data.resize import resize
from platform.data.train_loader import TrainLoader
from tests.data.handmade import MakeShards
from tests.data.test_loader import CORRUPT, members

pytestmark = pytest.mark.timeout(60)

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]


def both(split: Split, data: DataConfig, sampling: SamplingConfig, device: str, steps: int) -> list[list[Batch]]:
    order = Order.of(split, 2, 12, 64, 7)
    loaders: list[TrainLoader] = [
        TrainLoader(split, order, data, sampling, threads=2),
        DeviceTrainLoader(split, order, data, sampling, device=torch.device(device)),
    ]
    batches = []
    for loader in loaders:
        with loader:
            batches.append(list(loader.steps(3, 3 + steps)))
    return batches


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "area", "nearest", "random"])
def test_batches_are_those_of_the_processor_but_for_rounding(
    digits: Index, digits_data: DataConfig, device: str, interpolation: str
) -> None:
    sampling = SamplingConfig(interpolation=interpolation)
    for ours, theirs in zip(*both(digits.split("train"), digits_data, sampling, device, 4), strict=True):
        assert theirs.images.device.type == device
        for name in ("labels_N", "ids_N", "valid_N", "mirrored_N"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
        difference = (ours.images.int() - theirs.images.cpu().int()).abs().float()
        assert difference.mean() < 0.3
        assert difference.max() <= (1 if device == "cpu" and interpolation in ("bilinear", "area", "nearest") else 8)


@pytest.mark.parametrize("device", DEVICES)
def test_corrupt_images_and_other_formats_do_not_disturb_their_batch(
    make_shards: MakeShards, small_jpegs: list[bytes], device: str
) -> None:
    torn = {21: small_jpegs[0][: len(small_jpegs[0]) // 2]}
    split = read_index(make_shards(members(small_jpegs, 24, CORRUPT | torn))).split("train")
    data = DataConfig(classes=3, max_corrupt=4)
    ours, theirs = both(split, data, SamplingConfig(), device, 2)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.ids_N, b.ids_N)
        assert torch.equal(a.labels_N, b.labels_N)
        assert torch.equal(a.mirrored_N, b.mirrored_N)
        assert b.valid_N.all()
        assert b.images.flatten(1).any(1).all()


@pytest.mark.parametrize("size", [(8, 8), (40, 30), (3, 50)])
def test_resizing_in_float_is_resizing_in_integers_but_for_rounding(size: tuple[int, int]) -> None:
    pixels = torch.randint(0, 256, (36, 41, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for interpolation in ("bilinear", "bicubic", "area", "nearest"):
        difference: Any = resize_on_device(pixels, size, interpolation).int() - resize(
            pixels.numpy(), size, interpolation
        )
        # Bicubic overshoots, and in integers it is clamped between its two passes.
        assert difference.abs().max() <= (8 if interpolation == "bicubic" else 1), interpolation
        assert difference.abs().float().mean() < 0.5, interpolation


def test_decoding_on_a_gpu_needs_one() -> None:
    LoaderConfig(decoder="gpu").require_gpu(available=True)
    LoaderConfig().require_gpu(available=False)
    with pytest.raises(
        ConfigError, match=r"loader.decoder is gpu, but the workers have no GPU; give loader.decoder=cpu"
    ):
        LoaderConfig(decoder="gpu").require_gpu(available=False)
    with pytest.raises(ConfigError, match=r"loader.decoder is 'tpu'; choose one of cpu, gpu, auto"):
        LoaderConfig(decoder="tpu")
