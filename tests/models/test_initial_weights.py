"""Weights of one network in another: what is taken, what is not, and that nothing else changes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from platform.config.checks import ConfigError
from platform.config.models import GoogLeNetConfig, ModelConfig
from platform.models.build import build
from platform.models.initial import Weights, classifiers, fit, start_from

NARROW = GoogLeNetConfig(width=0.1)
HEADS = {f"{head}.{kind}" for head in ("classifier", "aux1", "aux2") for kind in ("weight", "bias")}


def weights_of(model: ModelConfig, classes: int, seed: int = 1, names: list[str] | None = None) -> Weights:
    return Weights(build(model, classes, 32, seed).state_dict(), names)


def test_classifiers_are_what_depends_on_the_number_of_classes():
    found = classifiers(NARROW, 10, 32)
    shapes = {name: tensor.shape[0] for name, tensor in build(NARROW, 10, 32, 0).state_dict().items()}
    assert len(found) == 6
    assert {shapes[name] for name in found} == {10}
    assert classifiers(ModelConfig("torchvision/squeezenet1_1"), 7, 64) == {"classifier.1.weight", "classifier.1.bias"}


@pytest.mark.parametrize(("classes", "names"), [(7, None), (10, list("abcdefghij"))])
def test_a_classifier_of_other_classes_keeps_its_own_draw(classes: int, names: list[str] | None):
    """Of another number of them, or of others by their names."""
    network, drawn = build(NARROW, 10, 32, 0), build(NARROW, 10, 32, 0).state_dict()
    other, heads = weights_of(NARROW, classes, names=names), classifiers(NARROW, 10, 32)
    found = start_from(network, other, heads, list("0123456789"))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, drawn[name] if name in heads else other.tensors[name]), name
    assert set(found.new_classifier) == heads
    assert len(found.taken) == len(drawn) - len(heads)
    assert not found.missing | found.left_over | found.other_shape
    assert found.numbers == found.numbers_of


@pytest.mark.parametrize("names", [None, list("0123456789")])
def test_the_same_classes_take_the_classifier_too(names: list[str] | None):
    network, other = build(NARROW, 10, 32, 0), weights_of(NARROW, 10, names=names)
    start_from(network, other, classifiers(NARROW, 10, 32), list("0123456789"))
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in network.state_dict().items())


def test_what_does_not_fit_is_told_and_another_network_is_refused():
    own, normed = (build(replace(NARROW, batch_norm=b), 10, 32, 0).state_dict() for b in (False, True))
    heads = classifiers(NARROW, 10, 32)
    found = fit(normed, own, heads, same_classes=True)  # the convolutions are the same, their biases are not there
    found.require_enough("here", "googlenet")
    assert found.missing
    assert found.left_over
    assert all("running_" not in name for name in found.taken)
    wider = fit(own, weights_of(replace(NARROW, width=0.2), 10).tensors, heads, same_classes=True)
    assert len(wider.other_shape) > 50
    for odd in (wider, fit(own, weights_of(ModelConfig("torchvision/resnet18"), 10).tensors, heads, same_classes=True)):
        with pytest.raises(ConfigError, match=r"init is here, of which only [\d,]+ of the [\d,]+ numbers of goog"):
            odd.require_enough("here", "googlenet")


def test_half_precision_is_converted_and_said():
    network, other = build(NARROW, 10, 32, 0), weights_of(NARROW, 10)
    half = Weights({name: tensor.half() for name, tensor in other.tensors.items()})
    found = start_from(network, half, classifiers(NARROW, 10, 32), [])
    assert "of another type of number, converted" in found.text
    assert all(torch.equal(tensor, half.tensors[name].float()) for name, tensor in network.state_dict().items())


def test_the_digest_is_of_the_numbers_and_a_file_gives_them_back(tmp_path: Path):
    some = weights_of(NARROW, 10, names=list("abcdefghij"))
    some.write(tmp_path / "init" / "some.safetensors")
    again = Weights.read(tmp_path / "init" / "some.safetensors")
    assert again.classes == some.classes
    assert again.digest() == some.digest()
    turned = dict(reversed(some.tensors.items()))
    assert Weights(turned).digest() == some.digest()
    changed = some.tensors | {"classifier.bias": some.tensors.get("classifier.bias", torch.zeros(10)) + 1e-7}
    assert Weights(changed).digest() != some.digest()
