"""`loader.decoder=auto` in a training: the share is found once, and a resumed training keeps it, and so all bits.

There is no GPU here: the second decoder is its code on CPU, whose pixels differ by rounding.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from platform.config.choices import DECODERS
from platform.config.data import DataConfig, LoaderConfig
from platform.config.identity import identity
from platform.config.sampling import SamplingConfig
from platform.data.hybrid_loader import Division, HybridTrainLoader
from platform.data.index import Index, Split
from platform.data.order import Order
from platform.training import division
from platform.training.averaging import WeightAverage
from platform.training.checkpoints import Checkpoints
from platform.training.division import DivisionFinder, share_for
from platform.training.loop import train
from platform.training.state import TrainingState
from platform.training.step_parts import PARTS
from platform.training.worker import Worker
from tests.training.test_loop import STEPS, Recorder, assert_same, config, nothing, saved_state

pytestmark = pytest.mark.usefixtures("one_thread", "few_images")
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("wait", "busy", "decode", "device", "share"),
    [
        (0.0, 10.0, 8.0, 5.0, 0.0),  # the threads are fast enough
        (0.2, 10.0, 10.2, 5.0, 0.0),  # all but
        (10.0, 10.0, 20.0, 5.0, 0.4),  # then both take 12 ms: 0.6 x 20, and 10 + 0.4 x 5
        (90.0, 10.0, 100.0, 0.0, 0.9),  # a decoder that costs nothing ends all waiting
        (10.0, 10.0, 9.0, 5.0, 0.0),  # it is not decoding that is waited for, but shards
    ],
)
def test_both_decoders_are_done_at_the_same_time(
    wait: float, busy: float, decode: float, device: float, share: float
) -> None:
    found = share_for(wait, busy, decode, device)
    assert found == share
    if share:
        assert (1 - found) * decode == pytest.approx(busy + found * device, abs=0.01 * (decode + device))


def measured(wait: float, decode: float) -> dict[str, float]:
    """Of a step that takes 10 ms besides."""
    times = dict.fromkeys(PARTS, 0.0) | {"wait": wait, "forward": 10.0, "decode": decode}
    return {f"within_step/{part}_ms": time for part, time in times.items()}


def state() -> TrainingState:
    module = torch.nn.Linear(1, 1)
    average = WeightAverage(module, config(DataConfig()).training, 10, 10)
    return TrainingState(module, torch.optim.SGD(module.parameters(), lr=1.0), average)


def test_it_is_found_from_measured_steps_after_the_first_ones(
    digits: Index, digits_data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HybridTrainLoader, "device_s", lambda self, step: 0.005)
    split, cfg = digits.split("train"), LoaderConfig(decoder="auto", prefetch_batches=3)
    own = state()
    with HybridTrainLoader(split, Order.of(split, 2, 12, 64, 7), digits_data, SamplingConfig(), device=CPU) as loader:
        finder = DivisionFinder(cfg, own, loader, Worker(), start_step=100)
        for step in (101, 110, 116):  # while cuDNN tries its algorithms, waiting is not what it will be
            assert finder.take(step, measured(wait=0.0, decode=1.0)) == {}
        for step in range(126, 176, 10):
            assert finder.take(step, measured(wait=10.0, decode=20.0)) == {}
        assert finder.take(176, {}) == {}  # none of these steps was measured
        assert own.division is None
        assert finder.take(186, measured(wait=10.0, decode=20.0)) == {}
        found = finder.take(196, measured(wait=10.0, decode=20.0))
        assert found == {"data/gpu_share": 0.0}  # so far
        assert own.division == loader.division == Division(199, 0.4)
        assert finder.take(206, measured(wait=0.0, decode=1.0)) == {"data/gpu_share": 0.4}  # once and for all


def test_a_gpu_that_cannot_decode_leaves_all_to_the_cpu(
    digits: Index, digits_data: DataConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(self: HybridTrainLoader, step: int) -> float:
        raise RuntimeError("nvJPEG is absent")

    monkeypatch.setattr(HybridTrainLoader, "device_s", fails)
    split, own = digits.split("train"), state()
    with HybridTrainLoader(split, Order.of(split, 2, 12, 64, 7), digits_data, SamplingConfig(), device=CPU) as loader:
        finder = DivisionFinder(LoaderConfig(decoder="auto"), own, loader, Worker(), start_step=0)
        for step in (20, 100):
            finder.take(step, measured(wait=10.0, decode=20.0))
    assert own.division
    assert own.division.share == 0.0
    assert "the GPU cannot decode (nvJPEG is absent); the CPU decodes all" in caplog.text


@pytest.fixture
def two_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the images are the second one's, from soon after the start."""
    monkeypatch.setitem(DECODERS, "auto", f"{__name__}:on_both_here")
    monkeypatch.setattr(division, "UNSETTLED", 2)
    monkeypatch.setattr(division, "MEASURED", 2)
    monkeypatch.setattr(division, "share_for", lambda *times: 0.5)


def on_both_here(
    split: Split, order: Order, data: DataConfig, sampling: SamplingConfig, device: Any, **share: Any
) -> HybridTrainLoader:
    """As `decoders.on_both` does with a GPU."""
    return HybridTrainLoader(split, order, data, sampling, device=CPU, **share)


def test_a_resumed_training_has_the_bits_of_an_undisturbed_one(
    digits: Index, digits_data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_decoders: None
) -> None:
    val = Split("val", digits.split("val").shards[-1:])
    index = replace(digits, splits={"train": digits.split("train"), "val": val})
    plain = config(digits_data, batch_norm=True, every_s=1e-6, averaging="polyak")
    cfg = replace(plain, loader=replace(plain.loader, decoder="auto", prefetch_batches=2))
    recorder = Recorder()
    whole = train(cfg, index, Worker(), tmp_path / "whole", recorder)
    shares = [metrics["data/gpu_share"] for _, metrics in recorder.reports if "data/gpu_share" in metrics]
    assert shares[0] == 0.0
    assert shares[-1] == 0.5
    saved = saved_state(tmp_path / "whole")
    assert saved
    assert saved["division"]["share"] == 0.5
    begins = saved["division"]["first_step"]
    assert 4 < begins < STEPS - 1

    save = Checkpoints.save  # which leaves out steps while one is being written

    def save_and_wait(self: Checkpoints, state: Any, **how: Any) -> None:
        how["wait"] = True
        save(self, state, **how)

    monkeypatch.setattr(Checkpoints, "save", save_and_wait)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, index, Worker(), tmp_path / "cut", Recorder(interrupt_at=begins + 2))
    monkeypatch.setattr(division, "share_for", lambda *times: 0.9)  # what would be measured now
    assert_same(train(cfg, index, Worker(), tmp_path / "cut", nothing), whole)

    given = replace(cfg, loader=replace(cfg.loader, gpu_share=0.5))
    assert not all(
        map(
            torch.equal,
            train(given, index, Worker(), tmp_path / "given", nothing).state_dict().values(),
            whole.state_dict().values(),
        )
    )  # from the first step on


def test_the_setting_is_no_part_of_what_earlier_trainings_were() -> None:
    cfg = config(DataConfig())
    assert "gpu_share" not in identity(asdict(cfg))["loader"]
    own = replace(cfg, loader=LoaderConfig(decoder="auto", gpu_share=0.5))
    assert identity(asdict(own))["loader"]["gpu_share"] == 0.5
