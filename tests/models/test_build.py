"""Names to networks: the seed decides the weights and nothing else, and every kind of output is understood."""

import pytest
import torch
from torch import nn

from platform.config.checks import ConfigError
from platform.config.models import GoogLeNetConfig, ModelConfig, model_of
from platform.models.build import build, logits_and_auxiliary
from platform.models.googlenet import GoogLeNet
from platform.models.rehearsal import rehearse
from platform.models.torchvision import classifiers


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["googlenet", "torchvision/squeezenet1_1"])
def test_the_seed_decides_the_weights(name: str) -> None:
    model = model_of({"name": name})
    one = build(model, 10, 32, seed=7)
    torch.manual_seed(12345)  # whatever was drawn before
    assert same_weights(one, build(model, 10, 32, seed=7))
    assert not same_weights(one, build(model, 10, 32, seed=8))


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    build(GoogLeNetConfig(width=0.1), 10, 32, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.slow
def test_every_setting_reaches_googlenet() -> None:
    model = GoogLeNetConfig(width=0.5, batch_norm=True, naive=True, local_response_norm=True, dropout=0.1)
    network = build(model, 12, 48, seed=0)
    assert isinstance(network, GoogLeNet)
    assert network.classifier.out_features == 12
    assert network.dropout.p == 0.1
    kinds = [type(layer).__name__ for layer in network.modules()]
    assert {"BatchNorm2d", "LocalResponseNorm", "NaiveInception"} <= set(kinds)
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    assert first.out_channels == 32
    assert len(network(torch.randn(2, 3, 48, 48))) == 3


def test_torchvisions_resnet18_gives_plain_logits() -> None:
    network = build(ModelConfig(name="torchvision/resnet18"), 10, 64, seed=0)
    main, auxiliary = logits_and_auxiliary(network(torch.randn(2, 3, 64, 64)))
    assert main.shape == (2, 10)
    assert auxiliary == []


def test_torchvisions_googlenet_gives_auxiliary_logits_in_training_only() -> None:
    network = build(ModelConfig(name="torchvision/googlenet"), 10, 64, seed=0)
    images = torch.randn(2, 3, 64, 64)
    outputs = network(images)
    main, auxiliary = logits_and_auxiliary(outputs)
    assert main is outputs.logits
    assert [tuple(logits.shape) for logits in auxiliary] == [(2, 10), (2, 10)]
    assert logits_and_auxiliary(network.eval()(images))[1] == []


def test_googlenets_outputs_are_split_into_main_and_auxiliary() -> None:
    outputs = tuple(torch.full((1, 2), float(value)) for value in range(3))
    main, auxiliary = logits_and_auxiliary(outputs)
    assert main is outputs[0]
    assert all(a is b for a, b in zip(auxiliary, outputs[1:], strict=True))
    assert logits_and_auxiliary((outputs[0], None, outputs[2]))[1] == [outputs[2]]


@pytest.mark.parametrize("name", ["torchvision/resnet19", "torchvision/raft_large", "torchvision/"])
def test_names_torchvision_does_not_know_are_refused_with_those_it_does(name: str) -> None:
    for refused in (lambda model: rehearse(model, 10, 32, 2), lambda model: build(model, 10, 32, 0)):
        with pytest.raises(ConfigError, match=name) as error:
            refused(ModelConfig(name=name))
        assert "resnet18" in str(error.value)


def test_a_name_of_neither_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'resnet18'.*torchvision/NAME"):
        ModelConfig(name="resnet18")


def test_only_classifiers_are_offered() -> None:
    names = classifiers()
    assert {"resnet18", "googlenet"} <= set(names)
    assert not [name for name in names if "rcnn" in name or "raft" in name or "fcn" in name]
