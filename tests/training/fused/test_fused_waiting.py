"""A step of several members waits for the device once, on the meta device, where every copy from the host is seen."""

import pytest
import torch
from torch import Tensor

from platform.config.data import DataConfig
from platform.config.models import GoogLeNetConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.index import Index
from platform.data.pixels import Pixels
from platform.models.build import build
from platform.training.fused import step
from platform.training.fused.network import FusedNetwork
from platform.training.fused.step import FusedMember, fused_step
from platform.training.step import StepConfig
from tests.training.test_waiting import META, Copies, PageLocked, no_autocast, page_locked, steps  # noqa: F401


@pytest.mark.slow
@pytest.mark.usefixtures("no_autocast")
def test_a_step_of_several_copies_asynchronously_and_waits_once(
    digits: Index,
    page_locked: PageLocked,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
):
    """For whether all are finite; here, where nothing has a value, they are."""
    waits: list[Tensor] = []
    monkeypatch.setattr(step, "read", lambda flags: waits.append(flags) or [[True] * 3, [False] * 3])
    cfg = Config(
        data=DataConfig(classes=10),
        model=GoogLeNetConfig(width=0.1, batch_norm=True),
        sampling=SamplingConfig(photometric=True, interpolation="random"),
        training=TrainingConfig(batch_size=16, max_batch_per_worker=8),
    )
    members = []
    for seed in range(3):
        module = build(cfg.model, 10, 32, seed).to(META)
        optimizer = torch.optim.SGD(module.parameters(), 0.1, 0.9)  # what it waits for fused is torch's own affair
        members.append(FusedMember(module, optimizer, StepConfig.of(cfg), Pixels(cfg.data, META)))
    network, copies = FusedNetwork([member.module for member in members]), Copies(page_locked)
    number = 0
    for number, (batch, _) in enumerate(steps(cfg, digits)):
        if number == 0:  # constants are copied once
            fused_step(network, members, [batch] * 3, torch.float32)
            continue
        with copies:
            fused_step(network, members, [batch] * 3, torch.float32)
    assert copies.waited_for == []
    assert len(waits) == number + 1 > 1
    kinds = 5  # images, mirrored, colours, labels and dropout's keys
    assert copies.asynchronous >= 2 * 2 * 3 * kinds  # steps, parts, members
