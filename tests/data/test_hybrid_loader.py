"""Two decoders, one batch: whose each image is follows from the image, and each has its decoder's bits.

The second decoder is the GPU's code on CPU: nvImageCodec, and resizing in float, which rounds otherwise.
"""

from typing import Any

import numpy as np
import pytest
import torch

from platform.config.checks import ConfigError
from platform.config.data import DataConfig, LoaderConfig
from platform.config.sampling import SamplingConfig
from platform.data.batch import Batch
from platform.data.decoders import on_both
from platform.data.deviceloader import DeviceTrainLoader
from platform.data.hybrid_loader import Division, HybridTrainLoader
from platform.data.index import Index, Split, read_index
from platform.data.order import Order
from platform.data.train_loader import TrainLoader
from tests.data.handmade import MakeShards
from tests.data.test_loader import CORRUPT, members

pytestmark = pytest.mark.timeout(60)
CPU = torch.device("cpu")
OTHERS = ("labels_N", "ids_N", "valid_N", "mirrored_N")


def order_of(split: Split) -> Order:
    return Order.of(split, 2, 12, 64, 7)


def hybrid(split: Split, data: DataConfig, division: Division | None, **options: Any) -> HybridTrainLoader:
    sampling = SamplingConfig()
    return HybridTrainLoader(split, order_of(split), data, sampling, device=CPU, division=division, **options)


def batches(loader: TrainLoader, start: int, stop: int) -> list[Batch]:
    with loader:
        return list(loader.steps(start, stop))


@pytest.fixture
def alone(digits: Index, digits_data: DataConfig) -> tuple[list[Batch], list[Batch]]:
    """Six steps from 3 on, as each decoder alone has them."""
    split, sampling = digits.split("train"), SamplingConfig()
    order = order_of(split)
    of_cpu = batches(TrainLoader(split, order, digits_data, sampling), 3, 9)
    return of_cpu, batches(DeviceTrainLoader(split, order, digits_data, sampling, device=CPU), 3, 9)


@pytest.mark.parametrize("share", [None, 0.0, 0.4, 1.0])
def test_each_image_has_the_bits_of_its_decoder(
    digits: Index, digits_data: DataConfig, alone: tuple[list[Batch], list[Batch]], share: float | None
) -> None:
    division = None if share is None else Division(5, share)
    loader = hybrid(digits.split("train"), digits_data, division, threads=2)
    found, shares = batches(loader, 3, 9), []
    for step, batch, of_cpu, of_device in zip(range(3, 9), found, *alone, strict=True):
        for name in OTHERS:
            assert torch.equal(getattr(batch, name), getattr(of_cpu, name)), name
        assert np.array_equal(batch.draws_ND, of_cpu.draws_ND)
        mask = torch.from_numpy(loader.by_device_N(step))
        assert torch.equal(batch.images[mask], of_device.images[mask])
        assert torch.equal(batch.images[~mask], of_cpu.images[~mask])
        assert type(batch) is Batch
        if step < 5:
            assert not mask.any()
        else:
            shares.append(float(mask.float().mean()))
    assert np.mean(shares) == pytest.approx(share or 0.0, abs=0.2)
    assert any(not torch.equal(ours.images, theirs.images) for ours, theirs in zip(*alone, strict=True))


def test_whose_an_image_is_depends_on_no_number_of_workers(digits: Index, digits_data: DataConfig) -> None:
    split, division = digits.split("train"), Division(0, 0.5)
    for step in (0, 1, 200):
        with hybrid(split, digits_data, division) as loader:
            order = order_of(split)
            whole = dict(zip(order.batch(step).tolist(), loader.by_device_N(step).tolist(), strict=True))
        assert len(set(whole.values())) == 2
        for rank in range(2):
            with hybrid(split, digits_data, division, rank=rank, world=2) as loader:
                own = dict(zip(order.batch(step, rank, 2).tolist(), loader.by_device_N(step).tolist(), strict=True))
            assert own.items() <= whole.items()


def test_corrupt_images_are_replaced_by_the_decoder_of_their_place(
    make_shards: MakeShards, small_jpegs: list[bytes]
) -> None:
    torn = {21: small_jpegs[0][: len(small_jpegs[0]) // 2]}
    split = read_index(make_shards(members(small_jpegs, 24, CORRUPT | torn))).split("train")
    data, sampling = DataConfig(classes=3, max_corrupt=4), SamplingConfig()
    loader = hybrid(split, data, Division(0, 0.5))
    found = batches(loader, 0, 2)
    of_cpu = batches(TrainLoader(split, order_of(split), data, sampling), 0, 2)
    of_device = batches(DeviceTrainLoader(split, order_of(split), data, sampling, device=CPU), 0, 2)
    assert loader.corrupt.count > 0
    for step, batch in enumerate(found):
        mask = torch.from_numpy(loader.by_device_N(step))
        assert 0 < mask.sum() < len(mask)
        assert torch.equal(batch.ids_N, of_cpu[step].ids_N)
        assert torch.equal(batch.images[mask], of_device[step].images[mask])
        assert torch.equal(batch.images[~mask], of_cpu[step].images[~mask])
        assert batch.valid_N.all()


def test_only_images_that_are_not_decoded_yet_are_divided(digits: Index, digits_data: DataConfig) -> None:
    with hybrid(digits.split("train"), digits_data, None, prefetch=2) as loader:
        steps = loader.steps(4, 12)
        next(steps)
        with pytest.raises(ValueError, match="step 6 is decoded, so 6 cannot be the first"):
            loader.divide(Division(6, 0.5))
        loader.divide(Division(7, 1.0))
        assert loader.device_s(4) > 0
        list(steps)
        assert [loader.by_device_N(step).all() for step in range(5, 9)] == [False, False, True, True]


def test_without_a_gpu_the_cpu_decodes_all_and_says_so(
    digits: Index, digits_data: DataConfig, caplog: pytest.LogCaptureFixture
) -> None:
    split = digits.split("train")
    with caplog.at_level("INFO"):
        loader = on_both(split, order_of(split), digits_data, SamplingConfig(), CPU, division=Division(0, 1.0))
    assert type(loader) is TrainLoader
    assert "there is no GPU here, so the CPU decodes all" in caplog.text
    LoaderConfig(decoder="auto").require_gpu(available=False)


def test_a_share_is_one_and_for_two_decoders() -> None:
    LoaderConfig(decoder="auto", gpu_share=1)
    with pytest.raises(ConfigError, match=r"loader.gpu_share is 1.5; give a share of the images in \[0, 1\]"):
        LoaderConfig(decoder="auto", gpu_share=1.5)
    with pytest.raises(ConfigError, match=r"loader.gpu_share is 0, without effect with loader.decoder=cpu; give"):
        LoaderConfig(gpu_share=0)
