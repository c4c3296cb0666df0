"""Whole trainings with `training.compile`: the same weights under the same names, from checkpoints of either kind.

Without a C++ compiler's kernels, as in tests/models/test_compiled.py, but where it says `inductor`.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._dynamo.backends.registry import set_default_backend

from platform.config.data import DataConfig
from platform.config.evaluation import EvaluationConfig
from platform.config.models import CifarFastConfig
from platform.config.optim import SGDConfig
from platform.config.sections import Config
from platform.config.training import CheckpointConfig, TrainingConfig
from platform.data.index import Index, Split
from platform.models.compiled import compiled_graphs
from platform.training.loop import train
from platform.training.progress import COMPUTING, EVALUATING, Progress
from platform.training.worker import Worker

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "few_images", "traced")]
STEPS = 4


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    torch._dynamo.reset()
    set_default_backend(getattr(request, "param", "aot_eager"))
    yield
    set_default_backend("inductor")
    torch._dynamo.reset()


@pytest.fixture
def index(digits: Index) -> Index:
    val = digits.split("val")
    return replace(digits, splits={"train": digits.split("train"), "val": Split("val", val.shards[-1:])})


def config(data: DataConfig, epochs: float, **training: object) -> Config:
    settings = {"batch_size": 16, "max_batch_per_worker": 8, "precision": "float32", "log_every_steps": 1} | training
    return Config(
        data=data,
        model=CifarFastConfig(),
        optim=SGDConfig(lr=0.001),
        training=TrainingConfig(epochs=epochs, **settings),  # pyright: ignore[reportArgumentType]
        checkpoint=CheckpointConfig(every_steps=2),
        evaluation=EvaluationConfig(views=[1], every_epochs=0),
    )


def ended(cfg: Config, index: Index, folder: Path) -> dict[str, torch.Tensor]:
    return train(cfg, index, Worker(), folder, lambda step, metrics: None).state_dict()


INDUCTOR = pytest.param("inductor", marks=[pytest.mark.long, pytest.mark.timeout(3000)])


@pytest.mark.parametrize("traced", ["aot_eager", INDUCTOR], indirect=True)
def test_it_trains_the_same_weights(
    digits_data: DataConfig, index: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    epochs = STEPS * 16 / index.split("train").samples
    plain = ended(config(digits_data, epochs), index, tmp_path / "plain")
    graphs = compiled_graphs()
    with caplog.at_level("INFO"):
        found = ended(config(digits_data, epochs, compile="default"), index, tmp_path / "compiled")
    assert list(found) == list(plain)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)
    assert compiled_graphs() - graphs == 2  # of training and of evaluation
    assert "a step with images [16, 32, 32, 3] compiled 1 graph(s)" in caplog.text

    again = ended(config(digits_data, 2 * epochs, compile="off"), index, tmp_path / "compiled")  # from its checkpoint
    assert list(again) == list(plain)
    graphs = compiled_graphs()
    ended(config(digits_data, epochs, compile="default"), index, tmp_path / "second member")
    assert compiled_graphs() == graphs


def test_each_size_of_images_is_compiled_once(
    digits_data: DataConfig, index: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    epochs = STEPS * 16 / index.split("train").samples
    sizes = config(digits_data, epochs, compile="default", sizes=[[0, 32], [0.5, 40]])
    with caplog.at_level("INFO"):
        ended(sizes, index, tmp_path)
    assert caplog.text.count("compiled 1 graph(s)") == 2
    assert "images [16, 40, 40, 3]" in caplog.text


@pytest.mark.parametrize("mode", ["default", "off"])
def test_compiling_for_an_evaluation_is_not_taken_for_a_stall(
    digits_data: DataConfig, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    excused, doing = Progress.excused, []
    monkeypatch.setattr(Progress, "excused", lambda self: doing.append(self.doing) or excused(self))
    ended(config(digits_data, 16 / index.split("train").samples, compile=mode), index, tmp_path)
    assert doing == ([COMPUTING, EVALUATING] if mode == "default" else [])
