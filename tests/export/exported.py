"""Exported networks, handmade: files as in a model's folder, of networks with initial weights."""

from pathlib import Path

import torch
from torch import nn

from platform.config.data import DataConfig
from platform.config.models import model_of
from platform.export.description import FILE_NAME, Description
from platform.export.networks import write_program, write_weights
from platform.models.build import build

CLASSES = [str(number) for number in range(10)]


def network(seed: int = 0, name: str = "googlenet") -> nn.Module:
    """A narrow network whose classifier tells images apart, as one with its first small weights does not."""
    settings = {"name": name} | ({"width": 0.25} if name == "googlenet" else {})
    model = build(model_of(settings), len(CLASSES), 32, seed).eval()
    if name == "googlenet":
        drawn = torch.randn(10, 256, generator=torch.Generator().manual_seed(seed))
        model.classifier.load_state_dict({"weight": drawn / 2, "bias": torch.zeros(10)})  # pyright: ignore
    return model


def write_members(folder: Path, networks: dict[str, nn.Module], data: DataConfig, views: int = 1) -> Description:
    """`classifier.json`, and each network's program and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in networks.items():
        write_program(model, 32, folder / f"{name}.pt2")
        write_weights(model, folder / f"{name}.safetensors")
    found = Description(CLASSES, list(networks), 32, data.mean, data.std, data.mirror, views)
    (folder / FILE_NAME).write_text(found.text())
    return found
