"""Runs in MLflow's registry, with a real database: versions, lineage, and who is champion. Nothing is trained."""

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from jobs import deliver, register
from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.experiment import SINGLE, Experiment
from platform.config.export import ExportConfig
from platform.config.jobs import RegisterConfig
from platform.config.registry import RegistryConfig
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.data.index import Index
from platform.evaluation.kept import kept_scores
from platform.experiment.folder import ExperimentFolder
from platform.experiment.member_folder import MemberState
from platform.sweep.trial_store import FINISHED, Trial, TrialStore
from platform.tracking.journal import Journal
from platform.tracking.mlflow_models import KEY_TAG
from platform.tracking.models import ENSEMBLE
from platform.tracking.tracker import Tracker, new_key
from tests.jobs.test_compare_job import Runs
from tests.launching import launched
from tests.sweep.handmade import write_curve

pytestmark = pytest.mark.slow  # MLflow makes its database
ROOM = "one"  # MLflow's experiment


class Registry:
    """One database, and runs by hand whose models are in it."""

    def __init__(self, folder: Path, data: DataConfig, index: Index) -> None:
        self.folder, self.uri = folder, f"sqlite:///{folder / 'mlflow.db'}"
        self.runs, self.client = Runs(folder / "runs", data, index), MlflowClient(self.uri)
        room = self.client.create_experiment(ROOM, artifact_location=str(folder / "artifacts"))  # else where we are
        self.client.create_logged_model(room, "half", tags={KEY_TAG: "half"})  # without its files yet

    def add(self, name: str, wrong: dict[str, range], views: int = 10) -> Path:
        """A run whose members are wrong on some images, delivered to MLflow with its models."""
        folder = ExperimentFolder(self.runs.add(name, wrong, views))
        record = folder.record()
        tracker = Tracker(TrackingConfig(uri=self.uri, experiment=ROOM), Journal(folder.tracking))
        record.parent_run = tracker.start(name, {})
        for member in wrong:
            run = record.member_runs[member] = tracker.start(member, {}, parent=record.parent_run)
            record.models[member] = tracker.model(
                run, f"{name}-{member}", self._model(folder.member(member).path), {}, {}, None
            )
        if len(wrong) > 1:
            record.models[ENSEMBLE] = tracker.model(record.parent_run, name, self._model(folder.path), {}, {}, None)
        assert tracker.close() == 0
        folder.write(record)
        return folder.path

    @staticmethod
    def _model(folder: Path) -> Path:
        (folder / "model").mkdir()
        (folder / "model" / "MLmodel").write_text(yaml.safe_dump({"model_uuid": new_key(), "flavors": {}}))
        return folder / "model"

    def register(self, name: str, run: object) -> str:
        """What `job=register` prints; without Hydra, which takes longer than the rest."""
        config = Config(
            output_dir=str(self.runs.folder),
            tracking=TrackingConfig(uri=self.uri),
            registry=RegistryConfig(name),
            register=RegisterConfig(str(run)),
        )
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert register.run(Experiment(config, {}, [])) == 0
        return printed.getvalue()

    def versions(self, name: str) -> dict[str, ModelVersion]:
        """By number; with aliases, which a search leaves out."""
        found = self.client.search_model_versions(f"name='{name}'")
        return {str(each.version): self.client.get_model_version(name, str(each.version)) for each in found}

    def aliases(self, name: str) -> dict[str, str]:
        return {alias: str(number) for alias, number in self.client.get_registered_model(name).aliases.items()}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, digits_data: DataConfig, digits: Index) -> Registry:
    return Registry(tmp_path_factory.mktemp("registry"), digits_data, digits)


@pytest.fixture(scope="module")
def weak(registry: Registry) -> Path:
    return registry.add("weak", {"a": range(40), "b": range(20), "c": range(50)})


def test_the_first_version_is_champion_with_its_lineage_and_there_once(registry: Registry, weak: Path):
    output = registry.register("first", weak)
    assert "registered as first version 1, champion (models:/first@champion)" in output
    assert "nothing to compare it with" in output
    (version,) = registry.versions("first").values()
    assert version.aliases == ["champion"]
    assert (version.description or "").startswith("Champion: There was nothing to compare it with")
    assert "Top-1 error 33.61% (95% CI " in (version.description or "")
    members = {each: registry.versions(f"first-{each}")["1"] for each in "abc"}
    links = [f"{each}: models:/first-{each}/1 ({member.tags['model']})" for each, member in members.items()]
    assert version.tags["members"] == "; ".join(links)
    assert version.tags["experiment"] == "weak"
    assert registry.client.get_run(version.tags["run"]).info.run_name == "weak"
    assert version.tags["data.val"] == ExperimentFolder(weak).record().identity["data"]["val"]
    assert "train: " in version.tags["data"]
    assert len(version.tags["commit"]) >= 40
    assert members["a"].tags["member of"] == "first"
    linked = registry.client.get_logged_model(version.tags["model"]).tags["mlflow.modelVersions"]
    assert {"name": "first", "version": version.version} in json.loads(linked)
    assert not members["a"].aliases

    output = registry.register("first", weak)
    assert "weak is first version 1 already, registered as champion; nothing is registered anew" in output
    assert [len(registry.versions(name)) for name in ("first", "first-a")] == [1, 1]


def test_the_champion_is_replaced_by_what_is_better_beyond_noise_alone(registry: Registry, weak: Path):
    best, close = registry.add("best", {SINGLE: range(5)}), registry.add("close", {SINGLE: range(38)})
    registry.register("gated", weak)
    output = registry.register("gated", close)
    assert "registered as gated version 2, challenger (models:/gated@challenger)" in output
    assert "the champion stays version 1" in output
    assert registry.aliases("gated") == {"champion": "1", "challenger": "2"}

    output = registry.register("gated", best)
    assert registry.aliases("gated") == {"champion": "3", "challenger": "2"}
    version = registry.versions("gated")["3"]
    assert (version.tags["gate"], version.tags["gate.against"]) == ("champion", "1")
    said = version.description or ""
    assert "version 3 (best) is better than the champion version 1 (weak) by 29.41 points of top-1" in said
    assert "exact McNemar p < 0.001, corrected p < 0.001). On 119 images that both could read; p is corrected" in said
    place = registry.client.get_model_version_by_alias("gated", "champion").source
    assert {"MLmodel", "images.npz"} == {file.name for file in Path((place or "").removeprefix("file://")).iterdir()}

    assert "weak is gated version 1 already" in registry.register("gated", weak)
    assert "close is gated version 2 already, registered as challenger" in registry.register("gated", close)
    assert registry.aliases("gated") == {"champion": "3", "challenger": "2"}
    assert len(registry.versions("gated")) == 3


def test_a_member_alone_is_registered_as_what_it_said(registry: Registry, weak: Path):
    registry.register("alone", f"{weak}/c")
    output = registry.register("alone", f"{weak}/b")
    assert "version 2 (weak/b) is better than the champion version 1 (weak/c) by 25.21 points" in output
    assert registry.aliases("alone") == {"champion": "2"}


def swept(registry: Registry, name: str, wrong: dict[str, range]) -> Path:
    """A sweep whose trials are wrong on some images; the best has a model, as `job=sweep` leaves it."""
    place = registry.add(name, wrong)
    folder = ExperimentFolder(place)
    for file in (folder.scores("val"), folder.images("val")):
        file.unlink()  # which only an experiment has
    trials = [Trial(each, number, {"optim.lr": number}, 0, [], FINISHED) for number, each in enumerate(wrong)]
    TrialStore(trials=trials).write(place)
    for trial, images in wrong.items():
        member = folder.member(trial)
        write_curve(place, trial, 1 - len(images) / 120)
        kept_scores({trial: member.probabilities}, [1, 10], member.scores, lambda said: None, member.images)
    record, best = folder.record(), min(wrong, key=lambda trial: len(wrong[trial]))
    record.identity["sweep"], record.models = {}, {best: record.models[best]}
    folder.write(record)
    return place


def test_a_sweep_is_registered_by_its_best_trial_which_must_be_better_than_by_luck(registry: Registry):
    """Six images fewer wrong and none the other way: p is 0.03, but these images have chosen the best of three."""
    sweep = swept(registry, "swept", {"p000-s0": range(90), "p001-s0": range(17), "p002-s0": range(50)})
    lucky = swept(registry, "lucky", {"p000-s0": range(60), "p001-s0": range(90), "p002-s0": range(40)})
    registry.register("sweeps", "swept")
    version = registry.versions("sweeps")["1"]
    assert version.tags["experiment"] == "swept/p001-s0"
    assert registry.client.get_run(version.tags["run"]).info.run_name == "p001-s0"
    assert "Chosen among 3 trials of a sweep by these images" in (version.description or "")
    assert "swept/p001-s0 is sweeps version 1 already" in registry.register("sweeps", f"{sweep}/p001-s0")

    better = registry.add("better", {SINGLE: range(11)})
    assert "version 2, champion" in registry.register("sweeps", better)
    best = swept(registry, "bestof", {"p000-s0": range(5), "p001-s0": range(60), "p002-s0": range(50)})
    output = registry.register("sweeps", best)
    assert "exact McNemar p = 0.031, corrected p = 0.094)" in output
    assert "p is corrected (Holm) for the 3 trials of the sweep that it is the best of" in output
    assert registry.aliases("sweeps") == {"champion": "2", "challenger": "3"}
    assert registry.versions("sweeps")["3"].tags["gate.p"] == "0.09375"
    with pytest.raises(ConfigError, match="lucky/p000-s0 has no model in MLflow"):
        registry.register("sweeps", f"{lucky}/p000-s0")


def test_other_images_move_nothing(registry: Registry, weak: Path):
    other = registry.add("other", {SINGLE: range(0)})
    folder = ExperimentFolder(other)
    record = folder.record()
    record.identity["data"]["val"] = "120 samples in 1 shards, sha256 0123"
    folder.write(record)
    registry.register("apart", weak)
    output = registry.register("apart", other)
    assert "It is not compared with the champion version 1 (weak): the validation images are others" in output
    assert registry.aliases("apart") == {"champion": "1", "challenger": "2"}
    assert "It is not compared" in (registry.versions("apart")["2"].description or "")

    record.identity["data"]["val"] = ExperimentFolder(weak).record().identity["data"]["val"]
    folder.write(record)  # what could not be compared is tried again
    output = registry.register("apart", other)
    assert "registered as apart version 2, champion" in output
    version = registry.versions("apart")["2"]
    assert version.tags["data.val"] == record.identity["data"]["val"]
    assert len(registry.versions("apart")) == 2


def test_what_was_interrupted_is_finished(registry: Registry, weak: Path):
    best = registry.add("late", {SINGLE: range(5)})
    registry.register("again", weak)
    registry.register("again", best)
    registry.client.set_registered_model_alias("again", "champion", "1")  # as if it had died before the aliases
    for key in ("gate", "gate.p", "gate.against"):
        registry.client.delete_model_version_tag("again", "2", key)
    output = registry.register("again", best)
    assert "registered as again version 2, champion" in output
    assert len(registry.versions("again")) == 2
    assert registry.aliases("again")["champion"] == "2"


def test_a_champion_of_somebody_else_stays(registry: Registry, weak: Path, tmp_path: Path):
    registry.client.create_registered_model("theirs")
    registry.client.create_model_version("theirs", str(tmp_path))
    registry.client.set_registered_model_alias("theirs", "champion", "1")
    output = registry.register("theirs", weak)
    assert "the champion version 1 (of unknown origin): its images.npz cannot be read" in output
    assert str(tmp_path / "mlflow") not in output
    assert registry.aliases("theirs") == {"champion": "1", "challenger": "2"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models": {}}, "weak has no model in MLflow; its own command with export.models=true makes it"),
        (
            {"models": {"": "gone", "a": "gone", "b": "gone", "c": "gone"}},
            "has no model of weak; give the tracking.uri",
        ),
        ({"models": dict.fromkeys(["", "a", "b", "c"], "half")}, "the model of weak is PENDING in MLflow"),
        ({"parent_run": None}, "weak has no run in MLflow"),
    ],
)
def test_what_has_no_model_leaves_nothing_behind(registry: Registry, weak: Path, change: dict, said: str):
    folder = ExperimentFolder(weak)
    record = folder.record()
    folder.write(replace(record, **change))
    try:
        with pytest.raises(ConfigError) as error:
            registry.register("nothing", weak)
    finally:
        folder.write(record)
    assert said in str(error.value)
    assert registry.client.search_registered_models("name LIKE 'nothing%'") == []


def test_a_registry_that_does_not_answer_loses_no_run(registry: Registry, weak: Path, capsys: pytest.CaptureFixture):
    tracking = TrackingConfig(uri="http://127.0.0.1:9", experiment=ROOM)
    config = Config(name="weak", output_dir=str(weak.parent), tracking=tracking, registry=RegistryConfig("later"))
    experiment = Experiment(config, {SINGLE: config}, [])
    assert register.register_at_end(experiment, whole=True)  # the run is whole: no cluster is made for this alone
    said = capsys.readouterr().err
    assert said.startswith("warning: weak is not registered as later: MLflow at http://127.0.0.1:9 does not take it (")
    words = f"job=register register.run={weak} registry.name=later tracking.uri=http://127.0.0.1:9"
    assert said.endswith(f"; to register it later: python -m platform.launch {words}\n")
    assert len(said.splitlines()) == 1
    folder = ExperimentFolder(weak)
    folder.write(replace(folder.record(), whole=True))
    for member in "abc":
        folder.member(member).set_state(MemberState(FINISHED))
    assert deliver.run(experiment) == 1  # of which it is all that is left to do
    assert "the run itself is whole; to register it later" in capsys.readouterr().err
    assert not register.register_at_end(experiment, whole=False)
    assert register.register_at_end(experiment, whole=True, waiting=3)  # MLflow is not asked
    assert capsys.readouterr().out.startswith("registry  later gets it when MLflow has what is queued: job=deliver")
    config.tracking.uri = registry.uri
    assert register.register_at_end(experiment, whole=True)
    assert "registry  weak" not in (said := capsys.readouterr().out)
    assert said.startswith("registry  registered as later version 1, champion (models:/later@champion)")


def test_a_command_line_registers(registry: Registry, weak: Path):
    places = [f"tracking.uri={registry.uri}", f"output_dir={weak.parent}", "registry.name=typed"]
    done = launched("job=register", "name=weak", *places)
    assert done.returncode == 0, done.stderr
    assert registry.aliases("typed") == {"champion": "1"}
    done = launched("job=register", "register.run=weak", "seed=1", *places)
    assert (done.returncode, done.stderr) == (
        2,
        "error: seed=1 has no effect beside register.run, which names a run as it was; leave it out\n",
    )
    done = launched("job=register", "name=none", *places)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert f"there is no run in {weak.parent}/none; train it first" in done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"job": job, "export": ExportConfig(models=False)}, "export.models=false leaves no model to register")
        for job in ("train", "ensemble", "sweep")
    ],
)
def test_what_is_never_registered_is_said_before_it_is_trained(settings: dict, said: str):
    with pytest.raises(ConfigError, match=said):
        Config(registry=RegistryConfig("x"), **settings)


@pytest.mark.parametrize("name", ["a/b", "a:b", "", ".a", "a@b", "a" * 101])
def test_a_name_that_the_registry_does_not_take_is_refused(name: str):
    with pytest.raises(ConfigError, match=r"^registry\.name (is|has) .*; (use|give) "):
        RegistryConfig(name)
    RegistryConfig("digits-v2.x_y")
