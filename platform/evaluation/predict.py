"""A network's probabilities for every sample of a worker's share, each sample exactly once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from platform.config.data import DataConfig
from platform.config.sections import Config
from platform.data.decode import EncodedImage
from platform.data.index import Split
from platform.data.loader import Batch
from platform.data.pixels import Pixels
from platform.evaluation.forward import view_probabilities
from platform.evaluation.share import batches_of
from platform.evaluation.views import RENDERED, render


@dataclass(frozen=True)
class PredictConfig:
    """What `predict` reads of a member's config."""

    data: DataConfig
    batch_size: int  # views in one forward pass
    prefetch_batches: int

    @classmethod
    def of(cls, config: Config) -> Self:
        """Take it from the whole config."""
        return cls(config.data, config.evaluation.batch_size, config.loader.prefetch_batches)


@dataclass
class Predictions:
    """Some consecutive samples: `ids_N`, `labels_N`, `valid_N` (false: corrupt), and `probs_NVK` float32."""

    ids_N: NDArray[np.int64]
    labels_N: NDArray[np.int64]
    valid_N: NDArray[np.bool_]
    probs_NVK: Tensor


def predict(
    model: nn.Module,
    split: Split,
    share: range,
    views: int,
    cfg: PredictConfig,
    pixels: Pixels,
    dtype: torch.dtype,
    threads: int,
) -> Iterator[Predictions]:
    """Softmax probabilities of `views` views of each sample in `share`, in order.

    Args:
        model: on the device of `pixels`; is put into evaluation mode.
        split: the images.
        share: the ids of those to predict.
        views: 1, 10, 12 or 144 of each.
        cfg: how images are read and batched.
        pixels: normalises images on its device.
        dtype: of matrix products and convolutions; float32: without autocast.
        threads: for decoding.

    Raises:
        ShardError: from the loader.
        RuntimeError: a sample was read twice or not at all.
    """
    size = cfg.data.image_size

    def render_views(batch: Batch, place: int, image: EncodedImage) -> None:
        batch.images[place] = render(image, size, views)

    together, shape = max(1, cfg.batch_size // views), (RENDERED[views], size, size, 3)
    pin, read_ahead = pixels.device.type == "cuda", cfg.prefetch_batches
    seen = 0
    model.eval()
    reading = batches_of(split, share, together, shape, render_views, cfg.data, read_ahead, threads, pin=pin)
    with reading as batches:
        for batch in batches:
            probs_NVK = view_probabilities(
                model, pixels.evaluation, batch.images, views, mirror=cfg.data.mirror, dtype=dtype
            )
            seen += len(batch.ids_N)
            probs_NVK = probs_NVK.cpu()  # sync point
            yield Predictions(batch.ids_N.numpy(), batch.labels_N.numpy(), batch.valid_N.numpy(), probs_NVK)
    if seen != len(share):
        raise RuntimeError(f"evaluated {seen} samples where {len(share)} were due; this is a bug of the platform")
