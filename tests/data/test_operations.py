"""RandAugment's and TrivialAugment's operations: the pixels of torchvision's, for every strength, many at a time."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import RandAugment, TrivialAugmentWide

from platform.config.checks import ConfigError
from platform.config.transforms import TransformsConfig
from platform.data import draws, operations
from platform.data.policies import BINS, KINDS, _strengths, applied, erased, erased_boxes
from platform.data.sampling import DRAWS

NAMES = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
WIDE, RAND = TrivialAugmentWide(), RandAugment()


@pytest.fixture(scope="module")
def images(photos: list[bytes]) -> Tensor:
    """Two parts of photographs, noise, and one of few values; not square."""
    parts = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((48, 37))) for data in photos]
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (37, 48, 3), dtype=np.uint8)
    flat = generator.integers(100, 103, (37, 48, 3), dtype=np.uint8)
    return torch.from_numpy(np.stack([*parts, noise, flat])).permute(0, 3, 1, 2)


def theirs(image: Tensor, name: str, strength: float) -> Tensor:
    how = {"interpolation": WIDE.interpolation, "fill": WIDE._fill}
    return WIDE._apply_image_or_video_transform(image, name, strength, **how)  # pyright: ignore[reportReturnType]


def strengths(name: str, height: int, width: int) -> list[float]:
    """All that torchvision has, both ways."""
    found = []
    for policy in (WIDE, RAND):
        values, signed = policy._AUGMENTATION_SPACE[name]
        each = values(BINS, height, width)
        each = [0.0] if each is None else [float(value) for value in each]
        found += each + [-value for value in each] * signed
    return found


@pytest.mark.parametrize(("name", "kind"), list(zip(NAMES, KINDS, strict=True)), ids=NAMES)
def test_every_operation_gives_torchvisions_pixels(images: Tensor, name: str, kind) -> None:
    every = strengths(name, 37, 48)
    for image in images:
        many = kind.apply(image.expand(len(every), -1, -1, -1).clone(), np.array(every))
        expected = torch.stack([theirs(image, name, strength) for strength in every])
        assert torch.equal(many, expected)


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_an_image_is_changed_alike_alone_and_among_others(images: Tensor, kind) -> None:
    every = np.array([4, 0.3, 0.9, 2.0])
    together = kind.apply(images.clone(), every)
    for number in range(4):
        alone = kind.apply(images[number : number + 1].clone(), every[number : number + 1])
        assert torch.equal(alone[0], together[number])


def rows(n: int) -> np.ndarray:
    return draws.uniforms(3, 0, np.arange(n), DRAWS)


@pytest.mark.parametrize(
    ("transforms", "policy"),
    [(TransformsConfig("trivial"), WIDE), (TransformsConfig("rand"), RAND)],
    ids=["wide", "rand"],
)
def test_strengths_are_of_torchvisions_range(transforms: TransformsConfig, policy) -> None:
    for name, kind in zip(NAMES, KINDS, strict=True):
        values, signed = policy._AUGMENTATION_SPACE[name]
        every = values(BINS, 37, 48)
        if every is None:
            continue
        found = _strengths(kind, transforms, np.random.default_rng(0).random((3000, 5)), torch.Size((37, 48)))
        expected = every if policy is WIDE else every[9:10]
        magnitudes = sorted({round(float(value), 4) for value in np.abs(found)})
        assert magnitudes == pytest.approx(sorted({round(float(value), 4) for value in expected}), abs=2e-4), name
        if signed:
            assert (found[found != 0] < 0).mean() == pytest.approx(0.5, abs=0.05)


def test_each_sample_has_its_own_draws_and_all_operations_come(images: Tensor) -> None:
    many, transforms = images[:1].repeat(300, 1, 1, 1), TransformsConfig("trivial")
    together = applied(many.clone(), transforms, rows(300))
    assert len(together.flatten(1).unique(dim=0)) > 150
    alone = applied(many[7:8].clone(), transforms, rows(300)[7:8])
    assert torch.equal(alone[0], together[7])


def test_rand_does_as_many_as_it_is_told_to(images: Tensor) -> None:
    many = images[:1].repeat(400, 1, 1, 1)

    def changed(transforms: TransformsConfig) -> float:
        return (applied(many.clone(), transforms, rows(400)) != many).flatten(1).any(1).float().mean().item()

    assert changed(TransformsConfig("rand", rand_ops=1)) == pytest.approx(13 / 14, abs=0.05)
    assert changed(TransformsConfig("rand", rand_ops=1, rand_probability=0.5)) == pytest.approx(13 / 28, abs=0.08)
    assert changed(TransformsConfig("rand", rand_ops=4)) > 0.98
    assert changed(TransformsConfig("rand", rand_probability=0)) == 0


def test_rands_magnitude_is_normal_around_the_one_that_is_set() -> None:
    kind = KINDS[NAMES.index("Rotate")]
    spread = TransformsConfig("rand", rand_magnitude=6, rand_std=0.5)
    found = np.abs(_strengths(kind, spread, np.random.default_rng(0).random((4000, 5)), torch.Size((8, 8)))) / 3
    assert found.mean() == pytest.approx(6, abs=0.05)
    assert found.std() == pytest.approx(0.5, abs=0.05)
    widest = TransformsConfig("rand", rand_magnitude=10, rand_std=3)
    assert _strengths(kind, widest, np.random.default_rng(0).random((400, 5)), torch.Size((8, 8))).max() == 30


def test_erased_boxes_have_the_area_and_aspect_that_are_set() -> None:
    transforms = TransformsConfig(erase_probability=0.25, erase_area=[0.05, 0.2], erase_aspect=[0.5, 2.0])
    boxes = erased_boxes(transforms, rows(4000), 60, 90)
    h, w = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (h > 0).mean() == pytest.approx(0.25, abs=0.03)
    areas, aspects = (h * w)[h > 0] / 5400, h[h > 0] / w[h > 0]
    assert (areas.min(), areas.max()) == pytest.approx((0.05, 0.2), abs=0.01)
    assert areas.mean() == pytest.approx(0.125, abs=0.005)
    assert np.log(aspects).mean() == pytest.approx(0, abs=0.05)
    assert np.abs(np.log(aspects)).max() <= math.log(2) + 0.1
    assert boxes.min() >= 0
    assert (boxes.max(0) <= [60, 90, 60, 90]).all()


def test_an_erased_box_shows_one_value_and_the_rest_is_as_it_was() -> None:
    transforms = TransformsConfig(erase_probability=1.0, erase_value=7.0)
    images, drawn = torch.zeros(50, 3, 20, 30), rows(50)
    found, boxes = erased(images, transforms, drawn), erased_boxes(transforms, drawn, 20, 30)
    for image, (top, left, bottom, right) in zip(found, boxes.tolist(), strict=True):
        assert (image[:, top:bottom, left:right] == 7).all()
        assert (image == 7).sum() == 3 * (bottom - top) * (right - left) > 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "auto"}, r"transforms\.name is 'auto'; choose one of none, trivial, rand"),
        ({"rand_ops": 5}, "give 1 to 4"),
        ({"rand_magnitude": 9}, r"rand_magnitude is 9, without effect: it needs transforms\.name=rand; give that"),
        ({"name": "trivial", "rand_std": 0.5}, r"rand_std is 0\.5, without effect"),
        ({"erase_value": 1.0}, r"erase_value is 1\.0, without effect: it needs transforms\.erase_probability above 0"),
        ({"erase_aspect": [1.0, 2.0]}, "without effect"),
        ({"mixing_per": "sample"}, r"it needs transforms\.mixup_alpha or transforms\.cutmix_alpha above 0"),
        ({"mixing_probability": 0.5}, "without effect"),
        ({"mixup_alpha": 0.2, "cutmix_share": 0.3}, r"needs transforms\.mixup_alpha and transforms\.cutmix_alpha"),
        ({"cutmix_alpha": 1.0, "mixing_probability": 0.0}, "mixing_probability is 0: nothing is mixed"),
        ({"rand_magnitude": 11}, "give 0 to 10"),
        ({"rand_std": -1}, "give at least 0"),
        ({"erase_probability": 1.5}, "give a share"),
        ({"erase_area": [0.5, 0.1]}, "smallest <= largest"),
        ({"mixing_per": "pair"}, "choose one of batch, sample"),
    ],
)
def test_transforms_that_cannot_work_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TransformsConfig(**settings)


def test_a_small_image_has_no_sharpness() -> None:
    tiny = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    assert torch.equal(operations.sharpness(tiny, np.array([0.5])), tiny)
