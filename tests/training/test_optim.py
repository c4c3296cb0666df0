"""The optimiser's groups and arithmetic, and the clipping of the whole gradient."""

import pytest
import torch
from torch import nn

from platform.config.models import GoogLeNetConfig
from platform.config.optim import OptimConfig
from platform.models.build import build
from platform.training.optim import clip, sgd


def test_weight_decay_pulls_on_weights_and_on_nothing_else() -> None:
    model = build(GoogLeNetConfig(width=0.1, batch_norm=True), 10, 32, seed=0)
    decayed = {id(p) for g in sgd(model, OptimConfig()).param_groups if g["weight_decay"] for p in g["params"]}
    for name, parameter in model.named_parameters():
        is_weight = name.endswith("weight") and parameter.ndim > 1
        assert (id(parameter) in decayed) == is_weight, name


def test_every_parameter_is_optimised_once() -> None:
    model = build(GoogLeNetConfig(width=0.1), 10, 32, seed=0)
    optimised = [id(p) for group in sgd(model, OptimConfig()).param_groups for p in group["params"]]
    assert sorted(optimised) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_follow_the_formula(nesterov: bool) -> None:
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 2.0)
    nn.init.constant_(model.bias, 1.0)
    optimizer = sgd(model, OptimConfig(lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.5))
    weight, bias, w_speed, b_speed = 2.0, 1.0, 0.0, 0.0
    for gradient in (1.0, -3.0, 0.5):
        model.weight.grad, model.bias.grad = torch.full((1, 1), gradient), torch.full((1,), gradient)
        optimizer.step()
        w_gradient = gradient + 0.5 * weight
        w_speed, b_speed = 0.9 * w_speed + w_gradient, 0.9 * b_speed + gradient
        weight -= 0.1 * (w_gradient + 0.9 * w_speed if nesterov else w_speed)
        bias -= 0.1 * (gradient + 0.9 * b_speed if nesterov else b_speed)
    assert model.weight.item() == pytest.approx(weight, rel=1e-6)
    assert model.bias.item() == pytest.approx(bias, rel=1e-6)


def with_gradient() -> nn.Linear:
    """A layer whose gradient's norm is 5 over both of its parameters."""
    model = nn.Linear(1, 1)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0]]), torch.tensor([4.0])
    return model


def gradient_of(model: nn.Linear) -> list[float]:
    assert model.weight.grad is not None
    assert model.bias.grad is not None
    return [model.weight.grad.item(), model.bias.grad.item()]


@pytest.mark.parametrize(
    ("limit", "left"), [(2.0, [1.2, 1.6]), (5.5, [3.0, 4.0]), (0.0, [3.0, 4.0])], ids=["clipped", "within", "off"]
)
def test_clip_scales_to_the_limit_and_returns_the_norm_before(limit: float, left: list[float]) -> None:
    model = with_gradient()
    assert clip(model, limit).item() == pytest.approx(5.0)
    assert gradient_of(model) == pytest.approx(left, rel=1e-5)
