"""Whole images at several scales, and their mirror images, through a dense network: cheaper than many crops.

In: a worker's share of a split. Out: probabilities by scale, images of equal sizes together; and what it cost.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from platform.data.batch import Batch
from platform.data.decode import EncodedImage
from platform.data.index import Split
from platform.data.pixels import Pixels
from platform.data.resize import resize
from platform.evaluation.cost import Cost
from platform.evaluation.dense import DenseNetwork
from platform.evaluation.predict import PredictConfig, Predictions
from platform.evaluation.share import batches_of
from platform.evaluation.views import scaled_size

LONGEST = 4  # times the shorter side; of longer images the middle is taken: there is no end to what they would cost
CROPS = 8  # that an image at a scale is about as large as, with its mirror image
WAITING = 3  # batches of images that wait for others of their size


@dataclass(frozen=True)
class _Image:
    id: int
    label: int
    scales: list[Tensor]  # uint8 [H, W, 3]


def predict_whole(
    model: nn.Module,
    split: Split,
    share: range,
    cost: Cost,
    cfg: PredictConfig,
    pixels: Pixels,
    dtype: torch.dtype,
    threads: int,
) -> Iterator[Predictions]:
    """Softmax probabilities of each sample of `share` at each scale, `[N, V, K]` with V scales, in any order; those of
    an image that cannot be decoded are equal for all classes.

    Args:
        model: on the device of `pixels`; is put into evaluation mode.
        split: the images.
        share: the ids of those to predict.
        cost: says at which scales; is added to.
        cfg: how images are read and batched.
        pixels: normalises images on its device.
        dtype: of matrix products and convolutions; float32: without autocast.
        threads: for decoding.

    Raises:
        ShardError: from the loader.
    """
    network, mirror, size = DenseNetwork(model, cfg.data.image_size), cfg.data.mirror, cfg.data.image_size
    together = max(1, cfg.batch_size // CROPS)
    waiting: dict[tuple[torch.Size, ...], list[_Image]] = {}

    def predicted(key: tuple[torch.Size, ...]) -> Predictions:
        images = waiting.pop(key)
        probs_V = [
            _probabilities(network, pixels, torch.stack(each), dtype, mirror=mirror)
            for each in zip(*(image.scales for image in images), strict=True)
        ]
        cost.crops += len(images) * (1 + mirror) * sum(height * width for height, width, _ in key) / size**2
        ids, labels = ([getattr(image, name) for image in images] for name in ("id", "label"))
        return Predictions(np.array(ids), np.array(labels), np.ones(len(ids), bool), torch.stack(probs_V, 1))

    for image in _images(split, share, cost, cfg, threads, together):
        if isinstance(image, Predictions):
            yield image
            continue
        key = tuple(scale.shape for scale in image.scales)
        waiting.setdefault(key, []).append(image)
        if len(waiting[key]) == together:
            yield predicted(key)
        elif sum(map(len, waiting.values())) >= WAITING * together:
            yield predicted(max(waiting, key=lambda each: len(waiting[each])))
    while waiting:
        yield predicted(next(iter(waiting)))


def _probabilities(
    network: DenseNetwork, pixels: Pixels, images_NHWC: Tensor, dtype: torch.dtype, *, mirror: bool
) -> Tensor:
    """`[N, K]`, on the CPU: the mean over the images and, if asked for, their mirror images."""
    images = pixels.evaluation(images_NHWC)
    probs = network.probabilities(images, dtype)
    if mirror:
        probs = (probs + network.probabilities(images.flip(-1), dtype)) / 2
    return probs.cpu()  # sync point


def _images(
    split: Split, share: range, cost: Cost, cfg: PredictConfig, threads: int, together: int
) -> Iterator[_Image | Predictions]:
    """The images in order, decoded and resized in threads; those that cannot be as their predictions."""
    scaled: dict[int, list[Tensor]] = {}
    cut: list[int] = []

    def render(batch: Batch, place: int, image: EncodedImage) -> None:
        number, pixels = int(batch.ids_N[place]), image.decode()
        if max(pixels.shape[:2]) > LONGEST * min(pixels.shape[:2]):
            cut.append(number)
        scaled[number] = [whole(pixels, side) for side in cost.sides]

    reading = batches_of(split, share, together, (0,), render, cfg.data, cfg.prefetch_batches, threads)
    with reading as batches:
        for batch in batches:
            columns = batch.ids_N.tolist(), batch.labels_N.tolist(), batch.valid_N.tolist()
            for number, label, valid in zip(*columns, strict=True):
                if valid:
                    cost.images += 1
                    yield _Image(number, label, scaled.pop(number))
                else:
                    yield _corrupt(number, len(cost.sides), cfg.data.classes)
    cost.cut += len(cut)


def _corrupt(number: int, scales: int, classes: int) -> Predictions:
    probs = torch.full((1, scales, classes), 1 / classes)
    return Predictions(np.array([number]), np.zeros(1, np.int64), np.zeros(1, bool), probs)


def whole(pixels: NDArray[np.uint8], side: int) -> Tensor:
    """An image with its shorter side resized to `side` pixels, uint8 `[H, W, 3]`; of one that is more than `LONGEST`
    times as long the middle."""
    longest = LONGEST * min(pixels.shape[:2])
    top, left = (max(0, length - longest) // 2 for length in pixels.shape[:2])
    part = pixels[top : top + longest, left : left + longest]
    return resize(part, scaled_size(*part.shape[:2], side))
