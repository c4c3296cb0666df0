"""An experiment's folder: identity, lock, states."""

import contextlib
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from platform.config.checks import ConfigError
from platform.config.experiment import Experiment
from platform.config.optim import SGDConfig
from platform.config.sections import Config
from platform.config.table import TableConfig
from platform.data.index import Index
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.member_folder import FINISHED, MemberState
from platform.experiment.origin import FILE as ORIGIN
from platform.locks import locked
from tests.counting import cost_of


def experiment(tmp_path: Path, **changes: object) -> Experiment:
    config = replace(Config(name="one", output_dir=str(tmp_path)), **changes)  # type: ignore[arg-type]
    return Experiment(config, {"model": config})


def test_the_same_config_is_taken_up_again(tmp_path: Path, digits: Index):
    first = ExperimentFolder(experiment(tmp_path).folder)
    record = first.open(experiment(tmp_path), digits)
    record.parent_run = "run"
    first.write(record)
    assert ExperimentFolder(experiment(tmp_path).folder).open(experiment(tmp_path), digits).parent_run == "run"


def test_a_changed_config_is_refused_with_the_difference(tmp_path: Path, digits: Index):
    ExperimentFolder(experiment(tmp_path).folder).open(experiment(tmp_path), digits)
    changed = experiment(tmp_path, seed=5)
    with pytest.raises(ConfigError, match=r"another config \(seed: 0 -> 5\); .*name=.*fresh=true"):
        ExperimentFolder(changed.folder).open(changed, digits)


def rows(tmp_path: Path, *names: str, job: str = "ensemble", against: str = "first", lr: float = 0.1) -> Experiment:
    config = replace(Config(name="one", output_dir=str(tmp_path)), job=job, table=TableConfig(against=against))
    members = {name: replace(config, seed=number, optim=SGDConfig(lr=lr)) for number, name in enumerate(names)}
    return Experiment(config, members, list(names))


def test_a_table_gains_rows_and_keeps_the_runs_of_those_it_had(tmp_path: Path, digits: Index):
    folder = ExperimentFolder(rows(tmp_path).folder)
    record = folder.open(rows(tmp_path, "a", "b"), digits)
    record.parent_run, record.member_runs, record.reported, record.whole = "run", {"a": "1", "b": "2"}, ["a", "b"], True
    folder.write(record)
    grown = rows(tmp_path, "a", "b", "more")
    folder.require_same(grown)
    for _ in range(2):  # again, it is the same
        record = folder.open(grown, digits)
        assert (record.parent_run, record.member_runs, record.reported) == ("run", {"a": "1", "b": "2"}, ["a", "b"])
        assert list(record.configs) == ["a", "b", "more"]
        assert set(record.identity) == {"a", "b", "more", "data"}
        assert not record.whole
        folder.write(record)
    assert "a b more" in json.loads((folder.path / ORIGIN).read_text())["command"]
    with pytest.raises(ConfigError, match=r"member more: not there now"):
        folder.open(rows(tmp_path, "a", "b"), digits)


def test_what_a_table_gains_changes_none_of_its_rows_and_no_ensemble_gains_members(tmp_path: Path, digits: Index):
    folder = ExperimentFolder(rows(tmp_path).folder)
    folder.write(folder.open(rows(tmp_path, "a", "b"), digits))
    with pytest.raises(ConfigError, match=r"another config \(optim\.lr: 0\.1 -> 0\.2 \(all 2 members\)\)"):
        folder.open(rows(tmp_path, "a", "b", "more", lr=0.2), digits)
    with pytest.raises(ConfigError, match=r"another config \(member more: new\)"):
        folder.open(rows(tmp_path, "a", "b", "more", against="none"), digits)
    with pytest.raises(ConfigError, match=r"member more: new\); give the command that it was run with"):
        folder.open(rows(tmp_path, "a", "b", "more", job="evaluate"), digits)


def test_a_job_that_only_reads_asks_for_the_command_of_then(tmp_path: Path, digits: Index):
    folder = ExperimentFolder(experiment(tmp_path).folder)
    folder.open(experiment(tmp_path), digits)
    folder.require_same(experiment(tmp_path, job="evaluate"))
    folder.require_same(experiment(tmp_path, job="check", name=None))
    with pytest.raises(ConfigError, match="give the command that it was run with, and job=evaluate"):
        folder.open(experiment(tmp_path, seed=5, job="evaluate"), digits)
    with pytest.raises(ConfigError, match=r"\(seed: 0 -> 5\); give it another name="):
        folder.require_same(experiment(tmp_path, seed=5, job="check"))


def test_who_runs_it_is_known(tmp_path: Path, digits: Index):
    folder = ExperimentFolder(experiment(tmp_path).folder)
    folder.open(experiment(tmp_path), digits)
    assert folder.holder() == ""
    with folder.held():
        assert f"process {os.getpid()} on " in ExperimentFolder(folder.path).holder()
    assert folder.holder() == ""


def test_changed_data_is_refused(tmp_path: Path, digits: Index):
    folder = ExperimentFolder(experiment(tmp_path).folder)
    folder.open(experiment(tmp_path), digits)
    fewer = replace(digits, splits={"train": digits.split("train")})
    with pytest.raises(ConfigError, match="data"):
        folder.open(experiment(tmp_path), fewer)


@pytest.mark.parametrize("change", [{"job": "check"}, {"fresh": False}])
def test_where_and_how_it_runs_is_no_part_of_the_identity(tmp_path: Path, digits: Index, change: dict[str, object]):
    ExperimentFolder(experiment(tmp_path).folder).open(experiment(tmp_path), digits)
    again = experiment(tmp_path, **change)
    again.members["model"].cluster.workers = 2
    again.members["model"].loader.threads = 3
    ExperimentFolder(again.folder).open(again, digits)


def test_fresh_moves_the_old_run_aside(tmp_path: Path, digits: Index):
    folder = ExperimentFolder(experiment(tmp_path).folder)
    folder.open(experiment(tmp_path), digits)
    folder.member("model").set_state(MemberState(FINISHED))
    fresh = experiment(tmp_path, fresh=True, seed=3)
    ExperimentFolder(fresh.folder).open(fresh, digits)
    assert folder.member("model").state().state != FINISHED
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("one.")]) == 1


def test_the_lock_of_a_node_that_is_lost_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = ExperimentFolder(experiment(tmp_path).folder)
    with contextlib.ExitStack() as lost:
        lost.enter_context(folder.held())
        with pytest.raises(ConfigError, match="is being run by process"), folder.held(within_s=0.1):
            pass
        capsys.readouterr()
        freed = threading.Timer(0.3, lost.close)  # as a file server does when the lease is over
        freed.start()
        with folder.held(within_s=600):
            assert not freed.is_alive()
        freed.join()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("one is being run by process ")
    assert line.endswith("; waiting up to 10m00s for its end")


def test_only_a_launcher_that_expects_workers_waits_for_a_lock(tmp_path: Path):
    cluster = experiment(tmp_path).config.cluster
    assert cluster.lock_within_s == 0
    assert replace(cluster, address="auto", gpus_per_worker=0, expected_workers=2).lock_within_s == 600


def test_a_second_launch_is_refused_and_a_dead_holder_is_not_in_the_way(tmp_path: Path):
    folder = ExperimentFolder(experiment(tmp_path).folder)
    with folder.held(), pytest.raises(ConfigError, match=r"is being run by process \d+ on"), folder.held():
        pass
    with locked(folder.path / ".lock"):
        (folder.path / ".holder").write_text("process 1 on a machine that died")
        remedy = rf"by process 1 on a machine that died \(if its machine is gone for good, remove {folder.path}/.lock\)"
        with pytest.raises(ConfigError, match=remedy), folder.held():
            pass
    with folder.held():
        pass


def test_a_damaged_record_is_one_line(tmp_path: Path):
    (tmp_path / "experiment.json").write_text("")
    with pytest.raises(ConfigError, match=r"experiment\.json is damaged .* fresh=true"):
        ExperimentFolder(tmp_path).record()


def test_a_trial_is_a_line_beside_the_record_however_many_there_are(tmp_path: Path):
    costs = []
    for known in (10, 1000):
        folder = ExperimentFolder(tmp_path / str(known))
        names = [f"p{number:03d}-s0" for number in range(known)]
        record = Record({}, {name: {"seed": 1} for name in names}, member_runs=dict.fromkeys(names, "key"))
        record.reported = list(names)
        folder.write(record)
        record.member_runs["new"], record.configs["new"] = "another", {"seed": 2}
        costs.append(cost_of(lambda folder=folder, record=record: folder.note_run(record, "new"), folder.path))
        costs.append(cost_of(lambda folder=folder: folder.note_reported("new"), folder.path))
        assert folder.record() == replace(record, reported=[*names, "new"])
        folder.note_run(record, names[0])  # begins again: its end is not reported any more
        assert folder.record().reported == [*names[1:], "new"]
        folder.write(record)
        assert folder.record() == record
    run, reported, run_late, reported_late = costs
    assert (run.opens, run.written) == (run_late.opens, run_late.written)
    assert (reported.opens, reported.written) == (reported_late.opens, reported_late.written)
    assert run.opens == reported.opens == 1


def test_a_damaged_change_of_the_record_is_one_line(tmp_path: Path):
    folder = ExperimentFolder(tmp_path)
    folder.write(Record({}, {}))
    for damage in ("[]\n", "{\n", '{"run": 3}\n', "\n"):
        (tmp_path / "experiment.jsonl").write_text(damage)
        with pytest.raises(ConfigError, match=r"experiment\.json is damaged .* fresh=true"):
            folder.record()


@pytest.mark.parametrize("place", ["a file", "/proc"])
def test_a_place_that_takes_no_folder_is_one_line_with_the_setting(tmp_path: Path, place: str):
    (tmp_path / "a file").write_text("")
    folder = ExperimentFolder(tmp_path / place / "name")  # joined to /proc it is that
    with (
        pytest.raises(ConfigError, match=r"folder .*name cannot be made \(.*\); give another output_dir"),
        folder.held(),
    ):
        pass
