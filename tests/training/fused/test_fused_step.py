"""Members trained together are those trained alone: weights, optimiser, averages, whatever differs between them."""

import copy
import io
from dataclasses import replace
from typing import Any

import pytest
import torch

from platform.config.loss import LossConfig
from platform.config.models import GoogLeNetConfig
from platform.config.optim import AdamWConfig, OptimConfig, RMSPropConfig, SGDConfig
from platform.config.sampling import SamplingConfig
from platform.config.transforms import TransformsConfig
from platform.models.build import build
from platform.training.checkpoints import State
from platform.training.fused.network import FusedNetwork
from platform.training.fused.step import fused_step
from tests.training.fused.trainings import Training, alone, at_lr, config, require_close, small, together, training

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 4
TOLERANCE = 2e-5, 2e-4  # absolute, relative
COARSE = 0.02, 0.05


def members(
    optim: OptimConfig | None = None, *, network: dict[str, Any] | None = None, **settings: Any
) -> list[Training]:
    """Three, of other seeds and learning rates; the last clips, and mixes its images."""
    cfg = config(optim, **settings)
    made = [training(at_lr(cfg, cfg.optim.lr * (1 + seed)), seed, small(seed, **network or {})) for seed in range(3)]
    made[2].cfg.optim.clip_norm = 0.5
    made[2].cfg.transforms = TransformsConfig(mixup_alpha=0.3, mixing_per="sample")
    made[1].cfg.loss = LossConfig(smoothing=0.1)
    made[1].cfg.model = replace(made[1].cfg.model, auxiliary_weight=0.7)
    made[1].cfg.sampling = SamplingConfig(photometric=False)
    return made


def states(made: list[Training]) -> list[State]:
    return [each.state.at(each.step) for each in made]


def saved(member: Training) -> State:
    """As a checkpoint has it, read back."""
    buffer = io.BytesIO()
    torch.save(copy.deepcopy(member.state.at(member.step)), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("network", [{}, {"batch_norm": False}], ids=["batch norm", "none"])
@pytest.mark.parametrize(
    "optim", [SGDConfig(lr=0.05), AdamWConfig(lr=0.003), RMSPropConfig(lr=0.003)], ids=lambda each: each.name
)
def test_members_together_are_those_alone(optim: OptimConfig, network: dict[str, Any]) -> None:
    one, other = members(optim, network=network), members(optim, network=network)
    results = [alone(each, STEPS) for each in one]
    found = together(other, STEPS)
    require_close(states(one), states(other), *TOLERANCE)
    for number in range(3):
        for step in range(STEPS):
            for name in ("loss", "main_loss", "gradient_norm", "correct"):
                torch.testing.assert_close(
                    getattr(found[step][number], name), getattr(results[number][step], name), atol=1e-4, rtol=1e-4
                )


def test_members_differ() -> None:
    """Otherwise the others here would pass with one member three times."""
    made = members()
    together(made, 2)
    for left, right in ((0, 1), (1, 2)):
        weights = [made[each].state.module.state_dict() for each in (left, right)]
        assert all(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0] if "weight" in name)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_with_accumulation_memory_formats_and_bfloat16(channels_last: bool, precision: torch.dtype) -> None:
    settings = {"channels_last": channels_last, "max_batch_per_worker": 5}
    one, other = members(training=settings), members(training=settings)
    for each in one:
        alone(each, 2, precision)
    together(other, 2, precision)
    require_close(states(one), states(other), *(COARSE if precision == torch.bfloat16 else TOLERANCE))


def test_dropout_may_differ_and_has_each_members_own_masks() -> None:
    made: list[list[Training]] = []
    for _ in range(2):
        made.append([training(config(), seed, small(seed, dropout=p)) for seed, p in enumerate((0.0, 0.3, 0.8))])
    for each in made[0]:
        alone(each, STEPS)
    together(made[1], STEPS)
    require_close(states(made[0]), states(made[1]), *TOLERANCE)


def test_batch_norm_that_is_frozen_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `model.freeze` has it: once, and from then on nobody looks at the networks' modes."""
    monkeypatch.setattr(Training, "begin_step", lambda self: None)
    made: list[list[Training]] = [members(), members()]
    for each in (*made[0], *made[1]):
        each.state.module.get_submodule("stem").eval()
    for each in made[0]:
        alone(each, 2)
    together(made[1], 2)
    require_close(states(made[0]), states(made[1]), *TOLERANCE)


def test_a_member_goes_on_alone_and_another_together() -> None:
    """From the very checkpoints: one knows no other."""
    one, other = members(), members()
    for each in one:
        alone(each, 2)
    together(other, 2)
    crossed = members()
    for number, each in enumerate(crossed):
        each.state.load(saved((other, one)[number % 2][number]))
        each.step = 2
    alone(crossed[0], 2)  # which was trained together
    together(crossed[1:], 2)  # of which the first was trained alone
    for each in one:
        alone(each, 2)
    require_close(states(one), states(crossed), *TOLERANCE)


def test_a_checkpoint_is_as_large_as_one_of_a_member_alone() -> None:
    """And not as the memory that members share."""
    one, other = members(), members()
    alone(one[0], 1)
    network = FusedNetwork([each.state.module for each in other])
    fused_step(network, [each.fused for each in other], [each.batch for each in other], torch.float32)
    other[0].end_step()
    buffers = [io.BytesIO(), io.BytesIO()]
    for buffer, member in zip(buffers, (one[0], other[0]), strict=True):
        torch.save(copy.deepcopy(member.state.module).state_dict(), buffer)
    assert buffers[0].tell() == buffers[1].tell()


def test_a_bad_step_of_one_does_not_touch_the_others() -> None:
    settings = {"bad_steps": "skip"}
    one, other = members(training=settings), members(training=settings)
    for each in (*one, *other):
        alone(each, 1)
    for made in (one, other):
        with torch.no_grad():  # not a number from here on
            next(made[1].state.module.parameters()).fill_(torch.nan)
    before = copy.deepcopy(one[1].state.module.state_dict()), copy.deepcopy(other[1].state.module.state_dict())
    results = [alone(each, 2) for each in one]
    found = together(other, 2)
    assert [[result.skipped for result in step] for step in found] == [[False, True, False]] * 2
    assert [[result.skipped for result in own] for own in results] == [[False] * 2, [True] * 2, [False] * 2]
    for number in (0, 2):
        require_close(one[number].state.at(3), other[number].state.at(3), *TOLERANCE)
    for made, was in zip((one, other), before, strict=True):
        torch.testing.assert_close(made[1].state.module.state_dict(), was, equal_nan=True, atol=0, rtol=0)


def test_a_bad_step_that_is_finite_is_skipped_for_its_member_alone() -> None:
    one, other = (members(training={"bad_steps": "skip"}) for _ in "ab")
    for made in (one, other):
        made[1].cfg.training = replace(made[1].cfg.training, max_gradient_norm=1e-6)
    before = copy.deepcopy(other[1].state.module.state_dict())
    for each in one:
        alone(each, 2)
    network = FusedNetwork([each.state.module for each in other])
    found = together(other, 2, network=network)
    assert [[result.skipped for result in step] for step in found] == [[False, True, False]] * 2
    require_close(states(one), states(other), *TOLERANCE)
    require_close(before, dict(other[1].state.module.state_dict()), 0, 0)
    for made in (one, other):  # from here on no gradient is too long
        made[1].cfg.training = replace(made[1].cfg.training, max_gradient_norm=0.0)
    for each in one:
        alone(each, 1)
    together(other, 1, network=network)
    require_close(states(one), states(other), *TOLERANCE)


def test_a_gradient_that_is_too_long_is_bad_for_its_member_alone() -> None:
    made = members()
    made[1].cfg.training = replace(made[1].cfg.training, max_gradient_norm=1e-6)
    (results,) = together(made, 1)
    assert [bool(result.bad) for result in results] == [False, True, False]
    assert not any(result.skipped for result in results)  # bad_steps is stop: the meter raises at the next log step


@pytest.mark.parametrize(
    "model", [GoogLeNetConfig(width=0.1), GoogLeNetConfig(width=0.1, batch_norm=True, local_response_norm=True)]
)
def test_googlenet_learns_alike(model: GoogLeNetConfig) -> None:
    made = [[training(config(SGDConfig(lr=0.01)), seed, build(model, 5, 32, seed)) for seed in range(2)] for _ in "ab"]
    for each in made[0]:
        alone(each, 2)
    together(made[1], 2)
    require_close(states(made[0]), states(made[1]), 1e-4, 1e-2)
