"""Who is exempt from weight decay."""

import pytest
import torch
from torch import nn

from platform.config.models import GoogLeNetConfig
from platform.config.optim import SGDConfig
from platform.models.build import build
from platform.training.optim import sgd
from platform.training.weight_decay import exempt, summary


def test_weight_decay_pulls_on_weights_and_on_nothing_else() -> None:
    model = build(GoogLeNetConfig(width=0.1, batch_norm=True), 10, 32, seed=0)
    decayed = {id(p) for g in sgd(model, SGDConfig()).param_groups if g["weight_decay"] for p in g["params"]}
    for name, parameter in model.named_parameters():
        is_weight = name.endswith("weight") and parameter.ndim > 1
        assert (id(parameter) in decayed) == is_weight, name


class Transformer(nn.Module):
    """Its positions decay, as those of torchvision's do; a scale of its own is named in `no_weight_decay`."""

    def __init__(self) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.encoder = nn.ModuleDict({"norm": nn.LayerNorm(4), "mix": nn.Linear(4, 4)})
        self.pos_embedding = nn.Parameter(torch.zeros(1, 5, 4))
        self.gain = nn.Parameter(torch.zeros(2, 2))
        self.frozen = nn.Parameter(torch.zeros(3, 3), requires_grad=False)

    def no_weight_decay(self) -> set[str]:
        return {"gain"}


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_a_network_names_is_exempt(wrapped: bool) -> None:
    model = nn.Sequential(Transformer()) if wrapped else Transformer()
    names = {name.removeprefix("0.") for name in exempt(model)}
    assert names == {
        "gain",
        "encoder.norm.weight",
        "encoder.norm.bias",
        "encoder.mix.bias",
    }
    groups = sgd(model, SGDConfig(weight_decay=0.1)).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(3, 0.1), (4, 0.0)]
    assert summary(model) == (
        "weight decay pulls on 40 parameters in 3 tensors, and not on 16 in 4 "
        "(biases, normalisation, what the network names)"
    )


def test_every_parameter_is_optimised_once() -> None:
    model = build(GoogLeNetConfig(width=0.1), 10, 32, seed=0)
    optimised = [id(p) for group in sgd(model, SGDConfig()).param_groups for p in group["params"]]
    assert sorted(optimised) == sorted(id(p) for p in model.parameters())
