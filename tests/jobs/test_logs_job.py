"""What is left to read of a run whose worker and whose launcher were killed."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from platform.experiment.run_logs import launches
from tests.jobs.conftest import Runner

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]


def _wait(condition: Callable[[], Any], process: Popen[str], seconds: float = 300) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.2)
    return found


@contextmanager
def _launched(launch: Runner, *words: str, environment: dict[str, str]) -> Iterator[Popen[str]]:
    """A launch that is killed when the block ends."""
    process = launch.start(*words, environment=environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_last_lines_of_a_killed_worker_and_of_a_killed_launcher_can_be_read(launch: Runner, tmp_path: Path):
    secret = {"MLFLOW_TRACKING_PASSWORD": "correct horse battery"}
    words = ["job=train", "name=logged", "training.epochs=30", f"checkpoint.copy_to={tmp_path / 'store'}"]
    folder = tmp_path / "runs" / "logged"

    def worker_logs() -> list[Path]:
        return [file for each in launches(folder) for file in each.glob("lane0-rank0-*.log")]

    def later(first: Path) -> list[Path]:
        return [each for each in worker_logs() if each != first and "metrics: step" in each.read_text()]

    with _launched(launch, *words, environment=secret) as process:
        (first,) = _wait(lambda: [each for each in worker_logs() if "metrics: step 20 " in each.read_text()], process)
        os.kill(int(first.stem.rpartition("-")[2]), signal.SIGKILL)
        _wait(lambda: later(first), process)
        (launched,) = launches(folder)
        (raylet,) = _wait(lambda: list((launched / "nodes").glob("*/raylet.out")), process)
    text = first.read_text()
    assert text.splitlines()[0].endswith(" starts")
    assert re.search(r"^[\d: -]+ model metrics: step 20 .*train/loss=\d", text, re.M)
    assert raylet.stat().st_size > 0
    driver = (launched / "driver.log").read_text()
    assert "logged: 1 member(s) in 1 lane(s)" in driver
    assert "warning: model: rank 0 died; starting again from" in driver
    everything = "".join(file.read_text() for file in folder.rglob("logs/**/*") if file.is_file())
    assert secret["MLFLOW_TRACKING_PASSWORD"] not in everything

    status, output = launch(*words, "training.epochs=2", environment=secret)  # another config: refused, and logged
    assert status == 2, output
    assert len(launches(folder)) == 2
    assert "ended by ConfigError" in (launches(folder)[1] / "driver.log").read_text()
    (copies,) = (tmp_path / "store").glob(f"logged-*-logs/{launches(folder)[1].name}")
    assert (copies / "driver.log").read_text() == (launches(folder)[1] / "driver.log").read_text()

    status, output = launch(*words, "training.epochs=2", "fresh=true", environment=secret)
    assert status == 0, output
    driver = (launches(folder)[2] / "driver.log").read_text()
    assert "results   " in driver  # to the last line that the command printed
    assert driver.splitlines()[-1] in output.splitlines()[-2:]
