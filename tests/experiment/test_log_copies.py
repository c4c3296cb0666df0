"""Copies of logs in a store: where, which, how many, and how long they are waited for."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from platform.config.experiment import Experiment
from platform.data.storage import Storage
from platform.experiment import log_copies, run_logs
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.log_copies import LogCopies
from platform.experiment.run_logs import keep_logs, launches
from platform.files import SUFFIX
from tests.kube.rendered import composed


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    words = ("name=a", f"output_dir={tmp_path / 'runs'}", f"checkpoint.copy_to={tmp_path / 'store'}")
    return composed("job=train", "cluster=local", *words)[0]


def recorded(experiment: Experiment, copies: str = "a-0123") -> None:
    ExperimentFolder(experiment.folder).write(Record({}, {}, copies=copies))


def launch_of(experiment: Experiment, **files: str) -> Path:
    folder = experiment.folder / "logs" / "0001-20260101-000000"
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def copied(store: Path) -> dict[str, str]:
    return {path.relative_to(store).as_posix(): path.read_text() for path in store.rglob("*") if path.is_file()}


def test_they_are_beside_the_copies_of_the_checkpoints_from_when_these_have_a_name(
    experiment: Experiment, tmp_path: Path
):
    with keep_logs(experiment):
        print("first")
    assert not (tmp_path / "store").exists()
    with keep_logs(experiment):
        recorded(experiment)
        print("second")
    place = f"a-0123-logs/{launches(experiment.folder)[1].name}/driver.log"
    assert copied(tmp_path / "store") == {place: "second\n"}


def test_two_experiments_of_one_name_have_their_own(experiment: Experiment, tmp_path: Path):
    for copies in ("a-0123", "a-4567"):
        recorded(experiment, copies)
        with keep_logs(experiment):
            print(copies)
    assert {name.partition("/")[0]: text for name, text in copied(tmp_path / "store").items()} == {
        "a-0123-logs": "a-0123\n",
        "a-4567-logs": "a-4567\n",
    }


def test_old_launches_are_removed_there_too_also_of_another_machine(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run_logs, "MOST_LAUNCHES", 2)
    recorded(experiment)
    for name in ("0007-20260101-000000", "0008-20260102-000000"):  # of a machine that is gone
        (tmp_path / "store" / "a-0123-logs" / name).mkdir(parents=True)
        (tmp_path / "store" / "a-0123-logs" / name / "driver.log").write_text("earlier\n")
    with keep_logs(experiment):
        pass
    left = {path.name for path in (tmp_path / "store" / "a-0123-logs").iterdir()}
    assert left == {"0008-20260102-000000", launches(experiment.folder)[0].name}


def test_what_goes_away_meanwhile_keeps_nothing_else_from_being_copied(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    recorded(experiment)
    folder = launch_of(experiment, **{"a.log": "a", "b.log": "b", "c.log": "c", f"nodes__n__x{SUFFIX}": "half"})
    read = Path.read_bytes

    def taken_away(file: Path) -> bytes:
        if file.name == "b.log":
            file.unlink()
        return read(file)

    monkeypatch.setattr(Path, "read_bytes", taken_away)
    LogCopies(experiment, folder, 30).stop()
    assert {name.rpartition("/")[2]: text for name, text in copied(tmp_path / "store").items()} == {
        "a.log": "a",
        "c.log": "c",
    }
    assert not caplog.records


def test_a_pass_is_bounded_and_the_next_begins_with_what_waits(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log_copies, "PASS_BYTES", 7)
    recorded(experiment)
    folder = launch_of(experiment, **{"a.log": "aaa", "b.log": "bbb", "driver.log": "d"})
    copies = LogCopies(experiment, folder, 30)
    copies._copy()
    (folder / "a.log").write_text("AAAA")
    (folder / "c.log").write_text("cc")
    (folder / "driver.log").write_text("D")
    copies._copy()
    assert {name.rpartition("/")[2]: text for name, text in copied(tmp_path / "store").items()} == {
        "driver.log": "D",
        "c.log": "cc",
        "b.log": "bbb",
        "a.log": "AAAA",
    }
    (folder / "a.log").write_text("11111")
    (folder / "c.log").write_text("22")
    (folder / "b.log").write_text("33333")
    copies._copy()  # b is the one that was copied first
    found = {name.rpartition("/")[2]: text for name, text in copied(tmp_path / "store").items()}
    assert (found["b.log"], found["a.log"]) == ("33333", "AAAA")
    copies.stop()
    found = {name.rpartition("/")[2]: text for name, text in copied(tmp_path / "store").items()}
    assert found["a.log"] == "11111"


def test_a_store_that_hangs_is_waited_for_so_long_and_that_is_said(
    experiment: Experiment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    hangs = threading.Event()

    def hang(*_: Any) -> None:
        hangs.wait()

    monkeypatch.setattr(Storage, "write", hang)
    monkeypatch.setattr(log_copies, "SAID_AFTER_S", 0.01)
    monkeypatch.setattr(log_copies, "LONGEST_S", 0.02)
    recorded(experiment)
    copies = LogCopies(experiment, launch_of(experiment, **{"driver.log": "d"}), 30)
    with caplog.at_level(logging.WARNING):
        copies.stop()
    assert "copying logs to" in capsys.readouterr().out
    assert "takes them too slowly" in caplog.text
    hangs.set()
