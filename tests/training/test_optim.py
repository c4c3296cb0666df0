"""Optimisers against numbers by hand, their state in checkpoints, and the clipping of the whole gradient."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from platform.config.data import DataConfig, LoaderConfig
from platform.config.optim import (
    OPTIMISERS,
    AdagradConfig,
    AdamWConfig,
    LAMBConfig,
    LARSConfig,
    MuonConfig,
    OptimConfig,
    RMSPropConfig,
    SGDConfig,
)
from platform.config.sections import Config
from platform.config.training import CheckpointConfig, TrainingConfig
from platform.data.batch import Batch
from platform.data.pixels import Pixels
from platform.data.sampling import DRAWS
from platform.training.averaging import WeightAverage
from platform.training.checkpoints import Checkpoints
from platform.training.optim import clip, held_tensors, muon, optimiser, rmsprop, sgd
from platform.training.state import TrainingState
from platform.training.step import StepConfig, train_step

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
GRADIENTS = (1.0, -3.0, 0.5)


def one_weight() -> nn.Linear:
    """A weight of 2 and a bias of 1."""
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 2.0)
    nn.init.constant_(model.bias, 1.0)
    return model


def stepped(model: nn.Linear, optimizer: torch.optim.Optimizer, rates: Iterator[float] | None = None) -> list[float]:
    """The weight after each of three steps of `GRADIENTS`, of its weight and its bias."""
    found = []
    for gradient in GRADIENTS:
        if rates is not None:
            for group in optimizer.param_groups:
                group["lr"] = next(rates)
        model.weight.grad, model.bias.grad = torch.full((1, 1), gradient), torch.full((1,), gradient)
        optimizer.step()
        found.append(model.weight.item())
    return found


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_follow_the_formula(nesterov: bool) -> None:
    model = one_weight()
    optimizer = sgd(model, SGDConfig(lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.5))
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


def test_rmsprop_has_epsilon_inside_the_root_and_begins_with_a_mean_square_of_1() -> None:
    """As TensorFlow's. First step: s = 0.9 + 0.1 x 1 = 1; v = 0.1 x 1 / sqrt(1 + 1) = 0.0707; w = 2 - 0.0707."""
    model = one_weight()
    found = stepped(model, rmsprop(model, RMSPropConfig(lr=0.1, weight_decay=0.0)))
    # s = 1, 1.8, 1.645; v = 0.0707107, 0.9 v - 0.3 / sqrt(2.8) = -0.1156447, 0.9 v + 0.05 / sqrt(2.645) = -0.0733364
    assert found == pytest.approx([1.9292893, 2.0449340, 2.1182704], abs=1e-6)


def test_rmsprop_keeps_the_rate_of_each_step_in_its_momentum_and_decays_by_the_gradient() -> None:
    model = one_weight()
    optimizer = rmsprop(model, RMSPropConfig(weight_decay=0.5))
    found = stepped(model, optimizer, rates=iter([0.1, 0.1, 0.2, 0.2, 0.4, 0.4]))
    weight, square, speed = 2.0, 1.0, 0.0
    for gradient, rate, now in zip(GRADIENTS, (0.1, 0.2, 0.4), found, strict=True):
        g = gradient + 0.5 * weight
        square += 0.1 * (g * g - square)
        speed = 0.9 * speed + rate * g / math.sqrt(square + 1.0)
        weight -= speed
        assert now == pytest.approx(weight, rel=1e-5)


def test_adagrad_follows_its_formula() -> None:
    model = one_weight()
    found = stepped(model, optimiser(model, AdagradConfig(lr=0.1, weight_decay=0.0, initial_sum=0.1)))
    moved = [0.1 / 1.1**0.5, -0.3 / 10.1**0.5, 0.05 / 10.35**0.5]
    assert found == pytest.approx([2 - sum(moved[:count]) for count in (1, 2, 3)])
    assert model.bias.item() == pytest.approx(1 - sum(moved))


def adam_steps(epsilon: float) -> Iterator[float]:
    """Adam's step for each of `GRADIENTS`, before the learning rate, with the betas 0.9 and 0.999."""
    mean, square = 0.0, 0.0
    for count, gradient in enumerate(GRADIENTS, 1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        yield mean / (1 - 0.9**count) / (math.sqrt(square / (1 - 0.999**count)) + epsilon)


def test_adamw_follows_its_formula_and_decays_no_bias() -> None:
    model = one_weight()
    found = stepped(model, optimiser(model, AdamWConfig(lr=0.1, weight_decay=0.5, epsilon=0.1)))
    weight, bias = 2.0, 1.0
    for step, now in zip(adam_steps(0.1), found, strict=True):
        weight, bias = weight * (1 - 0.1 * 0.5) - 0.1 * step, bias - 0.1 * step
        assert now == pytest.approx(weight, rel=1e-5)
    assert model.bias.item() == pytest.approx(bias, rel=1e-5)


def test_lars_scales_the_gradient_of_weights_to_their_norm_and_trains_biases_as_sgd_does() -> None:
    model = one_weight()
    found = stepped(model, optimiser(model, LARSConfig(lr=0.1, weight_decay=0.5, trust_coefficient=0.2)))
    weight, bias, w_speed, b_speed = 2.0, 1.0, 0.0, 0.0
    for gradient, now in zip(GRADIENTS, found, strict=True):
        trust = 0.2 * abs(weight) / (abs(gradient) + 0.5 * abs(weight))
        w_speed, b_speed = 0.9 * w_speed + trust * (gradient + 0.5 * weight), 0.9 * b_speed + gradient
        weight, bias = weight - 0.1 * w_speed, bias - 0.1 * b_speed
        assert now == pytest.approx(weight, rel=1e-5)
    assert model.bias.item() == pytest.approx(bias, rel=1e-5)


def test_lamb_scales_the_step_of_weights_to_their_norm_and_trains_biases_as_adam_does() -> None:
    """Two inputs: the step of a single weight has its norm whatever Adam's step is."""
    model = nn.Linear(2, 1)
    weight, bias = torch.tensor([[2.0, -1.0]]), 1.0
    model.load_state_dict({"weight": weight, "bias": torch.tensor([bias])})
    optimizer = optimiser(model, LAMBConfig(lr=0.1, weight_decay=0.5, epsilon=0.1))
    for gradient, step in zip(GRADIENTS, adam_steps(0.1), strict=True):
        model.weight.grad, model.bias.grad = torch.tensor([[gradient, 0.0]]), torch.tensor([gradient])
        optimizer.step()
        update = torch.tensor([[step, 0.0]]) + 0.5 * weight
        weight, bias = weight - 0.1 * update * weight.norm() / update.norm(), bias - 0.1 * step
        assert torch.allclose(model.weight, weight, rtol=1e-5)
    assert model.bias.item() == pytest.approx(bias, rel=1e-5)


@pytest.mark.parametrize("channels_last", [False, True])
def test_muon_is_torchs_on_matrices_and_on_flattened_kernels(channels_last: bool) -> None:
    """Biases are AdamW's."""
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(8, 16, 3), nn.Linear(8, 16)
    weights, biases = [conv.weight, linear.weight], [conv.bias, linear.bias]
    theirs = [
        torch.optim.Muon(
            matrices := [nn.Parameter(each.detach().reshape(16, -1).clone()) for each in weights],
            lr=0.01,
            weight_decay=0.1,
            nesterov=False,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            vectors := [nn.Parameter(each.detach().clone()) for each in biases],
            lr=0.01,
            weight_decay=0.0,
            betas=(0.9, 0.95),
            eps=1e-7,
        ),
    ]
    before = [each.detach().clone() for each in matrices]
    model = nn.Sequential(conv, linear)
    model = model.to(memory_format=torch.channels_last) if channels_last else model
    ours = muon(model, MuonConfig(lr=0.01, weight_decay=0.1, nesterov=False))
    for _ in range(3):
        for own, other in zip([*weights, *biases], [*matrices, *vectors], strict=True):
            other.grad = torch.randn_like(other)
            own.grad = other.grad.reshape(own.shape).clone()
        for each in (ours, *theirs):
            each.step()
    for own, other in zip(biases, vectors, strict=True):
        assert torch.allclose(own, other, atol=1e-5)
    for own, other, was in zip(weights, matrices, before, strict=True):
        one, two = (own.reshape(16, -1) - was).flatten(), (other - was).flatten()
        assert torch.dot(one, two) > 0.98 * one.norm() * two.norm()  # other coefficients of the iteration, in bfloat16
        assert one.norm().item() == pytest.approx(two.norm().item(), rel=0.2)


class Tiny(nn.Module):
    """A network with a convolution, batch norm and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, stride=16), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
        self.classifier = nn.Linear(8 * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.layers(images))


class Training:
    """A tiny network and its optimiser, as the loop has them."""

    def __init__(self, optim: OptimConfig, dtype: torch.dtype = torch.float32) -> None:
        self.cfg = Config(
            data=DataConfig(image_size=32),
            loader=LoaderConfig(streams=1),
            optim=optim,
            training=TrainingConfig(batch_size=6, bad_steps="skip"),
        )
        torch.manual_seed(0)
        self.module, self.dtype = Tiny().to(memory_format=torch.channels_last), dtype
        average = WeightAverage(self.module, TrainingConfig(), 5, 10)
        self.state = TrainingState(self.module, optimiser(self.module, optim), average)

    def run(self, start: int, stop: int) -> None:
        for step in range(start, stop):
            for group in self.state.optimizer.param_groups:
                group["lr"] = self.cfg.optim.lr / (step + 1)
            self.step(batch(step))
            self.state.average.update(self.state.module, step)

    def step(self, samples: Batch) -> bool:
        """Whether it was skipped."""
        cfg, pixels = StepConfig.of(self.cfg), Pixels(self.cfg.data, CPU)
        return train_step(self.module.train(), self.state.optimizer, samples, pixels, cfg, self.dtype, world=1).skipped

    def tensors(self) -> list[torch.Tensor]:
        state = self.state.at(0)
        found: list[torch.Tensor] = []
        for each in (state["model"], state["average"], *state["optimizer"]["state"].values()):
            found += [torch.as_tensor(value).clone() for value in each.values()]
        return found


def batch(number: int) -> Batch:
    generator = np.random.default_rng(number)
    return Batch(
        images=torch.from_numpy(generator.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)),
        labels_N=torch.from_numpy(generator.integers(0, 10, 6)),
        ids_N=torch.arange(6),
        valid_N=torch.ones(6, dtype=torch.bool),
        mirrored_N=torch.zeros(6, dtype=torch.bool),
        draws_ND=generator.random((6, DRAWS)),
    )


def chosen(name: str) -> OptimConfig:
    return OPTIMISERS[name](name, lr=0.05)


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, torch.float32) for name in OPTIMISERS), ("rmsprop", torch.bfloat16)]
)
def test_a_resumed_run_ends_bitwise_as_an_undisturbed_one(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Through a checkpoint's bytes, which are read with `weights_only`."""
    whole, first, second = (Training(chosen(name), dtype) for _ in range(3))
    whole.run(0, 6)
    first.run(0, 3)
    with Checkpoints(tmp_path, CheckpointConfig()) as checkpoints:
        checkpoints.save(first.state.at(3), wait=True)
        saved = checkpoints.load()
    assert saved is not None
    second.state.load(saved)
    second.run(3, 6)
    pairs = list(zip(whole.tensors(), second.tensors(), strict=True))
    assert len(pairs) > 20
    assert all(torch.equal(one, other) for one, other in pairs)
    assert not torch.equal(whole.tensors()[0], first.tensors()[0])


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_step_that_is_skipped_leaves_the_state_alone_and_another_learns(name: str) -> None:
    training = Training(chosen(name))
    training.run(0, 2)
    before = training.tensors()
    training.module.classifier.weight.register_hook(lambda gradient: gradient * math.nan)
    assert training.step(batch(2))
    assert all(torch.equal(one, other) for one, other in zip(before, training.tensors(), strict=True))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_an_optimiser_will_hold_is_known_before(name: str) -> None:
    """A matrix: Muon holds more of a vector, for which AdamW is."""
    training = Training(chosen(name))
    expected = held_tensors(training.state.optimizer)
    training.run(0, 1)
    weight = training.module.classifier.weight
    held = [
        each for each in training.state.optimizer.state[weight].values() if getattr(each, "shape", None) == weight.shape
    ]
    assert len(held) == expected or name == "muon"


def operations(of: Callable[[], object]) -> set[str]:
    """Names of PyTorch's operations in a call."""
    with profile(activities=[ProfilerActivity.CPU]) as found:  # where those of a GPU are started, too
        of()
    return {each.key.removeprefix("aten::") for each in found.key_averages()}


def operations_of_a_step(name: str, device: str) -> set[str]:
    """Of the step alone, with gradients that are there."""
    network = Tiny().to(device)
    optimizer = optimiser(network, chosen(name))
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    return operations(optimizer.step)


@pytest.mark.parametrize(("name", "kernel"), [("sgd", "_fused_sgd_"), ("adamw", "_fused_adamw_")])
def test_steps_of_sgd_and_adamw_are_fused(name: str, kernel: str) -> None:
    assert kernel in operations_of_a_step(name, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", [name for name in OPTIMISERS if name != "muon"])
def test_on_a_gpu_no_optimiser_steps_parameter_by_parameter(name: str) -> None:
    """But for timm's Muon, which has no other way."""
    assert any(each.startswith(("_fused_", "_foreach_")) for each in operations_of_a_step(name, "cuda"))


@pytest.mark.parametrize("name", ["rmsprop", "adagrad", "lars", "lamb"])
def test_steps_over_lists_of_parameters_as_a_gpu_makes_them_are_those_parameter_by_parameter(name: str) -> None:
    """Nothing but the device chooses between them."""
    single, lists = Tiny(), Tiny()
    lists.load_state_dict(single.state_dict())
    by_one, by_list = (optimiser(each, chosen(name)) for each in (single, lists))
    for group in by_list.param_groups:
        assert group["foreach"] is None
        group["foreach"] = True
    for _ in range(3):
        for one, other in zip(single.parameters(), lists.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        by_one.step()
        assert any(each.startswith("_foreach_") for each in operations(by_list.step))
    for one, other in zip(single.parameters(), lists.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


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
