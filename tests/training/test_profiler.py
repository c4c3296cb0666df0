"""Traces of chosen steps: what they hold, and that training is the same to the bit."""

import contextlib
import gzip
import json
from pathlib import Path

import pytest
import torch

from platform.config.checks import ConfigError
from platform.config.training import TrainingConfig
from platform.training import profiler
from platform.training.worker import Worker
from tests.training.test_early_stopping import Run, run, same

pytestmark = pytest.mark.usefixtures("one_thread")
__all__ = ["run"]  # a fixture


@pytest.mark.slow
def test_a_trace_of_the_steps_and_the_same_weights(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = run.train("without", epochs=2)
    assert same(run.train("one", epochs=2, profile_steps=[2, 4]), without)
    folder = tmp_path / "one" / "profile"
    assert sorted(path.name for path in folder.iterdir()) == ["steps-2-4.json.gz", "steps-2-4.txt"]
    assert not (tmp_path / "without" / "profile").exists()
    trace = json.loads(gzip.decompress((folder / "steps-2-4.json.gz").read_bytes()))
    steps = [each for each in trace["traceEvents"] if str(each.get("name", "")).startswith("Optimizer.step#SGD")]
    assert len({each["ts"] for each in steps}) == 3
    assert "Optimizer.step#SGD" in (folder / "steps-2-4.txt").read_text()


@pytest.mark.slow
def test_a_run_started_again_has_a_trace_of_what_is_left_and_a_large_one_is_not_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run.interrupt_at = 3  # the newest checkpoint is that of step 2, or of the evaluation
    with pytest.raises(KeyboardInterrupt):
        run.train("one", epochs=2, profile_steps=[2, 5])
    run.interrupt_at = -1
    monkeypatch.setattr(profiler, "LARGEST", 10)
    run.train("one", epochs=2, profile_steps=[2, 5])
    assert [path.name for path in (tmp_path / "one" / "profile").iterdir()] == ["steps-3-5.txt"]
    assert any("the trace of steps 3 to 5 has 0 MB, more than" in text for text in caplog.messages)


def test_what_there_is_of_a_trace_is_written_where_training_ends_early(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder, stops in (("early", False), ("stopped", True)):
        with (
            contextlib.suppress(KeyboardInterrupt),
            profiler.StepProfiler([2, 9], tmp_path / folder, Worker()) as steps,
        ):
            for step in (1, 2, 3):
                steps.begin(step)
                torch.ones(2).sum()
                assert not steps.end(step)
            if stops:
                raise KeyboardInterrupt
    written = sorted(path.name for path in (tmp_path / "early" / "profile").iterdir())
    assert written == ["steps-2-3.json.gz", "steps-2-3.txt"]
    assert not (tmp_path / "stopped").exists()
    assert any("the trace from step 2 on is not written" in text for text in caplog.messages)


@pytest.mark.parametrize("steps", [[1], [0, 3], [5, 4], [1, 51]])
def test_what_cannot_be_traced_is_refused(steps: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"training\.profile_steps is .*; give \[first, last\]"):
        TrainingConfig(profile_steps=steps)
