"""Several networks of one training: what they are, and that a resumed run keeps the same."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.optim import ScheduleConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.index import Index, Split
from platform.training.checkpoints import CheckpointError
from platform.training.kept_networks import read_networks
from platform.training.loop import train
from platform.training.worker import Worker
from tests.training.test_loop import Recorder, config, nothing, saved_state

pytestmark = pytest.mark.usefixtures("one_thread", "few_images")
CYCLES = ScheduleConfig(name="cosine_restarts", cycles=3)  # of 2 steps each


@pytest.fixture(scope="module")
def index(digits: Index) -> Index:
    return replace(
        digits, splits={"train": digits.split("train"), "val": Split("val", digits.split("val").shards[-1:])}
    )


def settings(data: DataConfig, every_s: float = 300.0, **training) -> Config:
    base = config(data, batch_norm=True, every_s=every_s, epochs=0.0325)
    return replace(base, schedule=CYCLES, training=replace(base.training, **training))


class Unhurried(Recorder):
    """Waits for the checkpoint of the step before: one is left out while another is being written."""

    def __init__(self, folder: Path, interrupt_at: int) -> None:
        super().__init__(interrupt_at)
        self._folder = folder

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        end = time.monotonic() + 10
        while (saved_state(self._folder) or {"step": 0})["step"] < step - 1 and time.monotonic() < end:
            time.sleep(0.05)
        super().__call__(step, metrics)


@pytest.mark.slow
def test_a_resumed_run_keeps_the_networks_that_trainings_with_that_average_end_with(
    index: Index, digits_data: DataConfig, tmp_path: Path
):
    several = settings(digits_data, also_average=["ema", "none"], snapshots=True, every_s=1e-9)
    with pytest.raises(KeyboardInterrupt):
        train(several, index, Worker(), tmp_path / "cut", Unhurried(tmp_path / "cut", interrupt_at=4))
    saved = saved_state(tmp_path / "cut")
    assert saved is not None
    assert 2 <= saved["step"] < 4
    assert sorted(saved["kept"]) == ["cycle01", "ema", "last"]
    train(several, index, Worker(), tmp_path / "cut", nothing)
    kept = read_networks(tmp_path / "cut" / "networks")
    assert sorted(kept) == ["cycle01", "cycle02", "cycle03", "ema", "last"]

    alone = train(settings(digits_data, averaging="ema"), index, Worker(), tmp_path / "ema", nothing).state_dict()
    newest, early = saved_state(tmp_path / "ema"), saved["kept"]["cycle01"]
    assert newest is not None
    assert "kept" not in newest
    assert not (tmp_path / "ema" / "networks").exists()
    expected = {"ema": alone, "last": newest["model"], "cycle03": newest["model"], "cycle01": early}
    for name, weights in expected.items():
        for key, value in weights.items():
            assert torch.equal(kept[name][key], value), (name, key)
    assert not torch.equal(kept["cycle01"]["classifier.weight"], kept["cycle02"]["classifier.weight"])
    (tmp_path / "cut" / "networks" / "ema.pt").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"ema.pt is unusable .*; remove weights.pt of this member"):
        read_networks(tmp_path / "cut" / "networks")


def test_an_average_twice_and_snapshots_without_cycles_are_refused(digits_data: DataConfig):
    with pytest.raises(ConfigError, match=r"also_average is \['polyak'\], and training.averaging=polyak; give each"):
        TrainingConfig(also_average=["polyak"])
    with pytest.raises(ConfigError, match=r"schedule\.name=step_decay has none; give schedule=cosine_restarts"):
        Config(training=TrainingConfig(snapshots=True))
    with pytest.raises(ConfigError, match="which a sweep's trials are not scored by; leave them out"):
        Config(job="sweep", training=TrainingConfig(also_average=["ema"]))
