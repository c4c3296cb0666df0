"""A sweep's run points to what was promoted from it, and that points to the sweep; nothing stops where it is gone."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from platform.config.experiment import Experiment
from platform.config.models import GoogLeNetConfig
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.experiment.folder import ExperimentFolder, Record
from platform.tracking import lineage
from platform.tracking.journal import Journal
from platform.tracking.lineage import MlflowRun, begun_with, promotion, run_of
from platform.tracking.links import pages_of
from platform.tracking.mlflow_connection import connect
from platform.tracking.runs import Runs
from platform.tracking.tracker import mlflow_ids

pytestmark = pytest.mark.slow  # MLflow makes its database
NOTE = "mlflow.note.content"


class Place:
    """A checkout with a sweep that was run, and MLflow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tracking = TrackingConfig(uri=f"sqlite:///{folder / 'mlflow.db'}")
        connect(self.tracking)
        self.sweep = self.experiment("swept", job="sweep")
        runs = self.runs(self.sweep)
        runs.close_sweep("FINISHED", {}, [], "p000 is best.")
        assert runs.close() == 0
        found = run_of(ExperimentFolder(self.sweep.folder))
        assert found
        self.run = found

    def experiment(self, name: str, **settings: str) -> Experiment:
        config = replace(Config(name=name, output_dir=str(self.folder / "runs"), **settings), tracking=self.tracking)  # type: ignore[arg-type]
        return Experiment(config, {"model": config}, [f"+experiment={name}"])

    def runs(self, experiment: Experiment) -> Runs:
        folder = ExperimentFolder(experiment.folder)
        return Runs(experiment, folder, folder.record() if folder.exists() else Record({}, {}), [])

    def promote(self, name: str, *, run: str | None) -> None:
        """The head of the file that `job=promote` writes; earlier versions did not note the run."""
        noted = f", MLflow run {run}" if run else ""
        text = f"# A point.\n# Written by job=promote on 2026-11-29 from runs/swept, run at commit 0123abc{noted}.\n"
        (self.folder / "conf" / "experiment" / f"{name}.yaml").write_text(text)

    def train(self, name: str) -> Experiment:
        experiment = self.experiment(name)
        runs = self.runs(experiment)
        runs.report({}, None, [])
        assert runs.close() == 0
        return experiment

    def tags(self, run: str) -> dict[str, str]:
        return MlflowClient(self.tracking.uri).get_run(run).data.tags

    def run_of(self, experiment: Experiment) -> str:
        (found,) = mlflow_ids(ExperimentFolder(experiment.folder).tracking).values()
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)  # where MLflow puts the files of a new database
    monkeypatch.setattr(lineage, "ROOT", tmp_path)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    return Place(tmp_path)


def test_a_sweep_and_what_was_promoted_from_it_point_to_each_other(place: Place):
    for name, run in (("early", None), ("late", place.run.id)):
        place.promote(name, run=run)
        own = place.run_of(place.train(name))
        assert place.train(name)  # again: the link is there once
        pages = pages_of(place.experiment(name))
        assert pages
        assert f"/runs/{own}" in pages.parent
        tags = place.tags(place.run.id)
        assert tags[f"promoted.{name}"] == own
        assert tags[NOTE].startswith("p000 is best.")
        assert (
            tags[NOTE].count(f"Promoted and trained as [{name}](#/experiments/{place.run.experiment}/runs/{own})") == 1
        )
        mine = place.tags(own)
        assert mine["lineage"] == "promoted from the sweep runs/swept, run at commit 0123abc"
        assert f"[its run](#/experiments/{place.run.experiment}/runs/{place.run.id})" in mine[NOTE]
    assert len([key for key in tags if key.startswith("promoted.")]) == 2


def test_the_links_stay_when_the_sweep_goes_on(place: Place, caplog: pytest.LogCaptureFixture):
    place.promote("better", run=place.run.id)
    own = place.run_of(place.train("better"))
    link = f"Promoted and trained as [better](#/experiments/{place.run.experiment}/runs/{own})."
    for said, expected in (("p001 is best.", True), ("x" * 7990, False)):
        runs = place.runs(place.sweep)
        runs.close_sweep("FINISHED", {}, [], said)
        assert runs.close() == 0
        note = place.tags(place.run.id)[NOTE]
        assert note.startswith(said[:7000])
        assert (note.count(link) == 1) is expected
    assert "no room for a link to better in the description" in caplog.text


def test_a_sweep_that_is_gone_stops_nothing(place: Place, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "platform")
    MlflowClient(place.tracking.uri).delete_run(place.run.id)
    place.promote("deleted", run=place.run.id)
    place.promote("elsewhere", run="0" * 32)
    shutil.rmtree(place.sweep.folder)
    for name in ("deleted", "elsewhere"):
        own = place.run_of(place.train(name))
        assert place.tags(own)["lineage"].startswith("promoted from the sweep runs/swept")
        assert "its run" not in place.tags(own)[NOTE]
    assert not [key for key in place.tags(place.run.id) if key.startswith("promoted.")]
    told = [record for record in caplog.records if "it does not point to elsewhere" in record.message]
    assert [record.name for record in told] == ["platform"]  # where the launcher's log is


def test_a_folder_that_another_sweep_has_taken_is_not_taken_for_the_one_that_was_promoted(place: Place):
    place.promote("other", run="1" * 32)
    found = promotion(place.experiment("other"))
    assert found
    assert found.run() == MlflowRun("1" * 32, "")
    assert promotion(place.experiment("swept")) is None


@pytest.mark.parametrize(
    ("init", "run"),
    [
        ("ens/members/two", "2"), ("ens/two", "2"), ("ens/members/two/weights.pt", "2"), ("ens", "0"),
        ("ens/init/0123.safetensors", None), ("gone", None),
    ],
)  # fmt: skip
def test_weights_are_of_the_member_that_trained_them(init: str, run: str | None, tmp_path: Path):
    """And those that an experiment keeps because it began with them are of another's training."""
    folder = ExperimentFolder(tmp_path / "ens")
    folder.path.mkdir()
    folder.write(Record({}, {}, parent_run="k0", member_runs={"one": "k1", "two": "k2"}))
    journal = Journal(folder.tracking)
    journal.delivered(0, {key: {"id": key[1:], "experiment": "9"} for key in ("k0", "k1", "k2")})
    journal.close()
    for given in (init, str(tmp_path / init)):
        config = Config(output_dir=str(tmp_path), model=GoogLeNetConfig(init=given, init_digest="0123456789abcdef"))
        tags = begun_with(config)
        assert tags["initialised_from"] == f"{given}, digest 0123456789abcdef"
        assert tags.get("initialised_from_run") == run
