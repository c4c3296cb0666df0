"""A model whose answers are known without training: an image's class is the channel that is brightest."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from platform.export.description import ARTIFACTS, FILE_NAME, Description
from platform.export.mlmodel import write_mlmodel
from platform.export.networks import write_program
from platform.export.package import write_package

CLASSES = ["red", "green", "blue"]
MEMBERS = ("first", "second", "contrary")  # the last one takes red for green, and green for red
SIZE = 32


class Brightest(nn.Module):
    """Logits are ten times the mean of each channel; with `swapped` the first two change places."""

    def __init__(self, *, swapped: bool) -> None:
        super().__init__()
        self.mix = nn.Linear(3, 3, bias=False)
        order = [1, 0, 2] if swapped else [0, 1, 2]
        self.mix.weight.data = 10 * torch.eye(3)[order]

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(images.mean((2, 3)))


def write_model(folder: Path, members: tuple[str, ...] = MEMBERS, views: int = 1) -> Path:
    """A model's folder as export writes it, less the weights."""
    artifacts = folder / ARTIFACTS
    artifacts.mkdir(parents=True)
    for name in members:
        write_program(Brightest(swapped=name == "contrary"), SIZE, artifacts / f"{name}.pt2")
    about = Description(
        classes=CLASSES, members=list(members), image_size=SIZE, mean=[0.0] * 3, std=[1.0] * 3, mirror=True, views=views
    )
    (artifacts / FILE_NAME).write_text(about.text())
    write_package(folder / "code")
    write_mlmodel(folder, about)
    return folder


def picture(colour: str, size: tuple[int, int] = (48, 40), kind: str = "JPEG", noise: int = 40) -> bytes:
    """An encoded image that is mostly of that colour."""
    rng = np.random.default_rng(len(colour))
    pixels = rng.integers(0, noise, (size[1], size[0], 3), dtype=np.uint8)
    pixels[..., CLASSES.index(colour)] += 180
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()
