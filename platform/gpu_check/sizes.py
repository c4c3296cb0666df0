"""How much each part does: on a GPU, on a CPU, where the same code runs smaller, and in tests.

In: nothing. Out: `Sizes`.
"""

from dataclasses import dataclass

from platform.config.models import (
    BNInceptionConfig,
    CifarFastConfig,
    GoogLeNetConfig,
    InceptionV2Config,
    InceptionV3Config,
    ModelConfig,
    NINConfig,
)
from platform.gpu_check.trainings import Case

NARROW = GoogLeNetConfig(width=0.25)
NARROW_WITH_NORM = GoogLeNetConfig(width=0.25, batch_norm=True)
NETWORKS = (
    Case(NARROW, 64),
    Case(NARROW_WITH_NORM, 64, bears_batch_norm=True),
    Case(CifarFastConfig(), 32, bears_batch_norm=True),
    Case(NINConfig(), 32),
    Case(NINConfig(version="imagenet"), 96),
    Case(BNInceptionConfig(), 32),
    Case(InceptionV2Config(), 96),
    Case(InceptionV3Config(first_stride=1, first_pool=False), 79),
    Case(ModelConfig("torchvision/resnet50"), 32),
    Case(ModelConfig("torchvision/alexnet"), 64),
)


@dataclass(frozen=True)
class Measured:
    """A network whose steps are timed."""

    name: str
    model: ModelConfig
    image_size: int  # pixels
    batch: int  # a multiple of eight


@dataclass(frozen=True)
class Sizes:
    """Of checks and measurements."""

    networks: tuple[Case, ...]
    optimisers: Case  # that each of them trains
    low_precision: tuple[Case, ...]  # that are compared in bfloat16, too
    photographs: int  # made and packed, a fifth of them for validation
    small_side: int  # pixels of the images that checks on shards train on
    views_of: int  # images that are evaluated in 144 views
    measured: tuple[Measured, ...]
    repeats: int  # of each measurement
    repeat_s: float  # that each repeat should last
    copied_mb: int  # in the measurement of the memory
    product_side: int  # rows and columns of the matrices that are multiplied
    loop_steps: int  # of a whole training on shards
    fused_side: int  # pixels of the images of six members
    fused_batch: int


GPU = Sizes(
    networks=NETWORKS,
    optimisers=NETWORKS[0],
    low_precision=(NETWORKS[0], NETWORKS[1], NETWORKS[3], NETWORKS[4], NETWORKS[5]),
    photographs=640,
    small_side=64,
    views_of=8,
    measured=(
        Measured("googlenet", GoogLeNetConfig(), 224, 256),
        Measured("resnet50", ModelConfig("torchvision/resnet50"), 224, 256),
        Measured("inception_v3", InceptionV3Config(), 299, 256),
    ),
    repeats=5,
    repeat_s=0.5,
    copied_mb=2048,
    product_side=8192,
    loop_steps=200,
    fused_side=32,
    fused_batch=64,
)
CPU = Sizes(
    networks=NETWORKS,
    optimisers=NETWORKS[0],
    low_precision=(NETWORKS[0], NETWORKS[1], NETWORKS[3]),
    photographs=160,
    small_side=32,
    views_of=2,
    measured=(
        Measured("googlenet", NARROW, 64, 8),
        Measured("resnet50", ModelConfig("torchvision/resnet50"), 32, 8),
        Measured("inception_v3", InceptionV3Config(first_stride=1, first_pool=False), 79, 8),
    ),
    repeats=3,
    repeat_s=0.2,
    copied_mb=64,
    product_side=512,
    loop_steps=24,
    fused_side=32,
    fused_batch=8,
)
TINY = Sizes(
    networks=(Case(GoogLeNetConfig(width=0.1), 32, steps=2), Case(CifarFastConfig(), 32, steps=2)),
    optimisers=Case(GoogLeNetConfig(width=0.1), 32, steps=2),
    low_precision=(Case(GoogLeNetConfig(width=0.1), 32, steps=1),),
    photographs=48,
    small_side=32,
    views_of=1,
    measured=(Measured("googlenet", GoogLeNetConfig(width=0.1), 32, 8),),
    repeats=2,
    repeat_s=0.0,
    copied_mb=4,
    product_side=64,
    loop_steps=6,
    fused_side=32,
    fused_batch=8,
)
