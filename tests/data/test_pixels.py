"""The network's input: normalised by the plain formula, mirrored where drawn, distorted as Pillow's enhancers do."""

import io
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from torch import Tensor

from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.data import draws
from platform.data.pixels import LIGHTING_EIGENVALUES, LIGHTING_EIGENVECTORS, Pixels, distort

CPU = torch.device("cpu")
DATA = DataConfig(mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.5])
ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
ORDERS = list(itertools.permutations(range(3)))


def random_images(n: int = 6, height: int = 20, width: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator)


def colour_draws(n: int) -> Tensor:
    return torch.from_numpy(draws.uniforms(0, 0, np.arange(n), 8).astype(np.float32))


def unit(images_NHWC: Tensor) -> Tensor:
    return images_NHWC.permute(0, 3, 1, 2).float() / 255


def formula(images_NHWC: Tensor) -> np.ndarray:
    """(value / 255 - mean) / std, in float64."""
    normalised = (images_NHWC.numpy() / 255 - np.array(DATA.mean)) / np.array(DATA.std)
    return normalised.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("channels_last", [True, False])
def test_evaluation_normalises_by_the_plain_formula(channels_last: bool) -> None:
    images = random_images()
    out = Pixels(DATA, CPU, channels_last=channels_last).evaluation(images)
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    np.testing.assert_allclose(out.numpy(), formula(images), atol=1e-5)


def test_training_mirrors_the_drawn_ones_and_no_others() -> None:
    images = random_images()
    mirrored = torch.tensor([True, False, True, True, False, False])
    out = Pixels(DATA, CPU).training(images, mirrored, colour_draws(6), SamplingConfig()).numpy()
    expected = formula(images)
    expected[mirrored.numpy()] = expected[mirrored.numpy()][..., ::-1]
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_training_distorts_before_it_normalises_and_only_if_asked() -> None:
    images, mirrored = random_images(), torch.zeros(6, dtype=torch.bool)
    pixels = Pixels(DATA, CPU)
    sampling = SamplingConfig(photometric=True)
    out = pixels.training(images, mirrored, colour_draws(6), sampling)
    distorted = distort(unit(images), colour_draws(6), sampling)
    assert (distorted - unit(images)).abs().max() > 0.05
    mean, std = torch.tensor(DATA.mean).view(1, 3, 1, 1), torch.tensor(DATA.std).view(1, 3, 1, 1)
    torch.testing.assert_close(out, (distorted - mean) / std, check_stride=False)


def test_the_given_images_are_not_changed() -> None:
    images = random_images()
    before = images.clone()
    Pixels(DATA, CPU).training(
        images, torch.ones(6, dtype=torch.bool), colour_draws(6), SamplingConfig(photometric=True)
    )
    assert torch.equal(images, before)


def test_factor_1_and_no_lighting_leave_images_unchanged() -> None:
    images = unit(random_images(50))
    sampling = SamplingConfig(photometric_range=[1.0, 1.0], lighting_std=0.0)
    torch.testing.assert_close(distort(images, colour_draws(50), sampling), images, rtol=0, atol=1e-6)


@given(
    st.lists(st.floats(0, 1, exclude_max=True, width=32), min_size=8, max_size=8),
    st.floats(0, 3),
    st.floats(0, 7),
    st.floats(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_distorted_values_stay_in_0_to_1(row: list[float], low: float, width: float, lighting_std: float) -> None:
    sampling = SamplingConfig(photometric_range=[low, low + width], lighting_std=lighting_std)
    out = distort(unit(random_images(1)), torch.tensor([row]), sampling)
    assert out.isfinite().all()
    assert out.min() >= 0
    assert out.max() <= 1


def enhanced(image_HWC: Tensor, order: tuple[int, ...], factors: list[float]) -> np.ndarray:
    """Pillow's enhancers one after the other."""
    image = Image.fromarray(image_HWC.numpy())
    for operation in order:
        image = ENHANCERS[operation](image).enhance(factors[operation])
    return np.asarray(image).transpose(2, 0, 1) / 255


def distorted(image_HWC: Tensor, order_number: int, factors: list[float]) -> np.ndarray:
    """One image with these factors of brightness, contrast and colour, no lighting."""
    row = torch.tensor([[(order_number + 0.5) / 6, *((factor - 0.5) for factor in factors), 0.3, 0.3, 0.3, 0.3]])
    sampling = SamplingConfig(photometric_range=[0.5, 1.5], lighting_std=0.0)
    return distort(unit(image_HWC[None]), row, sampling)[0].numpy()


@pytest.fixture(scope="module")
def photo(photos: list[bytes]) -> Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(photos[0])).resize((64, 48))))


@pytest.mark.parametrize("operation", range(3), ids=["brightness", "contrast", "colour"])
@pytest.mark.parametrize("factor", [0.5, 0.8, 1.2, 1.49])
@pytest.mark.parametrize("order_number", [0, 3, 5])
def test_one_distortion_is_pillows_enhancer(photo: Tensor, operation: int, factor: float, order_number: int) -> None:
    factors = [1.0, 1.0, 1.0]
    factors[operation] = factor
    ours, theirs = distorted(photo, order_number, factors), enhanced(photo, ORDERS[order_number], factors)
    assert np.abs(theirs - unit(photo[None])[0].numpy()).max() > 0.02
    np.testing.assert_allclose(ours, theirs, atol=1.6 / 255)  # Pillow rounds the grey, its mean and the result


def blended(image_CHW: np.ndarray, operation: int, factor: float) -> np.ndarray:
    """Pillow's enhancers by their definition, without the rounding that hides which came first."""
    grey = np.tensordot([0.299, 0.587, 0.114], image_CHW, 1)
    anchor = (0.0, grey.mean(), grey)[operation]
    return np.clip(anchor + factor * (image_CHW - anchor), 0, 1)


@pytest.mark.parametrize("order_number", range(6))
def test_the_distortions_follow_each_other_in_the_drawn_order(photo: Tensor, order_number: int) -> None:
    factors = [1.49, 0.7, 1.49]
    ours = distorted(photo, order_number, factors)
    for order in ORDERS:
        expected = unit(photo[None])[0].double().numpy()
        for operation in order:
            expected = blended(expected, operation, factors[operation])
        assert (np.abs(ours - expected).max() < 1e-5) == (order == ORDERS[order_number])
    assert np.abs(ours - enhanced(photo, ORDERS[order_number], factors)).mean() < 1.5 / 255


def test_each_image_of_a_batch_is_distorted_by_its_own_draws() -> None:
    images, rows = unit(random_images(12)), colour_draws(12)
    together = distort(images, rows, SamplingConfig())
    for n in range(12):
        torch.testing.assert_close(together[n : n + 1], distort(images[n : n + 1], rows[n : n + 1], SamplingConfig()))


def test_lighting_noise_has_the_documented_covariance() -> None:
    """Normal steps along the principal components, each with its eigenvalue times lighting_std as deviation."""
    n, std = 40_000, 0.1
    grey = torch.full((n, 3, 2, 2), 0.5)
    out = distort(grey, colour_draws(n), SamplingConfig(photometric_range=[1.0, 1.0], lighting_std=std))
    noise = (out - 0.5).double().numpy()
    assert np.ptp(noise, axis=(2, 3)).max() < 1e-6  # one step for a whole image
    steps = (
        np.linalg.solve(np.array(LIGHTING_EIGENVECTORS), noise[:, :, 0, 0].T) / np.array(LIGHTING_EIGENVALUES)[:, None]
    )
    np.testing.assert_allclose(steps.mean(1), 0, atol=5 * std / np.sqrt(n))
    np.testing.assert_allclose(np.cov(steps), np.eye(3) * std**2, atol=0.03 * std**2)
    kurtosis = (steps**4).mean(1) / (steps**2).mean(1) ** 2
    np.testing.assert_allclose(kurtosis, 3, atol=0.15)  # normal
    vectors, values = np.array(LIGHTING_EIGENVECTORS), np.array(LIGHTING_EIGENVALUES)
    expected = vectors @ np.diag((values * std) ** 2) @ vectors.T
    np.testing.assert_allclose(np.cov(noise[:, :, 0, 0].T), expected, atol=0.03 * expected.max())


def test_the_principal_components_are_orthonormal() -> None:
    vectors = np.array(LIGHTING_EIGENVECTORS)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-3)
