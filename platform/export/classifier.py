"""Encoded images to probabilities of classes, by the members' exported programs: decode -> views -> networks -> mean.

In: a model's folder, and the bytes of JPEG, PNG or WebP files. Out: probabilities in numpy. The views and the decoder
are those of evaluation, so that a validation image gets the probabilities that the experiment reported. This file is
also part of the package in each model's folder.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from platform.data.decode import EncodedImage
from platform.data.normalise import Normaliser
from platform.evaluation.forward import view_probabilities
from platform.evaluation.views import RENDERED, render
from platform.export.description import Description, artifacts_of
from platform.export.program import load_program

VIEWS_PER_BATCH = 256  # in one forward pass


@dataclass
class Predictions:
    """Of some images, in their order (N images, M members, K classes). NaN where an image cannot be decoded."""

    probs_NK: NDArray[np.float32]  # the mean over members and views
    members_MNK: NDArray[np.float32]  # each member's mean over views
    errors: list[str | None]  # why an image cannot be decoded, in one line

    @property
    def disagreement_N(self) -> NDArray[np.float32]:
        """The share of members whose best class is not the best of all together, 0..1; NaN where there is no image."""
        others_MN = self.members_MNK.argmax(2) != self.probs_NK.argmax(1)
        share_N = others_MN.mean(0).astype(np.float32)
        return np.where(np.isnan(self.probs_NK[:, 0]), np.float32(np.nan), share_N)


class Classifier:
    """One trained network, or several as an ensemble. `classes`, `members`, `views` (the usual number) describe it."""

    def __init__(
        self, description: Description, networks: dict[str, Callable[[Tensor], Tensor]], device: torch.device
    ) -> None:
        """Of networks that are on `device`, by the members' names. `load` makes one from a folder."""
        self.description = description
        self.classes, self.members, self.views = description.classes, description.members, description.views
        self.device = device
        self._networks = [networks[name] for name in self.members]
        self._threads = ThreadPoolExecutor(max(1, torch.get_num_threads()), "decode")  # each keeps its decoder
        self._normalise = Normaliser(description.mean, description.std, device)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Self:
        """Load a model without unpickling anything.

        Args:
            folder: of the model, such as runs/NAME/model, or the folder in it that holds classifier.json.
            device: of PyTorch: cpu, cuda, cuda:1.

        Raises:
            ValueError: there is no such model, or one of its files is not what export has written.
        """
        folder = Path(folder)
        description, place = Description.read(folder), torch.device(device)
        programs = {name: artifacts_of(folder) / f"{name}.pt2" for name in description.members}
        networks = {name: load_program(path, place) for name, path in programs.items()}
        for name, network in networks.items():
            _require_logits(programs[name], network, description, place)
        return cls(description, networks, place)

    def predict(self, images: Sequence[bytes | memoryview], views: int | None = None) -> Predictions:
        """Probabilities of every class for every image.

        Args:
            images: the bytes of image files.
            views: 1, 10, 12 or 144 of each image; None: the usual number.

        Raises:
            ValueError: another number of views.
        """
        views = self.views if views is None else views
        if views not in RENDERED:
            raise ValueError(f"views is {views}; give {', '.join(map(str, RENDERED))}")
        shape = (len(self.members), len(images), len(self.classes))
        found = Predictions(np.full(shape[1:], np.nan, np.float32), np.full(shape, np.nan, np.float32), [])
        per_batch = max(1, VIEWS_PER_BATCH // views)
        for first in range(0, len(images), per_batch):
            crops = list(self._threads.map(lambda data: self._crops(data, views), images[first : first + per_batch]))
            found.errors += [each if isinstance(each, str) else None for each in crops]
            good = [place for place, each in enumerate(crops, first) if not isinstance(each, str)]
            if good:
                batch = torch.stack([each for each in crops if not isinstance(each, str)])
                for member, probs_NK in enumerate(self._probabilities(batch, views)):
                    found.members_MNK[member, good] = probs_NK
                found.probs_NK[good] = found.members_MNK[:, good].mean(0)
        return found

    def _crops(self, data: bytes | memoryview, views: int) -> Tensor | str:
        """uint8 `[U, H, W, 3]`, or why there is no image."""
        try:
            return render(EncodedImage(data), self.description.image_size, views)
        except Exception as error:  # whatever a decoder or a resize says of bytes from anywhere
            return _first_line(error)

    def _probabilities(self, crops: Tensor, views: int) -> Iterator[NDArray[np.float32]]:
        """Each member's mean over views, `[N, K]`."""
        for network in self._networks:
            probs_NVK = view_probabilities(network, self._normalise, crops, views, mirror=self.description.mirror)
            yield probs_NVK.mean(1).cpu().numpy()


@torch.inference_mode()
def _require_logits(
    path: Path, network: Callable[[Tensor], Tensor], description: Description, device: torch.device
) -> None:
    """Raise ValueError where a program does not give a logit for each class of an image of the size described."""
    size, classes = description.image_size, len(description.classes)
    image = torch.zeros(1, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    try:
        shape = tuple(network(image).shape)
    except Exception as error:  # whatever operators say of a tensor that they do not take
        raise ValueError(
            f"{path} takes no images of {size} px ({_first_line(error)}); export the model again"
        ) from None
    if shape != (1, classes):
        raise ValueError(f"{path} gives logits {list(shape)} for {classes} classes; export the model again")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
