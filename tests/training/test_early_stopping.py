"""Training that ends before its last step, and the best weights: whole and resumed runs with scores as written."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.evaluation import EvaluationConfig
from platform.config.optim import SGDConfig
from platform.config.sections import Config
from platform.config.training import CheckpointConfig, TrainingConfig
from platform.data.index import Index, Split, read_index
from platform.evaluation.metrics import Scores
from platform.training import evaluations, initial
from platform.training.averaging import WeightAverage
from platform.training.checkpoints import Checkpoints
from platform.training.early_stopping import Patience
from platform.training.loop import train
from platform.training.optim import sgd
from platform.training.state import TrainingState
from platform.training.worker import Worker

pytestmark = pytest.mark.usefixtures("one_thread", "few_images")
STEPS_PER_EPOCH = 3
RISES = [0.5, 0.7, 0.6, 0.705, 0.7, 0.7, 0.9, 0.9]  # after each epoch


class Small(nn.Module):
    """A network with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(3), nn.Linear(3, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(self.norm(images.mean(dim=(2, 3))))


class Run:
    """A member whose validation scores are `RISES`, and what it reported."""

    def __init__(
        self, data: DataConfig, index: Index, folder: Path, patch: Callable[..., None], worker: Worker | None = None
    ) -> None:
        train_split = Split("train", index.split("train").shards[:1])
        self.index = replace(index, splits={"train": train_split, "val": index.split("val")})
        self.batch = train_split.samples // STEPS_PER_EPOCH // 8 * 8
        self.data, self.folder, self.worker = data, folder, worker or Worker()
        self.steps: list[int] = []
        self.reports: list[tuple[int, dict[str, float]]] = []
        self.evaluated: dict[int, nn.Module] = {}
        self.interrupt_at = -1
        patch(initial, "build", lambda *_: seeded())
        patch(evaluations, "evaluate", self._evaluate)

    def train(self, name: str = "one", **training: Any) -> nn.Module:
        self.steps, self.reports, self.evaluated = [], [], {}
        settings: dict[str, Any] = {"epochs": len(RISES), "batch_size": self.batch, "log_every_steps": 1}
        cfg = Config(
            data=self.data,
            optim=SGDConfig(lr=0.1),
            training=TrainingConfig(**settings | training),
            checkpoint=CheckpointConfig(every_steps=2),
            evaluation=EvaluationConfig(views=[1], every_epochs=1),
        )
        return train(cfg, self.index, self.worker, self.folder / name, self._report)

    def _report(self, step: int, metrics: dict[str, float]) -> None:
        self.reports.append((step, metrics))
        if "train/loss" in metrics:
            self.steps.append(step)
        if "val/top1" in metrics and step == self.interrupt_at:
            raise KeyboardInterrupt

    def _evaluate(self, network: nn.Module, *_: object) -> Scores:
        if self.worker.rank > 0:  # which reports nothing
            step = (len(self.evaluated) + 1) * STEPS_PER_EPOCH
        else:
            step = self.steps[-1] if self.steps else self.resumed_at()
        self.evaluated[step] = copy.deepcopy(network)
        return Scores(samples=1000, top1=round(1000 * RISES[step // STEPS_PER_EPOCH - 1]))

    def resumed_at(self) -> int:
        saved = Checkpoints(self.folder / "one" / "checkpoints", CheckpointConfig()).load()
        assert saved is not None
        return saved["step"]

    def reported(self, name: str) -> list[float]:
        return [metrics[name] for _, metrics in self.reports if name in metrics]


def seeded() -> Small:
    torch.manual_seed(0)
    return Small()


@pytest.fixture
def run(digits: Index, digits_data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(digits_data, digits, tmp_path, monkeypatch.setattr)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patience", "delta", "last_epoch", "since"),
    [(2.0, 0.0, 6, 4), (2.0, 0.01, 4, 2), (3.0, 0.0, 8, 7)],
)
def test_training_ends_when_the_score_has_not_risen_for_so_long(
    run: Run, patience: float, delta: float, last_epoch: int, since: int, caplog: pytest.LogCaptureFixture
) -> None:
    run.train(patience_epochs=patience, min_delta=delta)
    assert run.steps[-1] == last_epoch * STEPS_PER_EPOCH
    stopped = last_epoch < len(RISES)
    assert run.reports[-1][1].get("progress", 1.0) == 1.0  # by which a sweep knows the end of a trial
    assert run.reported("stopped_epoch") == ([last_epoch] if stopped else [])
    said = f"training stopped at epoch {last_epoch}, before the last: validation top-1 has not risen"
    assert any(said in text and f"since epoch {since}" in text for text in caplog.messages) == stopped


@pytest.mark.slow
@pytest.mark.parametrize("interrupt_at", [9, 15, 18])  # epochs; the last is where it stops
def test_a_resumed_run_stops_where_an_undisturbed_one_does_and_once_only(run: Run, interrupt_at: int) -> None:
    whole = run.train("whole", patience_epochs=4.0, min_delta=0.01)
    run.interrupt_at = interrupt_at
    with pytest.raises(KeyboardInterrupt):
        run.train(patience_epochs=4.0, min_delta=0.01)
    run.interrupt_at = -1
    assert same(run.train(patience_epochs=4.0, min_delta=0.01), whole)
    assert run.steps[-1:] in ([18], [])
    assert same(run.train(patience_epochs=4.0, min_delta=0.01), whole)  # without weights.pt: the checkpoint knows
    assert run.steps == []


@pytest.mark.slow
@pytest.mark.parametrize("patience", [0.0, 2.0])
def test_the_best_weights_are_those_that_were_evaluated_then(
    run: Run, patience: float, caplog: pytest.LogCaptureFixture
) -> None:
    best = 7 if not patience else 4
    network = run.train(weights="best", patience_epochs=patience)
    assert same(network, run.evaluated[best * STEPS_PER_EPOCH])
    assert not same(network, run.evaluated[max(run.evaluated)])
    assert run.reported("best_epoch") == [best]
    assert any(f"the weights of epoch {best} are evaluated" in text for text in caplog.messages)
    assert same(run.train(weights="best", patience_epochs=patience), network)  # started again: nothing is trained
    assert run.steps == []


def _replica(rank: int, world: int, data: DataConfig, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    torch.set_num_threads(1)
    run = Run(data, read_index(data.shards), Path(folder), setattr, Worker(rank, world))
    network = run.train(patience_epochs=2.0, weights="best")
    torch.save((network.state_dict(), sorted(run.evaluated)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.long
def test_two_workers_stop_alike_and_end_with_the_same_best_weights(
    run: Run, digits_data: DataConfig, tmp_path: Path
) -> None:
    """Batch norm has others in training, of half a batch each; what is chosen is the same."""
    start_processes(_replica, (2, digits_data, str(tmp_path)), nprocs=2, start_method="forkserver")
    (first, evaluated), (second, also) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    run.train("alone", patience_epochs=2.0, weights="best")
    assert evaluated == also == sorted(run.evaluated) == [3, 6, 9, 12, 15, 18]


def test_scores_of_before_there_was_patience_are_taken_over() -> None:
    module = nn.Linear(2, 2)
    state = TrainingState(module, sgd(module, SGDConfig()), WeightAverage(module, TrainingConfig(), 3, 30))
    state.scored(6, 0.5, 0.0)
    saved = copy.deepcopy(state.at(6))
    del saved["improved"]
    state.load(saved)
    assert state.improved == {"step": 6, "score": 0.5}
    patience = Patience.of(TrainingConfig(patience_epochs=1.0), 3)
    assert [patience.is_over(replace(state, evaluated=step), step) for step in (8, 9)] == [False, True]


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"min_delta": 0.1}, r"training\.min_delta is 0\.1, without effect with training\.patience_epochs=0"),
        ({"patience_epochs": -1.0}, r"training\.patience_epochs is -1\.0; give 0"),
        ({"weights": "newest"}, r"training\.weights is 'newest'; choose one of last, best"),
        ({"weights": "best"}, r"training\.weights is best, and evaluation\.every_epochs is 0"),
        ({"patience_epochs": 2.0}, r"training\.patience_epochs is 2\.0, and evaluation\.every_epochs is 0"),
    ],
)
def test_what_would_be_without_effect_is_refused(training: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Config(training=TrainingConfig(**training), evaluation=EvaluationConfig(every_epochs=0))
    with pytest.raises(ConfigError, match=r"training\.weights is best, and checkpoint\.keep_best is false"):
        Config(training=TrainingConfig(weights="best"), checkpoint=CheckpointConfig(keep_best=False))
