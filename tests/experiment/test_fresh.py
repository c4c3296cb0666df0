"""`fresh=true` moves a run aside: at each command, and on Kubernetes once for each cluster of a RayJob."""

from dataclasses import replace
from pathlib import Path

import pytest

from platform.config.experiment import Experiment
from platform.data.index import Index
from platform.experiment.folder import RECORD, ExperimentFolder
from platform.experiment.fresh import FRESH_FOR, once, same_command
from tests.experiment.test_experiment_folder import experiment


def fresh(tmp_path: Path) -> Experiment:
    return replace(experiment(tmp_path, fresh=True), overrides=["+experiment=googlenet", "fresh=true", "name=one"])


def launch(tmp_path: Path, data: Index) -> Experiment:
    """As a job opens its folder; returns the experiment that it runs."""
    found = once(fresh(tmp_path))
    folder = ExperimentFolder(found.folder)
    record = folder.open(found, data)
    folder.write(record)
    return found


def aside(tmp_path: Path) -> int:
    """Number of runs that were moved aside."""
    return len(list(tmp_path.glob("one.*")))


def test_a_head_that_was_replaced_goes_on_with_what_the_first_began(
    tmp_path: Path, digits: Index, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ExperimentFolder(tmp_path / "one").open(experiment(tmp_path), digits)
    monkeypatch.setenv(FRESH_FOR, "nightly-29340000-abcde")
    assert launch(tmp_path, digits).config.fresh
    assert aside(tmp_path) == 1
    copies = ExperimentFolder(tmp_path / "one").record().copies
    assert capsys.readouterr().out == ""
    again = launch(tmp_path, digits)
    assert capsys.readouterr().out == "one: fresh=true is done, as this RayJob began the run; it goes on\n"
    assert not again.config.fresh
    assert [member.fresh for member in again.members.values()] == [False]
    assert again.overrides == ["+experiment=googlenet", "name=one"]  # those of a sweep's trials, too
    assert aside(tmp_path) == 1
    assert ExperimentFolder(tmp_path / "one").record().copies == copies
    assert same_command(again) == "the same command without fresh=true"  # submitted again, it begins anew


def test_the_next_cluster_begins_anew(tmp_path: Path, digits: Index, monkeypatch: pytest.MonkeyPatch):
    for number, cluster in enumerate(["nightly-29340000-abcde", "nightly-29341440-fghij"]):
        monkeypatch.setenv(FRESH_FOR, cluster)
        assert launch(tmp_path, digits).config.fresh
        assert aside(tmp_path) == number


@pytest.mark.parametrize("cluster", [None, ""])
def test_elsewhere_each_command_begins_anew(
    cluster: str | None, tmp_path: Path, digits: Index, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(FRESH_FOR, raising=False)
    if cluster is not None:
        monkeypatch.setenv(FRESH_FOR, cluster)
    for number in range(2):
        assert launch(tmp_path, digits).config.fresh
        assert aside(tmp_path) == number


def test_a_run_that_the_same_cluster_goes_on_with_without_fresh_is_left_alone(
    tmp_path: Path, digits: Index, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(FRESH_FOR, "cluster")
    plain = experiment(tmp_path)
    assert once(plain) is plain
    ExperimentFolder(plain.folder).open(plain, digits)
    assert ExperimentFolder(plain.folder).record().fresh_for == ""
    assert once(fresh(tmp_path)).config.fresh  # it was not begun so


def test_a_damaged_record_is_moved_aside(tmp_path: Path, digits: Index, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(FRESH_FOR, "cluster")
    launch(tmp_path, digits)
    (tmp_path / "one" / RECORD).write_text("{")
    assert launch(tmp_path, digits).config.fresh
    assert aside(tmp_path) == 1
