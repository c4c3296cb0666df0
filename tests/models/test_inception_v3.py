"""Inception-v3 against the one that torchvision has, whose weights are its authors', and the paper's Table 2."""

import io
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from platform.config.models import InceptionV3Config
from platform.models.inception_v3 import MODULES, InceptionV3

SMALLER = [(151, {"first_stride": 1}), (79, {"first_stride": 1, "first_pool": False})]


def shapes(network: InceptionV3, size: int) -> dict[str, tuple[int, ...]]:
    """The output of each stage for images of that size, in training."""
    found: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            found[name] = tuple(output.shape[1:])

        return hook

    heads = {f"head {name}": head for name, head in network.auxiliary.items()}
    for name, module in {"stem": network.stem, **network.stages, **heads}.items():
        module.register_forward_hook(note(name))
    with torch.device("meta"):
        network(torch.empty(2, 3, size, size))
    return found


def on_meta(size: int, **options: Any) -> InceptionV3:
    with torch.device("meta"):
        return InceptionV3(1000, size, **options)


def test_maps_of_every_stage_are_the_papers() -> None:
    found = shapes(on_meta(299), 299)
    assert found["stem"] == (192, 35, 35)
    assert {name: found[name] for name in MODULES} == {
        "35a": (256, 35, 35), "35b": (288, 35, 35), "35c": (288, 35, 35), "17": (768, 17, 17),
        **{f"17{letter}": (768, 17, 17) for letter in "abcd"},
        "8": (1280, 8, 8), "8a": (2048, 8, 8), "8b": (2048, 8, 8),
    }  # fmt: skip
    assert found["head 17d"] == (1000,)


@pytest.mark.parametrize(("size", "options"), SMALLER)
def test_smaller_images_have_maps_as_large(size: int, options: dict[str, Any]) -> None:
    """Table 2: the same cost at 299, 151 and 79 pixels, but for the first layers."""
    found = shapes(on_meta(size, **options), size)
    assert found["17"][1:] == (17, 17)
    assert found["8b"] == (2048, 8, 8)


@pytest.mark.parametrize(("size", "options"), [(75, {}), (39, SMALLER[0][1]), (21, SMALLER[1][1])])
def test_the_smallest_images_train_and_those_below_are_refused(size: int, options: dict[str, Any]) -> None:
    assert shapes(on_meta(size, **options), size)["8b"] == (2048, 1, 1)
    with pytest.raises(ValueError, match=rf"image_size is {size - 1}; .* at least 75 pixels"):
        on_meta(size - 1, **options)


def test_the_auxiliary_heads_hidden_layer_has_batch_norm_unless_asked_otherwise() -> None:
    with_it, without = on_meta(299), on_meta(299, auxiliary_batch_norm=False)
    norms = [
        sum(isinstance(layer, nn.BatchNorm2d) for layer in each.auxiliary.modules()) for each in (with_it, without)
    ]
    assert norms == [2, 1]


def of_torchvision(theirs: nn.Module) -> InceptionV3:
    """Ours with the weights of torchvision's, whose modules have the branches in the same order."""
    ours = InceptionV3()
    head = lambda name: name.startswith(("AuxLogits", "auxiliary"))  # noqa: E731
    names = sorted(ours.state_dict(), key=head), sorted(theirs.state_dict(), key=head)
    ours.load_state_dict({name: theirs.state_dict()[other] for name, other in zip(*names, strict=True)})
    return ours


def test_a_fifth_is_dropped_in_front_of_the_classifier_in_training() -> None:
    network, images = InceptionV3(7, 75), torch.rand(2, 3, 75, 75)
    dropped: list[tuple[Any, Any]] = []  # before and behind
    given: list[Tensor] = []
    network.dropout.register_forward_hook(lambda _layer, inputs, output: dropped.append((inputs[0], output)))
    network.classifier.register_forward_pre_hook(lambda _layer, inputs: given.append(inputs[0]))
    assert network.dropout.p == InceptionV3Config().dropout == 0.2
    with torch.no_grad():
        network.train()(images)
    ((before, behind),) = dropped
    assert given[0] is behind
    assert (behind[before != 0] == 0).float().mean().item() == pytest.approx(0.2, abs=0.05)


def test_it_is_torchvisions_network(photos: list[bytes]) -> None:
    """On photographs."""
    torch.manual_seed(1)
    theirs = torchvision.models.inception_v3(weights=None, init_weights=True)
    for module in theirs.modules():  # as trained: no two channels are alike
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    ours = of_torchvision(theirs)
    ours.dropout.p = theirs.dropout.p = 0.0
    assert sum(weight.numel() for weight in ours.parameters()) == 27_161_264
    rows = [np.asarray(Image.open(io.BytesIO(photo)).convert("RGB").resize((299, 299))) for photo in photos]
    images = (torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-4, atol=1e-5)
        (main, auxiliary), expected = ours.train()(images), theirs.train()(images)
    torch.testing.assert_close(main, expected.logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(auxiliary, expected.aux_logits, rtol=1e-3, atol=1e-4)
