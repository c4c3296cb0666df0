"""What `job=deliver` hands to the registry: runs that are whole, and sweeps by the rule of the sweep itself."""

from pathlib import Path

import pytest

from jobs import deliver
from platform.config.experiment import SINGLE, Experiment
from platform.config.registry import RegistryConfig
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.experiment.folder import ExperimentFolder, Record
from platform.sweep.trial_store import FAILED, FINISHED, STOPPED, Trial, TrialStore, name_of

NAMES = [name_of(point, 0) for point in range(3)]


def delivered(tmp_path: Path, states: list[str], reported: list[str], *, whole: bool = True) -> int:
    """The exit code of `job=deliver` of a sweep whose metrics have all arrived. MLflow is away."""
    folder = ExperimentFolder(tmp_path / "swept")
    folder.path.mkdir()
    folder.write(Record({}, {}, member_runs=dict.fromkeys(NAMES, "key"), reported=reported, whole=whole))
    trials = [
        Trial(name, point, {}, 0, [], state) for point, (name, state) in enumerate(zip(NAMES, states, strict=True))
    ]
    TrialStore(trials=trials).write(folder.path)
    config = Config(
        name="swept", output_dir=str(tmp_path), tracking=TrackingConfig(uri="http://127.0.0.1:9"),
        registry=RegistryConfig("best"),
    )  # fmt: skip
    return deliver.run(Experiment(config, {SINGLE: config}, []))


@pytest.mark.parametrize(
    ("states", "reported", "whole"),
    [
        ([FINISHED, FAILED, STOPPED], NAMES, True),  # the command that swept has ended with 1
        ([FINISHED, FINISHED, STOPPED], NAMES[1:], True),
        ([FINISHED, FINISHED, STOPPED], NAMES, False),
    ],
)
def test_a_sweep_that_is_not_whole_is_not_registered(
    tmp_path: Path, capsys: pytest.CaptureFixture, states: list[str], reported: list[str], whole: bool
):
    assert delivered(tmp_path, states, reported, whole=whole) == 0
    output = capsys.readouterr()
    assert "swept is not registered: not all of it is finished" in output.out
    assert output.err == ""


def test_a_whole_sweep_is_to_be_registered(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert delivered(tmp_path, [FINISHED, STOPPED, STOPPED], [NAMES[0]]) == 1
    assert "to register it later" in capsys.readouterr().err
