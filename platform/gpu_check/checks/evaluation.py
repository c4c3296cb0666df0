"""Evaluation on the device: probabilities of one view and of 144, with batch norm folded into convolutions and without.

Against the CPU, which folds nothing.
"""

import torch

from platform.config.data import DataConfig
from platform.data.index import Split
from platform.data.pixels import Pixels
from platform.evaluation.predict import PredictConfig, predict
from platform.gpu_check.context import Context
from platform.gpu_check.difference import Difference, relative
from platform.gpu_check.results import Results
from platform.gpu_check.sizes import NARROW_WITH_NORM
from platform.gpu_check.trainings import CPU, Case, network_of

PROBABILITIES, SUMS = 1e-3, 1e-5
BATCH = 288  # views in one forward pass: two images of 144


def evaluation(context: Context, results: Results) -> None:
    """Of images of the validation split."""
    packed = context.shards(context.sizes.small_side)
    split = packed.index.split("val")
    data = packed.data
    for views, images in ((1, split.samples), (144, context.sizes.views_of)):
        reference = probabilities(data, split, images, views, CPU, fold=False)
        apart = []
        for fold in (False, True):
            found = probabilities(data, split, images, views, context.device, fold=fold)
            what = "folded" if fold else "unfolded"
            apart.append(Difference(what, relative([found], [reference]), PROBABILITIES))
            apart.append(Difference(f"{what} sums", relative([found.sum(2)], [torch.ones_like(found[..., 0])]), SUMS))
        results.compare(f"evaluation {views} view(s)", apart, f"{images} images, batch norm folded and not")


def probabilities(
    data: DataConfig, split: Split, images: int, views: int, device: torch.device, *, fold: bool
) -> torch.Tensor:
    """Of the first images of a split: float32 `[images, views, 10]` on the CPU.

    Raises:
        RuntimeError: an image was not evaluated once.
    """
    case = Case(NARROW_WITH_NORM, data.image_size)
    network = network_of(case, device, channels_last=device.type == "cuda").eval()
    config = PredictConfig(data, batch_size=BATCH, prefetch_batches=2, fold_batch_norm=fold)
    pixels = Pixels(data, device)
    found = predict(network, split, range(images), views, config, pixels, torch.float32, threads=2)
    return torch.cat([some.probs_NVK.clone() for some in found])
