"""Whole steps as graphs, as far as a CPU shows it: the function that is captured gives the bits of the usual step.

On a GPU, where there is one, the replay itself.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.data import DataConfig
from platform.config.models import GoogLeNetConfig
from platform.config.optim import AdamWConfig, OptimConfig, SGDConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.config.transforms import TransformsConfig
from platform.data.batch import Batch
from platform.data.index import Index, Split
from platform.data.order import Order
from platform.data.pixels import Pixels
from platform.data.train_loader import TrainLoader
from platform.experiment.compiled_plan import check_graphs, compiled_line
from platform.models.build import build
from platform.training import learner
from platform.training.graphed_step import GraphedSteps, StillBatch, put_lr_on_device, require_graphs
from platform.training.loop import train
from platform.training.lr_scales import SCALE, set_lr
from platform.training.optim import optimiser
from platform.training.step import StepConfig, StepResult, train_step
from platform.training.worker import Worker
from tests.training.test_loop import Recorder, assert_same, config, nothing

pytestmark = [pytest.mark.usefixtures("one_thread", "few_images")]
CPU = torch.device("cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]
STEPS = 6


def trained(digits: Index, optim: OptimConfig, device: str, *, graphed: bool) -> tuple[nn.Module, list[list[float]]]:
    """After a few steps of a network with batch norm and dropout, in accumulated parts; and their results."""
    cfg = Config(
        data=DataConfig(classes=10),
        model=GoogLeNetConfig(width=0.1, batch_norm=True),
        optim=optim,
        sampling=SamplingConfig(photometric=True),
        training=TrainingConfig(batch_size=16, max_batch_per_worker=8),
    )
    there = torch.device(device)
    model = build(cfg.model, 10, 32, 0).to(there).train()
    optimizer, pixels, step_cfg = optimiser(model, optim), Pixels(cfg.data, there), StepConfig.of(cfg)
    graphs = GraphedSteps(there)
    if graphed:
        put_lr_on_device(optimizer, there)

    def step(batch: Batch) -> StepResult:
        return train_step(model, optimizer, batch, pixels, step_cfg, torch.float32, world=1)

    split, results = digits.split("train"), []
    order = Order.of(split, 2, cfg.training.batch_size, 64, 7)
    with TrainLoader(split, order, cfg.data, cfg.sampling, pin=device == "cuda") as loader:
        for number, batch in enumerate(loader.steps(0, STEPS)):
            set_lr(optimizer, 2.0 ** -(6 + number))  # which float32 has exactly
            result = graphs.step(batch, step) if graphed else step(batch)
            results.append([float(each) for each in (result.loss, result.main_loss, result.correct)])
    return model.cpu(), results


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optim", [SGDConfig(clip_norm=0.5), AdamWConfig()], ids=["sgd", "adamw"])
def test_the_step_that_is_captured_is_the_usual_one(digits: Index, optim: OptimConfig, device: str) -> None:
    usual, losses = trained(digits, optim, device, graphed=False)
    graphed, theirs = trained(digits, optim, device, graphed=True)
    if device == "cpu":
        assert theirs == losses
        assert_same(graphed, usual)
    else:
        torch.testing.assert_close(theirs, losses, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(graphed.state_dict(), usual.state_dict(), rtol=1e-2, atol=1e-3)


def test_a_step_reads_the_same_memory_each_time(digits: Index) -> None:
    split, data = digits.split("train"), DataConfig(classes=10)
    seen: list[list[int]] = []

    def step(batch: Batch) -> StepResult:
        read = (batch.images, batch.labels_N, batch.mirrored_N, batch.colour_draws_N8, batch.dropout_keys_N)
        seen.append([each.data_ptr() for each in read])
        assert isinstance(batch, StillBatch)
        zero = torch.zeros(())
        return StepResult(zero, zero, zero, zero, bad=zero)

    graphs = GraphedSteps(CPU)
    with TrainLoader(split, Order.of(split, 2, 16, 64, 7), data, SamplingConfig()) as loader:
        given = list(loader.steps(0, 3))
    for batch in given:
        graphs.step(batch, step)
    assert seen[0] == seen[1] == seen[2]
    assert not {pointer for pointers in seen for pointer in pointers} & {batch.images.data_ptr() for batch in given}
    with pytest.raises(RuntimeError, match=r"a CUDA graph of \(16, 32, 32, 3\) was given \(16, 40, 40, 3\)"):
        graphs.step(replace(given[0], images=torch.zeros(16, 40, 40, 3, dtype=torch.uint8)), step)


def test_learning_rates_change_where_they_are() -> None:
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)], SCALE: 0.5}], lr=1.0)
    put_lr_on_device(optimizer, CPU)
    tensors = [group["lr"] for group in optimizer.param_groups]
    set_lr(optimizer, 0.25)
    assert [float(each) for each in tensors] == [0.25, 0.125]
    assert all(group["lr"] is each for group, each in zip(optimizer.param_groups, tensors, strict=True))


def test_a_resumed_training_has_the_bits_of_an_undisturbed_one(
    digits: Index, digits_data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learning rates in tensors are saved and brought back; a training may go on without graphs, too."""
    monkeypatch.setattr(learner, "require_graphs", lambda *_: None)
    val = Split("val", digits.split("val").shards[-1:])
    index = replace(digits, splits={"train": digits.split("train"), "val": val})
    cfg = config(digits_data, every_s=1e-6, cuda_graphs=True)
    whole = train(cfg, index, Worker(), tmp_path / "whole", nothing)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, index, Worker(), tmp_path / "cut", Recorder(interrupt_at=8))
    assert_same(train(cfg, index, Worker(), tmp_path / "cut", nothing), whole)

    with pytest.raises(KeyboardInterrupt):
        train(cfg, index, Worker(), tmp_path / "usual", Recorder(interrupt_at=8))
    usual = replace(cfg, training=replace(cfg.training, cuda_graphs=False))
    went_on = train(usual, index, Worker(), tmp_path / "usual", nothing)
    torch.testing.assert_close(went_on.state_dict(), whole.state_dict(), rtol=1e-3, atol=1e-4)


def test_what_cannot_be_one_graph_is_refused_before_it_starts() -> None:
    for settings, said in [
        ({"sizes": [[0, 32], [0.5, 40]]}, r"training.sizes has 2; give training.cuda_graphs=false"),
        ({"compile": "reduce-overhead"}, r"training.compile is reduce-overhead, .*; give training.compile=default"),
        ({"bad_steps": "skip"}, r"training.bad_steps is skip, .*; give training.bad_steps=stop"),
    ]:
        with pytest.raises(ConfigError, match=said):
            TrainingConfig(cuda_graphs=True, **settings)
    elsewhere = ClusterConfig(address="auto", gpus_per_worker=1)
    cfg = Config(training=TrainingConfig(cuda_graphs=True), optim=SGDConfig(), cluster=elsewhere)
    check_graphs(cfg)
    assert "each step is one CUDA graph" in compiled_line(cfg)[0]
    for changed, said in [
        ({"cluster": replace(elsewhere, workers=2)}, r"cluster.workers is 2; give 1"),
        ({"cluster": replace(elsewhere, fuse=2)}, r"cluster.fuse is 2; set cluster.fuse=off"),
        ({"transforms": TransformsConfig(erase_probability=0.5)}, r"give transforms=none, or"),
        ({"cluster": ClusterConfig()}, r"there is none to train on; give training.cuda_graphs=false"),
    ]:
        with pytest.raises(ConfigError, match=said):
            check_graphs(replace(cfg, **changed))
    with pytest.raises(ConfigError, match=r"trains on cpu as one of 1 worker\(s\); set training.cuda_graphs=false"):
        require_graphs(Worker(), "sgd")
    with pytest.raises(ConfigError, match=r"optim.name is lars, .*; give one of sgd, adamw"):
        require_graphs(Worker(device=torch.device("cuda")), "lars")
