"""A batch of decoded images, with what is drawn for each of them."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from platform.data.sampling import COLOUR_DRAWS, DROPOUT_DRAW


@dataclass
class Batch:
    """Samples on the host; in training on a GPU what a step reads of them is there (see `training.device_feed`). In
    evaluation a corrupt sample's image is black, its label 0 and its `valid_N` false."""

    images: Tensor  # training [N, H, W, 3], evaluation [N, U, H, W, 3]; uint8
    labels_N: Tensor  # int64
    ids_N: Tensor  # int64, places in the index
    valid_N: Tensor  # bool
    mirrored_N: Tensor  # bool
    draws_ND: NDArray[np.float64]  # uniform in [0, 1), see `sampling`; none in evaluation
    per_stream: int = 1  # so many in a row are of one stream
    step_draws: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # as many of a global batch
    repeats: int = 1  # so many in a row show the same sample
    teacher_logs_NK: Tensor | None = None  # float16, of a teacher's probabilities; None: there is no teacher

    @property
    def colour_draws_N8(self) -> Tensor:
        """Draws for `pixels.distort`: float32 `[N, 8]` in [0, 1)."""
        below_one = np.nextafter(np.float32(1), np.float32(0))  # to which no draw may round
        return self._pinned(torch.from_numpy(np.minimum(self.draws_ND[:, COLOUR_DRAWS].astype(np.float32), below_one)))

    @property
    def dropout_keys_N(self) -> Tensor:
        """A random number for each sample's dropout masks: int64 `[N]`."""
        return self._pinned(torch.from_numpy((self.draws_ND[:, DROPOUT_DRAW] * 2.0**53).astype(np.int64)))

    def _pinned(self, made: Tensor) -> Tensor:
        """In page-locked memory if the batch is, or was before it went to a GPU."""
        return made.pin_memory() if self.labels_N.is_cuda or self.labels_N.is_pinned() else made
