"""A network's probabilities for every sample of a worker's share, each sample exactly once."""

import contextlib
import functools
import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from platform.config.data import DataConfig
from platform.config.evaluation import AUTO
from platform.config.sections import Config
from platform.config.training import CUDA_GRAPHS, DEFAULT_MODE, NOT_COMPILED
from platform.data.batch import Batch
from platform.data.decode import EncodedImage
from platform.data.index import Split
from platform.data.pixels import Pixels
from platform.evaluation.batch_size import Passes, largest_that_pays
from platform.evaluation.forward import view_probabilities
from platform.evaluation.share import batches_of
from platform.evaluation.views import RENDERED, render
from platform.models.compiled import CompiledNetwork, compiling
from platform.models.folded import folded

log = logging.getLogger("platform.evaluation")
_found: dict[tuple[Any, ...], int] = {}  # views in a forward pass, by kind of network


@dataclass(frozen=True)
class PredictConfig:
    """What `predict` reads of a member's config."""

    data: DataConfig
    batch_size: int  # views in one forward pass; where a larger number is found: what trying begins with
    prefetch_batches: int
    compile: str = NOT_COMPILED  # a mode of `training.compile`
    fold_batch_norm: bool = False
    larger: bool = False  # a GPU tries larger numbers of views

    @classmethod
    def of(cls, config: Config) -> Self:
        """Take it from the whole config."""
        mode = DEFAULT_MODE if config.training.compile == CUDA_GRAPHS else config.training.compile  # of a step's shapes
        evaluation, prefetch = config.evaluation, config.loader.prefetch_batches
        larger = evaluation.batch_size == AUTO
        return cls(config.data, evaluation.views_at_once, prefetch, mode, evaluation.fold_batch_norm, larger)


@dataclass
class Predictions:
    """Some consecutive samples: `ids_N`, `labels_N`, `valid_N` (false: corrupt), and `probs_NVK` float32."""

    ids_N: NDArray[np.int64]
    labels_N: NDArray[np.int64]
    valid_N: NDArray[np.bool_]
    probs_NVK: Tensor


class _Launched:
    """A batch whose probabilities the device is asked for."""

    def __init__(self, batch: Batch, probs_NVK: Tensor) -> None:
        self._batch, self._done = batch, torch.cuda.Event() if probs_NVK.is_cuda else None
        self._probs_NVK = probs_NVK.to("cpu", non_blocking=True)  # from a GPU: into page-locked memory
        if self._done:
            self._done.record(torch.cuda.current_stream(probs_NVK.device))

    def predictions(self) -> Predictions:
        """Once they are there."""
        if self._done:
            self._done.synchronize()  # sync point
        batch = self._batch
        return Predictions(batch.ids_N.numpy(), batch.labels_N.numpy(), batch.valid_N.numpy(), self._probs_NVK)


def predict(
    model: nn.Module,
    split: Split,
    share: range,
    views: int,
    cfg: PredictConfig,
    pixels: Pixels,
    dtype: torch.dtype,
    threads: int,
    excused: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
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
        excused: what compiles the network runs in it, which may take minutes: see `Progress.excused`.

    Raises:
        ShardError: from the loader.
        RuntimeError: a sample was read twice or not at all.
        ConfigError: the network cannot be compiled.
    """
    size = cfg.data.image_size

    def render_views(batch: Batch, place: int, image: EncodedImage) -> None:
        batch.images[place] = render(image, size, views)

    network = folded(model.eval()) if cfg.fold_batch_norm else model.eval()
    together = max(1, views_at_once(model, cfg, pixels, dtype) // views)
    shape, passes = (RENDERED[views], size, size, 3), Passes(together, views)

    def probabilities(images: Tensor) -> Tensor:
        return view_probabilities(network, pixels.evaluation, images, views, mirror=cfg.data.mirror, dtype=dtype)

    pin, read_ahead = pixels.device.type == "cuda", cfg.prefetch_batches
    seen, launched = 0, deque[_Launched]()
    ahead = 1 if pin else 0  # batches that the device has to do while the host reads one's probabilities
    network = network if cfg.compile == NOT_COMPILED else CompiledNetwork(network, cfg.compile, one_shape=True)
    reading = batches_of(split, share, together, shape, render_views, cfg.data, read_ahead, threads, pin=pin)
    with reading as batches:
        for batch in batches:
            compiles = cfg.compile != NOT_COMPILED and not seen
            with excused() if compiles else contextlib.nullcontext(), compiling(cfg.compile):
                probs_NVK = passes.of(batch.images, probabilities)
            seen += len(batch.ids_N)
            launched.append(_Launched(batch, probs_NVK))
            if len(launched) > ahead:
                yield launched.popleft().predictions()
    while launched:
        yield launched.popleft().predictions()
    if seen != len(share):
        raise RuntimeError(f"evaluated {seen} samples where {len(share)} were due; this is a bug of the platform")


def views_at_once(model: nn.Module, cfg: PredictConfig, pixels: Pixels, dtype: torch.dtype) -> int:
    """Views in a forward pass: where a GPU may find a larger number, what fills it, tried once in a process for each
    kind of network, uncompiled, its batch norm not folded, on black images.

    Args:
        model: in evaluation mode, on the device of `pixels`.
        cfg: whether a larger number is looked for.
        pixels: normalises images on its device.
        dtype: of matrix products and convolutions.

    Raises:
        torch.OutOfMemoryError: not even one view fits.
    """
    if not cfg.larger or pixels.device.type != "cuda":
        return cfg.batch_size
    size, device = cfg.data.image_size, pixels.device
    kind = (device, dtype, size, type(model), tuple(each.shape for each in model.parameters()))
    if kind not in _found:

        def run(views: int) -> None:
            images = torch.zeros((views, 1, size, size, 3), dtype=torch.uint8, device=device)
            view_probabilities(model, pixels.evaluation, images, 1, mirror=cfg.data.mirror, dtype=dtype)

        wait = functools.partial(torch.cuda.synchronize, device)  # sync point
        _found[kind] = largest_that_pays(run, wait, torch.cuda.empty_cache, begin=cfg.batch_size)
        torch.cuda.empty_cache()
        log.info("evaluation.batch_size=auto: %d views in a forward pass on %s", _found[kind], device)
    return _found[kind]
