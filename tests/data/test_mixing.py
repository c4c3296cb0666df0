"""Mixup and CutMix: the same mixed images however a batch is read and cut, and shares that say what an image shows."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.config.transforms import TransformsConfig
from platform.data import draws, inputs
from platform.data.batch import Batch
from platform.data.index import Index
from platform.data.inputs import BatchInputs, Inputs
from platform.data.mixing import Mixes, mixes, partners
from platform.data.order import Order
from platform.data.pixels import Pixels
from platform.data.sampling import DRAWS
from platform.data.train_loader import TrainLoader
from platform.training.loss import as_shares

CPU = torch.device("cpu")
SAMPLING = SamplingConfig(photometric=True)
BOTH: dict[str, Any] = {"mixup_alpha": 0.4, "cutmix_alpha": 1.0}
Shown = dict[tuple[int, int], tuple[Tensor, Tensor]]
PER = [
    TransformsConfig(policy, erase_probability=0.5, **BOTH, mixing_per=per, mixing_probability=0.8)
    for policy, per in (("trivial", "batch"), ("rand", "sample"))
]


def batch(n: int = 4000, side: int = 8, per_stream: int = 4) -> Batch:
    """Each image is of one colour, its number."""
    images = (torch.arange(n) % 250).to(torch.uint8).view(-1, 1, 1, 1).repeat(1, side, side, 3)
    rows = draws.uniforms(0, 0, np.arange(n), DRAWS)
    flags = torch.zeros(n, dtype=torch.bool)
    labels = torch.arange(n) % 7
    return Batch(images, labels, torch.arange(n), ~flags, flags, rows, per_stream, rows[-1])


def mixed(transforms: TransformsConfig, samples: Batch | None = None) -> Mixes:
    found = mixes(samples or batch(), transforms)
    assert found is not None
    return found


def epoch(digits: Index, data: DataConfig, transforms: TransformsConfig, world: int, most: int, start: int) -> Shown:
    """What each sample of some steps is shown as: (step, id) -> (image, target)."""
    split = digits.split("train")
    order, pixels, found = Order.of(split, 4, 16, 64, 7), Pixels(data, CPU), {}
    for rank in range(world):
        with TrainLoader(split, order, data, SAMPLING, rank=rank, world=world) as loader:
            for step, share in zip(range(start, 6), loader.steps(start, 6), strict=True):
                given = BatchInputs(share, pixels, SAMPLING, transforms)
                for first in range(0, len(share.ids_N), most):
                    part = slice(first, min(first + most, len(share.ids_N)))
                    shown = given.part(part)
                    targets = as_shares(shown.targets(10), 10)
                    for number, sample in enumerate(share.ids_N[part].tolist()):
                        found[step, sample] = shown.images[number], targets[number]
    return found


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("transforms", PER, ids=["batch", "sample"])
def test_images_mix_alike_at_any_number_of_workers_in_any_parts_from_any_step(
    digits: Index, digits_data: DataConfig, transforms: TransformsConfig
) -> None:
    whole = epoch(digits, digits_data, transforms, 1, 16, 0)
    assert len(whole) == 6 * 16
    for world, most, start in [(1, 3, 0), (2, 8, 0), (3, 5, 2), (4, 1, 4)]:
        found = epoch(digits, digits_data, transforms, world, most, start)
        assert found.keys() == {key for key in whole if key[0] >= start}
        for key, (image, target) in found.items():
            assert torch.equal(image, whole[key][0]), (world, most, key)
            assert torch.equal(target, whole[key][1])
    assert any((target < 1).all() for _, target in whole.values())


def test_partners_are_of_one_stream_and_everybody_is_one() -> None:
    assert partners(9, 3).tolist() == [1, 2, 0, 4, 5, 3, 7, 8, 6]
    assert partners(3, 1).tolist() == [0, 1, 2]


def test_shares_of_mixup_are_of_the_beta_distribution() -> None:
    for alpha in (0.4, 1.0, 2.0):
        shares = mixed(TransformsConfig(mixup_alpha=alpha, mixing_per="sample")).shares_N
        assert shares.mean() == pytest.approx(0.5, abs=0.03)
        assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 0.001


def test_a_batch_shares_one_draw() -> None:
    found = mixed(TransformsConfig(cutmix_alpha=1.0))
    assert len(np.unique(found.shares_N)) == 1
    assert len(np.unique(found.boxes_N4, axis=0)) == 1


def shown_own(transforms: TransformsConfig) -> tuple[NDArray[np.float64], NDArray[np.float32], Inputs]:
    """The share of its own image in each mixed image's pixels, what is said of it, and the whole."""
    samples, pixels = batch(), Pixels(DataConfig(mean=[0.0] * 3, std=[1.0] * 3), CPU)
    shown = BatchInputs(samples, pixels, SamplingConfig(), transforms).part(slice(0, 4000))
    assert shown.shares_N is not None
    own = (samples.images[:, 0, 0, 0] / 255).double()
    other = own[torch.from_numpy(partners(4000, 4))]
    share = (shown.images.double().mean((1, 2, 3)) - other) / (own - other)
    return share.numpy(), shown.shares_N.numpy(), shown


@pytest.mark.parametrize("transforms", [{"mixup_alpha": 0.4}, {"cutmix_alpha": 1.0}, BOTH])
def test_shares_are_exactly_what_an_image_shows(transforms: dict[str, Any]) -> None:
    found, said, _ = shown_own(TransformsConfig(**transforms, mixing_per="sample"))
    np.testing.assert_allclose(found, said, atol=1e-4)
    assert 0.4 < said.mean() < 0.8


def test_cutmix_shows_two_images_and_nothing_between() -> None:
    _, said, shown = shown_own(TransformsConfig(cutmix_alpha=1.0, mixing_per="sample"))
    assert {len(image.unique()) for image in shown.images} == {1, 2}
    assert set((said * 64).round(4) % 1) == {0.0}  # whole pixels


def test_probabilities_are_kept() -> None:
    found = mixed(TransformsConfig(**BOTH, mixing_probability=0.5, cutmix_share=0.25, mixing_per="sample"))
    assert (found.shares_N == 1).mean() == pytest.approx(0.5, abs=0.04)
    assert found.is_cutmix_N.mean() == pytest.approx(0.125, abs=0.02)


def test_targets_and_the_main_label() -> None:
    shown = Inputs(Tensor(), torch.tensor([0, 1, 2]), torch.tensor([2, 0, 2]), torch.tensor([0.75, 0.25, 0.5]))
    assert shown.targets(3).tolist() == [[0.75, 0, 0.25], [0.75, 0.25, 0], [0, 0, 1]]
    assert shown.main_labels_N.tolist() == [0, 0, 2]
    assert Inputs(Tensor(), torch.tensor([1])).targets(3).tolist() == [1]


def test_without_mixing_nothing_is_drawn() -> None:
    samples = batch(8)
    assert mixes(samples, TransformsConfig()) is None
    shown = BatchInputs(samples, Pixels(DataConfig(), CPU), SAMPLING, TransformsConfig()).part(slice(0, 8))
    assert shown.partner_labels_N is None


def test_a_batch_is_asked_once_how_it_is_mixed_however_many_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(inputs, "mixes", lambda *given: asked.append(given) or mixes(*given))
    samples = batch(16)
    given = BatchInputs(samples, Pixels(DataConfig(), CPU), SAMPLING, TransformsConfig(**BOTH))
    assert all(given.part(slice(first, first + 4)).shares_N is not None for first in range(0, 16, 4))
    assert len(asked) == 1


def test_a_stream_of_one_image_a_batch_has_no_pairs() -> None:
    cfg = Config(training=TrainingConfig(batch_size=8))
    with pytest.raises(ConfigError, match=r"training\.batch_size is 8: fewer than two samples .* raise .* to 16"):
        replace(cfg, transforms=PER[0])


def test_where_samples_are_repeated_none_mixes_with_itself() -> None:
    def cfg(batch_size: int) -> Config:
        return Config(
            training=TrainingConfig(batch_size=batch_size), sampling=SamplingConfig(repeats=3), transforms=PER[0]
        )

    with pytest.raises(ConfigError, match=r"batch_size is 40: .*, with sampling\.repeats=3, .* raise .* to 48"):
        cfg(40)
    per_stream = cfg(48).training.batch_size // 8
    for begun in range(3):  # the first sample of a stream's part may have been shown before
        samples = (np.arange(2 * per_stream) + begun) // 3 + 100 * (np.arange(2 * per_stream) // per_stream)
        assert (samples[partners(2 * per_stream, per_stream, 3)] != samples).all()
