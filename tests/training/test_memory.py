"""Out of memory, played by a network that takes so many images and no more: what is advised fits."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from platform.config.data import DataConfig, LoaderConfig
from platform.config.evaluation import EvaluationConfig
from platform.config.models import GoogLeNetConfig
from platform.config.optim import SGDConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.batch import Batch
from platform.data.index import Index
from platform.data.pixels import Pixels
from platform.data.sampling import DRAWS
from platform.models.dropout import by_sample, layers, set_keys
from platform.training import evaluations, initial
from platform.training.loop import train
from platform.training.memory import OutOfMemory, advice
from platform.training.optim import optimiser
from platform.training.step import StepConfig
from platform.training.worker import Worker

CPU = torch.device("cpu")


class Small(nn.Module):
    """Runs out of memory, as far as anybody can tell, with more than `most` images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.tried = most, []
        self.layer = nn.Linear(3, 10)
        self.held: weakref.ref[Tensor] | None = None  # what the first one to fail had in memory
        self.held_while_trying = False

    def forward(self, images: Tensor) -> Tensor:
        self.tried.append(len(images))
        if self.held is not None:
            gc.collect()
            self.held_while_trying |= self.held() is not None
        features = self.layer(images.mean(dim=(2, 3)))
        if len(images) > self.most:
            self.held = self.held or weakref.ref(features)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return features


def config(data: DataConfig, batch_size: int, per_worker: int) -> Config:
    training: dict[str, Any] = {"batch_size": batch_size, "max_batch_per_worker": per_worker, "epochs": 0.01}
    return Config(
        data=data,
        loader=LoaderConfig(streams=1),
        model=GoogLeNetConfig(),
        training=TrainingConfig(precision="float32", log_every_steps=1, **training),
        evaluation=EvaluationConfig(views=[1], every_epochs=0),
    )


def batch(n: int) -> Batch:
    return Batch(
        images=torch.zeros(n, 8, 8, 3, dtype=torch.uint8),
        labels_N=torch.zeros(n, dtype=torch.int64),
        ids_N=torch.arange(n),
        valid_N=torch.ones(n, dtype=torch.bool),
        mirrored_N=torch.zeros(n, dtype=torch.bool),
        draws_ND=np.zeros((n, DRAWS)),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "per_worker", "most", "said", "advised"),
    [
        (64, 256, 63, "with 64 images", "training.max_batch_per_worker=32 fits: the same batch in 2 parts"),
        (64, 256, 9, "with 64 images", "training.max_batch_per_worker=8 fits: the same batch in 8 parts"),
        (64, 256, 1, "with 64 images", "training.max_batch_per_worker=1 fits: the same batch in 64 parts"),
        (64, 16, 5, "with 16 images", "training.max_batch_per_worker=4 fits: the same batch in 16 parts"),
        (10, 6, 4, "with 5 images", "training.max_batch_per_worker=2 fits: the same batch in 5 parts"),
        (64, 256, 0, "with 64 images", "not even one image fits: take a smaller model.width or data.image_size"),
    ],
)
def test_the_largest_part_that_fits_is_found(
    digits_data: DataConfig, images: int, per_worker: int, most: int, said: str, advised: str
) -> None:
    network, cfg = Small(most), config(digits_data, images, per_worker)
    text = advice(
        network, optimiser(network, cfg.optim), batch(images), Pixels(cfg.data, CPU), StepConfig.of(cfg), torch.float32
    )
    assert said in text
    assert f"training.batch_size={images}, {images} of them on this worker" in text
    assert advised in text
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.slow
def test_training_stops_with_what_would_fit_and_that_does(
    digits: Index, digits_data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Small(most=3)
    monkeypatch.setattr(initial, "build", lambda *_: network)
    with pytest.raises(OutOfMemory, match=r"with 16 images .*training\.max_batch_per_worker=2 fits") as caught:
        train(config(digits_data, 16, 256), digits, Worker(), tmp_path, lambda step, metrics: None)
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert network.tried == [16, 8, 4, 2, 2]  # the second beside the gradients of the first
    assert not network.held_while_trying  # else less would fit than will

    fits = Small(most=3)
    monkeypatch.setattr(initial, "build", lambda *_: fits)
    monkeypatch.setattr(evaluations, "evaluate", _no_scores)
    train(config(digits_data, 16, 2), digits, Worker(), tmp_path, lambda step, metrics: None)
    assert set(fits.tried) == {2}


def _no_scores(*_: object) -> Any:
    from platform.evaluation.metrics import Scores

    return Scores(samples=1)


@pytest.mark.slow
def test_a_network_with_dropout_by_sample_gets_advice_too(digits: Index, digits_data: DataConfig) -> None:
    """What failed has left its samples' keys behind."""
    cfg = config(digits_data, 32, 16)
    model = by_sample(nn.Sequential(Small(4), nn.Dropout(0.5))).train()
    set_keys(layers(model), torch.arange(16))
    said = advice(
        model, optimiser(model, cfg.optim), batch(32), Pixels(cfg.data, CPU), StepConfig.of(cfg), torch.float32
    )
    assert "training.max_batch_per_worker=4 fits" in said


WEIGHTS = 300_000  # of `Wide`; every number takes four bytes


class Wide(nn.Module):
    """A network on a device of so many numbers: weights, gradients, momentum and all that a pass holds count."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.layer = nn.Linear(3, WEIGHTS // 3, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        features = self.layer(images.mean(dim=(2, 3)))
        if _held() > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return features


@pytest.mark.slow
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("stepped", [False, True])
def test_what_is_advised_fits_beside_momentum_and_the_gradients_of_another_part(
    digits_data: DataConfig, momentum: float, stepped: bool
) -> None:
    """The first step, which makes the momentum, is where memory runs out; the second is the one that must fit."""
    cfg = config(digits_data, 16, 256)
    cfg.optim = SGDConfig(momentum=momentum)
    network = Wide(10**12)
    optimizer = optimiser(network, cfg.optim)
    if stepped:
        network(torch.zeros(1, 3, 8, 8)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    gc.collect()
    others = _held()
    features = WEIGHTS // 3  # of each image
    network.room = others + (0 if stepped else WEIGHTS * (momentum > 0)) + WEIGHTS + 11 * features // 2
    said = advice(network, optimizer, batch(16), Pixels(cfg.data, CPU), StepConfig.of(cfg), torch.float32)
    assert "training.max_batch_per_worker=4 fits" in said


def _held() -> int:
    """Numbers in all tensors of this process that are weights, features or gradients."""
    held = [each for each in gc.get_objects() if type(each) in (Tensor, nn.Parameter) and each.dtype == torch.float32]
    gradients = [each.grad for each in held if each.is_leaf and each.grad is not None]
    return sum({each.untyped_storage().data_ptr(): each.numel() for each in held + gradients}.values())
