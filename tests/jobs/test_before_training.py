"""What a launch plans and says around the training itself, without a Ray."""

from pathlib import Path
from typing import Any

import pytest

from jobs import train
from jobs.sweep import whose
from jobs.train import Outcome
from platform.config.data import LoaderConfig
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.config.training import TrainingConfig
from platform.experiment.member_folder import MemberState
from platform.experiment.plan import Plan
from platform.export.description import FILE_NAME, Description
from tests.packing.packed import config, write_files
from tests.packing.test_duplicates import twice


def test_an_outcome_names_every_member_that_did_not_finish():
    assert Outcome({"a": MemberState("finished"), "b": MemberState("failed")}).failed == ["b"]


def test_a_sweeps_model_is_said_to_be_of_the_trial_that_it_is_of(tmp_path: Path):
    """The export of a new best may fail; that of the former best stays."""
    about = Description(["cat", "dog"], ["p000-s0"], 32, [0.5] * 3, [0.5] * 3, mirror=True, views=1)
    (tmp_path / FILE_NAME).write_text(about.text())
    assert whose(tmp_path, "p000-s0") == "of p000-s0"
    assert whose(tmp_path, "p001-s0") == "of p000-s0; of the best, p001-s0, there is none"


def test_the_plan_is_made_anew_once_packing_has_dropped_images(
    tmp_path: Path, small_jpegs: list[bytes], monkeypatch: pytest.MonkeyPatch
):
    """Percentages and the time left are of the steps that are trained."""
    planned: list[Plan] = []

    def run_and_report(made: Plan, *_: Any) -> Outcome:
        planned.append(made)
        return Outcome({})

    monkeypatch.setattr(train, "_run_and_report", run_and_report)
    data = config(tmp_path, write_files(tmp_path / "source", twice(small_jpegs)), duplicates="drop")
    tracking = TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db")
    one = Config(
        name="one", data=data, tracking=tracking, output_dir=str(tmp_path / "runs"), loader=LoaderConfig(streams=1),
        training=TrainingConfig(batch_size=1, epochs=1),
    )  # fmt: skip
    assert train.run(Experiment(one, {"model": one})) == 0
    (made,) = planned
    assert made.packed
    assert made.train_samples + made.val_samples == 12
    assert made.members[0].steps == made.train_samples
