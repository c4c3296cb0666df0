"""A disk that fills up under a run: it stops, says so, and goes on when there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform.training.checkpoints import newest_step
from tests.jobs.test_train_job import _wait

pytestmark = [pytest.mark.slow, pytest.mark.endurance]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 24 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_stops_the_run_and_room_lets_it_go_on(launch, small_disk: Path):
    words = ["job=train", "name=full", "training.epochs=12", "checkpoint.every_s=1", f"output_dir={small_disk}"]
    checkpoints = small_disk / "full" / "members" / "model" / "checkpoints"
    process = launch.start(*words)
    _wait(lambda: newest_step(checkpoints) > 0, process)
    with (small_disk / "filler").open("wb") as filler:
        room = os.statvfs(small_disk)
        filler.write(bytes(room.f_bavail * room.f_bsize))
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1, output
    assert "No space left on device" in output
    assert "make room" in output
    assert "Traceback" not in output
    assert newest_step(checkpoints) > 0

    (small_disk / "filler").unlink()
    status, output = launch(*words)
    assert status == 0, output
    assert "359 validation images" in output
