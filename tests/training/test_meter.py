"""Bad steps in whole short runs: left out or stopped at, counted, and named with the rank whose samples they were."""

import multiprocessing
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from platform.config.data import DataConfig
from platform.config.sections import Config
from platform.data.index import Index, Split, read_index
from platform.data.training_order import training_order
from platform.models.build import build
from platform.training import initial
from platform.training.loop import train
from platform.training.meter import NonFiniteLoss
from platform.training.worker import Worker
from tests.training.test_loop import Recorder, config, nothing, saved_state

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 12
Build = Callable[..., nn.Module]


@pytest.fixture(scope="module")
def index(digits: Index) -> Index:
    return small(digits)


def small(digits: Index) -> Index:
    val = Split("val", digits.split("val").shards[-1:])
    return replace(digits, splits={"train": Split("train", digits.split("train").shards[:1]), "val": val})


def run(data: DataConfig, *, batch_norm: bool = False, lr: float = 0.01, **training: Any) -> Config:
    per_epoch = 300 // training.get("batch_size", 8)
    return config(data, batch_norm=batch_norm, lr=lr, **{"epochs": STEPS / per_epoch} | training)


def poisoned(steps: Collection[int]) -> Build:
    """A `build` whose network is handed images of no number in these steps (counted from 0): they spoil losses,
    gradients and batch norm's statistics."""

    def building(*arguments: Any) -> nn.Module:
        network, step = build(*arguments), -1

        def spoil(module: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
            nonlocal step
            step += module.training
            return (arguments[0] * float("nan"),) if module.training and step in steps else arguments

        network.register_forward_pre_hook(spoil)
        return network

    return building


@pytest.mark.slow
@pytest.mark.parametrize("log_every_steps", [1, 4])
def test_skipped_steps_are_counted_and_training_goes_on(
    index: Index, digits_data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_every_steps: int
) -> None:
    cfg = run(digits_data, batch_norm=True, bad_steps="skip", max_bad_steps=2, log_every_steps=log_every_steps)
    monkeypatch.setattr(initial, "build", poisoned({4, 6}))  # not in a row
    recorder = Recorder()
    network = train(cfg, index, Worker(), tmp_path, recorder)
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())
    expected = {1: [0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0], 4: [0, 0, 2, 0]}[log_every_steps]
    assert recorder.curve("train/bad_steps") == expected
    losses = recorder.curve("train/loss")
    assert len(losses) == len(expected) - (2 if log_every_steps == 1 else 0)  # of no step there is no loss
    assert all(1 < loss < 10 for loss in losses)
    assert len(recorder.curve("progress")) == len(expected)
    saved = saved_state(tmp_path)
    assert saved is not None
    assert saved["step"] == STEPS


def test_too_many_in_a_row_stop_after_all(
    index: Index, digits_data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = run(digits_data, bad_steps="skip", max_bad_steps=3, log_every_steps=1000, every_s=1e-9)
    monkeypatch.setattr(initial, "build", poisoned({2, 3, 5, 6, 7, 8}))
    with pytest.raises(NonFiniteLoss, match=r"not finite at step 7 and 2 before it \(rank 0 on "):
        train(cfg, index, Worker(), tmp_path, nothing)
    saved = saved_state(tmp_path)
    assert saved is not None
    assert all(value.isfinite().all() for value in saved["model"].values())


@pytest.mark.parametrize(("bad_steps", "said"), [("stop", "at step 0 \\("), ("skip", "at step 2 and 2 before it \\(")])
def test_a_gradient_that_is_too_long_is_bad_too(
    index: Index, digits_data: DataConfig, tmp_path: Path, bad_steps: str, said: str
) -> None:
    cfg = run(digits_data, bad_steps=bad_steps, max_bad_steps=3, max_gradient_norm=1e-4)
    with pytest.raises(NonFiniteLoss, match=f"or its gradient longer than 0.0001, {said}in the gradient, on every"):
        train(cfg, index, Worker(), tmp_path, nothing)
    assert saved_state(tmp_path) is None


@pytest.mark.slow
def test_a_gradient_shorter_than_the_limit_is_none(index: Index, digits_data: DataConfig, tmp_path: Path) -> None:
    train(run(digits_data, max_gradient_norm=1e4), index, Worker(), tmp_path, nothing)


@pytest.mark.slow
def test_a_bad_state_is_not_evaluated(
    index: Index, digits_data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = run(digits_data, batch_size=136, epochs=3, log_every_steps=1000)  # two steps an epoch
    cfg = replace(cfg, evaluation=replace(cfg.evaluation, every_epochs=1))
    monkeypatch.setattr(initial, "build", poisoned({2}))
    recorder = Recorder()
    with pytest.raises(NonFiniteLoss, match="at step 2 "):
        train(cfg, index, Worker(), tmp_path, recorder)
    assert [step for step, metrics in recorder.reports if "val/loss" in metrics] == [2]


BAD_STEP = 2


def _replica(rank: int, data: DataConfig, folder: str) -> None:
    """One of two workers; rank 1's share of a step is poisoned. Once it stops the run, once it is skipped."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    initial.build = poisoned({BAD_STEP} if rank == 1 else {})
    worker = Worker(rank, 2, node=f"node{rank}")
    index, left = small(read_index(data.shards)), {}
    try:
        train(run(data, batch_size=16, log_every_steps=5), index, worker, Path(folder) / "stop", nothing)
    except NonFiniteLoss as error:
        left["stopped"] = str(error)
    recorder = Recorder()
    cfg = run(data, batch_size=16, epochs=0.3, bad_steps="skip")
    left["weights"] = train(cfg, index, worker, Path(folder) / "skip", recorder).state_dict()
    left["bad_steps"] = recorder.curve("train/bad_steps")
    torch.save(left, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_of_several_workers_the_one_whose_samples_were_bad_is_named(
    index: Index, digits_data: DataConfig, tmp_path: Path
) -> None:
    multiprocessing.set_forkserver_preload(["tests.training.test_loop"])
    start_processes(_replica, (digits_data, str(tmp_path)), nprocs=2, start_method="forkserver")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first["stopped"] == second["stopped"]  # every worker raises, with the same words
    order = training_order(run(digits_data, batch_size=16), index.split("train"))
    samples = ", ".join(map(str, order.batch(BAD_STEP, 1, 2).tolist()))
    assert re.search(rf"at step {BAD_STEP} \(rank 1 on node1, samples {samples}\);", first["stopped"])
    assert "rank 0" not in first["stopped"]
    assert sum(first["bad_steps"]) == 1
    for name, value in first["weights"].items():
        assert bool(value.isfinite().all()), name
        assert torch.equal(value, second["weights"][name]), name
