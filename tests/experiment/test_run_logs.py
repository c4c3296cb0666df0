"""Folders of launches: numbered, bounded, copied to where checkpoints go; what a worker leaves."""

import subprocess
import sys
from pathlib import Path

import pytest

from platform.config.experiment import Experiment
from platform.experiment import run_logs
from platform.experiment.run_logs import keep_logs, launches
from tests.kube.rendered import composed


def small(folder: Path, *words: str) -> Experiment:
    experiment, _ = composed("job=train", "name=a", f"output_dir={folder / 'runs'}", "cluster=local", *words)
    return experiment


def broken(experiment: Experiment) -> None:
    with keep_logs(experiment):
        print("second", file=sys.stderr)
        raise ValueError("broken")


def test_each_launch_has_a_folder_of_its_own_with_what_was_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    experiment = small(tmp_path)
    with keep_logs(experiment):
        print("first")
    with pytest.raises(ValueError, match="broken"):
        broken(experiment)
    print("after")
    one, two = launches(experiment.folder)
    assert [each.name[:5] for each in (one, two)] == ["0001-", "0002-"]
    assert (one / "driver.log").read_text() == "first\n"
    assert (two / "driver.log").read_text() == "second\nended by ValueError: broken\n"
    assert capsys.readouterr() == ("first\nafter\n", "second\n")


def test_old_launches_are_removed_and_the_new_one_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_logs, "MOST_LAUNCHES", 3)
    experiment = small(tmp_path)
    for _ in range(5):
        with keep_logs(experiment):
            pass
    assert [each.name[:4] for each in launches(experiment.folder)] == ["0003", "0004", "0005"]
    said = (launches(experiment.folder)[-1] / "left-out.txt").read_text()
    assert said.startswith("0002-")
    assert said.endswith(": removed, as 3 launches are kept\n")


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    experiment = small(tmp_path)
    experiment.folder.mkdir(parents=True)
    (experiment.folder / "logs").write_text("")
    with keep_logs(experiment):
        pass
    assert "no logs are kept in" in caplog.text


def test_what_somebody_put_beside_the_launches_is_none_of_them(tmp_path: Path):
    experiment = small(tmp_path)
    for name in ("old", "9999-20260101-000000", "10000-20260101-000000", "0004-copy"):
        (experiment.folder / "logs" / name).mkdir(parents=True)
    with keep_logs(experiment):
        print("first")
    assert [each.name.partition("-")[0] for each in launches(experiment.folder)] == ["9999", "10000", "10001"]


WORKER = """
import os, signal, sys, time
from pathlib import Path
from platform.experiment.run_logs import keep_worker_log, note, noting_errors
from platform.experiment.log_file import LogFile
if sys.argv[2] == "hang":
    LogFile.write = lambda *_: time.sleep(1000)
keep_worker_log(Path(sys.argv[1]), 0, 1)
note("A metrics: step 40")
print("printed")
if sys.argv[2] == "hang":
    os._exit(0)
if sys.argv[2] != "raise":
    time.sleep(2)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "crash":
    import ctypes
    ctypes.string_at(0)
with noting_errors():
    raise ValueError("broken")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "last"),
    [("kill", "printed\n"), ("crash", "Segmentation fault"), ("raise", "ValueError: broken")],
)
def test_the_last_lines_of_a_worker_are_there_however_it_ends(how: str, last: str, tmp_path: Path):
    experiment = small(tmp_path)
    with keep_logs(experiment):
        done = subprocess.run([sys.executable, "-c", WORKER, experiment.folder, how], stdout=subprocess.DEVNULL)
    assert done.returncode != 0
    (file,) = launches(experiment.folder)[0].glob("lane0-rank1-*.log")
    text = file.read_text()
    assert text.splitlines()[0].endswith(" starts")
    assert " A metrics: step 40\nprinted\n" in text
    assert last in text.partition("step 40\n")[2]


@pytest.mark.slow
def test_a_worker_does_not_wait_for_a_volume_that_hangs(tmp_path: Path):
    experiment = small(tmp_path)
    with keep_logs(experiment):
        subprocess.run([sys.executable, "-c", WORKER, experiment.folder, "hang"], check=True, timeout=300)
