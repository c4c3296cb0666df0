"""One optimiser step: accumulation and auxiliary losses, against direct computations."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from platform.config.data import DataConfig, LoaderConfig
from platform.config.loss import LossConfig
from platform.config.models import GoogLeNetConfig
from platform.config.optim import SGDConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.batch import Batch
from platform.data.pixels import Pixels
from platform.data.sampling import DRAWS
from platform.training.loss import losses
from platform.training.optim import optimiser
from platform.training.step import StepConfig, StepResult, autocast_dtype, train_step

CPU = torch.device("cpu")
CLASSES = 5


class TwoHeads(nn.Module):
    """A network without dropout and with two auxiliary heads in training."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten())
        self.heads = nn.ModuleList(nn.Linear(4 * 8 * 8, CLASSES) for _ in range(3))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.trunk(images)
        return tuple(head(x) for head in self.heads)


def network() -> TwoHeads:
    torch.manual_seed(0)
    return TwoHeads()


def config(
    *,
    batch_size: int = 13,
    per_worker: int = 256,
    auxiliary_weight: float = 0.3,
    clip_norm: float = 0.0,
    **sampling: Any,
) -> Config:
    return Config(
        data=DataConfig(classes=CLASSES),
        loader=LoaderConfig(streams=1),
        sampling=SamplingConfig(**sampling),
        model=GoogLeNetConfig(auxiliary_weight=auxiliary_weight),
        optim=SGDConfig(clip_norm=clip_norm),
        training=TrainingConfig(batch_size=batch_size, max_batch_per_worker=per_worker),
    )


def batch(n: int = 13) -> Batch:
    generator = np.random.default_rng(1)
    return Batch(
        images=torch.from_numpy(generator.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)),
        labels_N=torch.from_numpy(generator.integers(0, CLASSES, n)),
        ids_N=torch.arange(n),
        valid_N=torch.ones(n, dtype=torch.bool),
        mirrored_N=torch.from_numpy(generator.random(n) < 0.5),
        draws_ND=generator.random((n, DRAWS)),
    )


def some_of(samples: Batch, kept_N: Tensor) -> Batch:
    return Batch(
        samples.images[kept_N],
        samples.labels_N[kept_N],
        samples.ids_N[kept_N],
        samples.valid_N[kept_N],
        samples.mirrored_N[kept_N],
        samples.draws_ND[kept_N.numpy()],
    )


def step(
    cfg: Config, samples: Batch, model: nn.Module | None = None, world: int = 1
) -> tuple[StepResult, list[Tensor]]:
    """The result and the gradients left behind."""
    model = model or network()
    result = train_step(
        model,
        optimiser(model, cfg.optim),
        samples,
        Pixels(cfg.data, CPU),
        StepConfig.of(cfg),
        torch.float32,
        world=world,
    )
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) == len(list(model.parameters()))
    return result, gradients


@pytest.mark.parametrize("per_worker", [1, 4, 5, 12])
def test_accumulated_gradients_are_those_of_one_batch(per_worker: int) -> None:
    whole, gradients = step(config(photometric=True), batch())
    parts, accumulated = step(config(photometric=True, per_worker=per_worker), batch())
    torch.testing.assert_close(accumulated, gradients)
    torch.testing.assert_close(parts.loss, whole.loss)
    torch.testing.assert_close(parts.main_loss, whole.main_loss)
    torch.testing.assert_close(parts.gradient_norm, whole.gradient_norm)
    assert parts.correct == whole.correct


@pytest.mark.parametrize("cuts", [[0, 13], [0, 7, 13], [0, 6, 11, 13], [0, 1, 13]])
def test_the_average_over_unlike_shares_is_the_whole_batch(cuts: list[int]) -> None:
    """What DistributedDataParallel's plain average makes of them."""
    samples = batch()
    whole, gradients = step(config(), samples)
    world = len(cuts) - 1
    shares = [some_of(samples, (samples.ids_N >= a) & (samples.ids_N < b)) for a, b in pairwise(cuts)]
    results = [step(config(per_worker=4), share, world=world) for share in shares]
    averages = [
        torch.stack(of_ranks).mean(0) for of_ranks in zip(*(gradients for _, gradients in results), strict=True)
    ]
    torch.testing.assert_close(averages, gradients)
    for name in ("loss", "main_loss"):
        average = torch.stack([getattr(result, name) for result, _ in results]).mean()
        torch.testing.assert_close(average, getattr(whole, name))
    assert sum(result.correct for result, _ in results) == whole.correct


def test_no_part_is_larger_than_the_limit() -> None:
    sizes = []
    model = network()
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    step(config(per_worker=5), batch(13), model)
    assert sorted(sizes) == [4, 4, 5]


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_the_mains_plus_weighted_auxiliary_ones(weight: float) -> None:
    samples, cfg = batch(), config(auxiliary_weight=weight)
    images = Pixels(cfg.data, CPU).training(samples.images, samples.mirrored_N, samples.colour_draws_N8, cfg.sampling)
    model = network()
    main, *auxiliary = (F.cross_entropy(logits, samples.labels_N) for logits in model(images))
    expected = main + weight * (auxiliary[0] + auxiliary[1])
    expected.backward()
    result, gradients = step(cfg, samples)
    torch.testing.assert_close(result.loss, expected.detach())
    torch.testing.assert_close(result.main_loss, main.detach())
    torch.testing.assert_close(gradients, [p.grad for p in model.parameters()])


def test_auxiliary_heads_have_the_loss_of_the_main_one() -> None:
    samples, cfg = batch(), config()
    cfg.loss = LossConfig("bce", smoothing=0.1)
    images = Pixels(cfg.data, CPU).training(samples.images, samples.mirrored_N, samples.colour_draws_N8, cfg.sampling)
    main, *auxiliary = (losses(logits, samples.labels_N, cfg.loss).mean() for logits in network()(images))
    result = step(cfg, samples)[0]
    torch.testing.assert_close(result.main_loss, main.detach())
    torch.testing.assert_close(result.loss, (main + 0.3 * (auxiliary[0] + auxiliary[1])).detach())
    assert abs(result.main_loss - step(config(), samples)[0].main_loss) > 0.1


def test_correct_counts_the_main_classifier() -> None:
    samples, cfg = batch(), config()
    images = Pixels(cfg.data, CPU).training(samples.images, samples.mirrored_N, samples.colour_draws_N8, cfg.sampling)
    right = (network()(images)[0].argmax(1) == samples.labels_N).sum()
    assert step(cfg, samples)[0].correct == right


def test_the_update_is_clipped_and_the_norm_reported_is_that_before() -> None:
    free, gradients = step(config(), batch())
    clipped, shorter = step(config(clip_norm=0.1), batch())
    torch.testing.assert_close(clipped.gradient_norm, free.gradient_norm)
    assert free.gradient_norm > 0.1
    torch.testing.assert_close(torch.stack([g.norm() for g in shorter]).norm(), torch.tensor(0.1), rtol=1e-4, atol=0)
    torch.testing.assert_close(shorter, [g * 0.1 / free.gradient_norm for g in gradients], rtol=1e-4, atol=1e-7)


def test_gradients_of_an_earlier_step_are_gone() -> None:
    model, cfg = network(), config()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    _, gradients = step(cfg, batch(), model)
    torch.testing.assert_close(gradients, step(cfg, batch())[1])


def test_bfloat16_computes_in_it_and_keeps_weights_and_loss_in_float32() -> None:
    model, cfg, kinds = network(), config(), []
    model.heads[0].register_forward_hook(lambda _, __, output: kinds.append(output.dtype))
    result = train_step(
        model, optimiser(model, cfg.optim), batch(), Pixels(cfg.data, CPU), StepConfig.of(cfg), torch.bfloat16, world=1
    )
    assert kinds == [torch.bfloat16]
    assert result.loss.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    torch.testing.assert_close(result.loss, step(cfg, batch())[0].loss, rtol=0.02, atol=0.02)


def test_a_precision_is_a_dtype_of_autocast() -> None:
    assert autocast_dtype("float32", CPU) == torch.float32
    assert autocast_dtype("bfloat16", CPU) == torch.bfloat16
    assert autocast_dtype("auto", CPU) in (torch.float32, torch.bfloat16)


class Normalised(nn.Module):
    """A network with batch norm, that is spoilt on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.Flatten())
        self.head = nn.Linear(4 * 8 * 8, CLASSES)
        self.spoilt = False

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.layers(images * float("nan") if self.spoilt else images))


def run_of(cfg: Config, spoilt: list[bool]) -> tuple[list[StepResult], dict[str, Any]]:
    """Several steps; the results, and everything that training changes."""
    torch.manual_seed(0)
    model = Normalised()
    optimizer, pixels, results = optimiser(model, cfg.optim), Pixels(cfg.data, CPU), []
    for model.spoilt in spoilt:
        results.append(train_step(model, optimizer, batch(), pixels, StepConfig.of(cfg), torch.float32, world=1))
    momentum = {f"momentum {key}": value["momentum_buffer"] for key, value in optimizer.state_dict()["state"].items()}
    return results, model.state_dict() | momentum


def bad_steps(kind: str, longest: float = 0.0, per_worker: int = 256) -> Config:
    cfg = config(per_worker=per_worker)
    cfg.training.bad_steps, cfg.training.max_gradient_norm = kind, longest
    return cfg


@pytest.mark.parametrize("per_worker", [256, 5])
def test_a_skipped_step_leaves_no_trace(per_worker: int) -> None:
    """In weights, momentum and batch norm's statistics."""
    cfg = bad_steps("skip", per_worker=per_worker)
    results, state = run_of(cfg, [False, True, True, False])
    assert [(bool(result.bad), result.skipped) for result in results] == [
        (False, False),
        (True, True),
        (True, True),
        (False, False),
    ]
    expected = run_of(cfg, [False, False])[1]
    assert state.keys() == expected.keys()
    assert any("running_mean" in name for name in state)
    for name, value in state.items():
        assert torch.equal(value, expected[name]), name


def test_a_bad_step_that_is_to_stop_the_run_says_so() -> None:
    results, _ = run_of(bad_steps("stop"), [False, True])
    assert [(bool(result.bad), result.skipped) for result in results] == [(False, False), (True, False)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "skipped"), [("stop", False), ("skip", True)])
def test_a_gradient_that_is_too_long_is_bad(kind: str, skipped: bool) -> None:
    norm = float(run_of(bad_steps(kind), [False])[0][0].gradient_norm)
    (long,), _ = run_of(bad_steps(kind, norm * 0.99), [False])
    assert (bool(long.bad), long.skipped) == (True, skipped)
    (short,), _ = run_of(bad_steps(kind, norm * 1.01), [False])
    assert (bool(short.bad), short.skipped) == (False, False)
