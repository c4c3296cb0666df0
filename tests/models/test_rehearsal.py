"""Networks that do not train on the images of a config are refused, those that do are not, as the real ones find."""

import json
from dataclasses import asdict

import pytest
import torch

from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.data import LoaderConfig
from platform.config.models import GoogLeNetConfig, ModelConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.models.build import build, logits_and_auxiliary
from platform.models.rehearsal import _rehearsed, rehearse


def trains(model: ModelConfig, image_size: int, images: int) -> bool:
    """Whether the real network does, on the processor."""
    try:
        network = build(model, 10, image_size, 0).train()
        main, auxiliary = logits_and_auxiliary(network(torch.rand(images, 3, image_size, image_size)))
        (main.sum() + sum(logits.sum() for logits in auxiliary)).backward()
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "image_size", "said"),
    [
        ("inception_v3", 64, r"image_size=64 \(.*Output size is too small\); give data\.image_size=299"),
        ("vit_b_32", 48, r"image_size=48 \(Input shape indivisible by patch size!\); give data\.image_size=32"),
        ("alexnet", 32, r"image_size=32 \(.*too small.*\); give data\.image_size=64"),
    ],
)
def test_images_of_a_wrong_size_are_refused_with_one_that_fits(name: str, image_size: int, said: str) -> None:
    model = ModelConfig(name=f"torchvision/{name}")
    with pytest.raises(ConfigError, match=rf"torchvision/{name} does not train on images of data\.{said}"):
        rehearse(model, 10, image_size, 2)
    assert not trains(model, image_size, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "image_size"), [("alexnet", 64), ("regnet_x_400mf", 32), ("squeezenet1_1", 32)])
def test_what_trains_is_not_refused(name: str, image_size: int) -> None:
    model = ModelConfig(name=f"torchvision/{name}")
    rehearse(model, 10, image_size, 2)
    assert trains(model, image_size, 2)


@pytest.mark.slow
def test_every_size_that_training_changes_to_is_tried_with_the_network_of_the_tested_one() -> None:
    adaptive, fixed = GoogLeNetConfig(width=0.1), ModelConfig(name="torchvision/vit_b_32")
    rehearse(adaptive, 10, 224, 2, [160, 192, 224, 256])
    with pytest.raises(
        ConfigError,
        match=r"built for images of data\.image_size=224, does not train on those of 192 px in training",
    ):
        rehearse(fixed, 10, 224, 2, [224, 192])


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [GoogLeNetConfig(batch_norm=True, width=0.1), ModelConfig(name="torchvision/regnet_x_400mf")]
)
def test_batch_norm_over_one_value_is_refused(model: ModelConfig) -> None:
    with pytest.raises(ConfigError, match=r"cannot train on one image at a time \(Expected more than 1 value"):
        rehearse(model, 10, 32, 1)
    assert not trains(model, 32, 1)
    rehearse(model, 10, 32, 2)


@pytest.mark.slow
@pytest.mark.parametrize("image_size", [32, 33, 39, 64, 79, 80, 96, 224, 299])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_googlenet_takes_every_size_that_its_config_allows(image_size: int, batch_norm: bool) -> None:
    """Which is why it is not rehearsed."""
    for naive in (False, True):
        model = GoogLeNetConfig(batch_norm=batch_norm, naive=naive, width=0.25, local_response_norm=not batch_norm)
        assert _rehearsed(json.dumps(asdict(model)), 10, image_size, 2, image_size).refusal is None


@pytest.mark.parametrize(
    ("batch", "limit", "workers", "smallest"),
    [
        (32, 256, 1, 32),
        (32, 12, 1, 10),  # 10, 11 and 11
        (32, 256, 3, 8),
        (8, 256, {"min": 1, "max": 8}, 1),
        (32, 7, {"min": 1, "max": 2}, 5),  # 16 in three parts
    ],
)
def test_the_smallest_part_of_a_batch(batch: int, limit: int, workers: object, smallest: int) -> None:
    config = Config(
        loader=LoaderConfig(streams=8),
        training=TrainingConfig(batch_size=batch, max_batch_per_worker=limit),
        cluster=ClusterConfig(workers=workers),
    )
    assert config.smallest_part == smallest
