"""The runs of an experiment in a real MLflow database: each begins and ends with its own workers."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from platform.config.data import DataConfig
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.data.index import Index, read_index
from platform.evaluation import report
from platform.evaluation.kept import scored
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.goodput import Attempt, write_attempts
from platform.experiment.member_folder import FINISHED, MemberState
from platform.tracking.links import pages_of
from platform.tracking.mlflow_connection import connect
from platform.tracking.run_tags import COLOURS
from platform.tracking.runs import Runs
from platform.tracking.tracker import mlflow_ids
from tests.evaluation.test_ensemble import member
from tests.tracking.test_tracker import wait_for

pytestmark = pytest.mark.slow
BEGAN = 1_800_000_000.0  # seconds since the epoch


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that nothing is in: making one takes MLflow seconds."""
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    connect(TrackingConfig(uri=f"sqlite:///{file}"))
    return file


@pytest.fixture
def experiment(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.chdir(tmp_path)  # where MLflow puts the files of a new database
    tracking = TrackingConfig(uri=f"sqlite:///{shutil.copy(empty, tmp_path / 'mlflow.db')}")
    config = replace(Config(name="two", job="ensemble", output_dir=str(tmp_path / "runs")), tracking=tracking)
    config.evaluation.views = [1, 10]
    config.ensemble.members = {"one": ["order_seed=1"], "two": ["order_seed=2"]}
    members = {"one": replace(config, order_seed=1), "two": replace(config, order_seed=2)}
    return Experiment(config, members, overrides=["+experiment=two"])


@pytest.fixture
def folder(experiment: Experiment) -> ExperimentFolder:
    return ExperimentFolder(experiment.folder)


@pytest.fixture
def data(digits_data: DataConfig) -> Index:
    return read_index(digits_data.shards)


def trained(folder: ExperimentFolder, name: str, seed: int, at: float) -> None:
    """A member that began at `at`, trained for 50 s and was evaluated for 8."""
    place = folder.member(name)
    attempt = Attempt(at - 20, at, 0, 100, at + 2, at + 52, at + 60, 1, ["node0"], "finished", 5.0, at + 53, 8, 2)
    write_attempts(place.path, [attempt])
    place.set_state(MemberState(FINISHED, device="a GPU", times={"started": at, "ended": at + 60}))
    place.weights.write_bytes(b"weights")
    member(folder.path, seed)
    shutil.move(folder.path / str(seed), place.probabilities)


def runs_of(experiment: Experiment, folder: ExperimentFolder) -> dict[str, Run]:
    """MLflow's runs that are there, by name."""
    ids, record = mlflow_ids(folder.tracking), folder.record()
    keys = record.member_runs | {"parent": record.parent_run or ""}
    client = MlflowClient(experiment.config.tracking.uri)
    return {name: client.get_run(ids[key]) for name, key in keys.items() if key in ids}


def ended(runs: Runs, name: str) -> bool:
    runs.end_scored()
    return name in runs._record.reported


def test_a_member_ends_with_scores_files_and_its_own_times_while_another_trains(
    experiment: Experiment, folder: ExperimentFolder, data: Index
):
    record = Record({}, {})
    runs = Runs(experiment, folder, record, ["one", "two"], data)
    runs.begin("one", BEGAN)
    for step, speed in ((10, 100.0), (100, 50.0)):
        metrics = {"train/images_per_s": speed, "progress": step / 100, "data/corrupt_samples": 0.0}
        runs.log("one", step, metrics, BEGAN + step)
        folder.member("one").path.mkdir(parents=True, exist_ok=True)
        folder.member("one").metrics.keep(step, metrics)
    trained(folder, "one", 1, BEGAN)
    runs.ended("one", BEGAN + 60)
    wait_for(lambda: ended(runs, "one"))
    runs.begin("two", BEGAN + 61)
    wait_for(lambda: runs._tracker._journal.waiting == 0)
    found = runs_of(experiment, folder)
    one = found["one"]
    assert (one.info.status, found["two"].info.status, found["parent"].info.status) == (
        "FINISHED",
        "RUNNING",
        "RUNNING",
    )
    assert (one.info.start_time, one.info.end_time) == (BEGAN * 1000, (BEGAN + 60) * 1000)
    assert found["two"].info.start_time == (BEGAN + 61) * 1000
    metrics = one.data.metrics
    right = scored({"one": folder.member("one").probabilities}, [1, 10]).members["one"]
    assert {key: metrics[key] for key in report.metrics(right, "val")} == pytest.approx(report.metrics(right, "val"))
    assert {key: value for key, value in metrics.items() if key.startswith("time_")} == {
        "time_queue_s": 5, "time_starting_s": 22, "time_training_s": 50, "time_evaluation_s": 8,
    }  # fmt: skip
    assert metrics["cost_gpu_h"] == pytest.approx(80 * 2 / 3600)
    assert metrics["speed_images_per_s"] == pytest.approx(100 / (10 / 100 + 90 / 50))
    assert "data/corrupt_samples" not in metrics
    tags = one.data.tags
    assert (tags["kind"], tags["device"], tags["host"]) == ("member", "a GPU", "node0")
    assert (tags["mlflow.runColor"], found["two"].data.tags["mlflow.runColor"]) == COLOURS[:2]
    assert tags["command"] == "python -m platform.launch +experiment=two"
    assert tags["data"] == ", ".join(f"{name} {split.digest}" for name, split in data.splits.items())
    assert tags["mlflow.note.content"].startswith("Top-1 error ")
    assert one.inputs
    inputs = {each.dataset.name: each.dataset.digest for each in one.inputs.dataset_inputs}
    assert inputs == {"digits train": data.split("train").digest, "digits val": data.split("val").digest}
    client = MlflowClient(experiment.config.tracking.uri)
    assert {file.path for file in client.list_artifacts(one.info.run_id)} >= {"model", "probabilities", "config.yaml"}
    assert folder.record().reported == ["one"]
    runs.close()


def test_the_next_launch_tells_what_a_killed_one_did_not(experiment: Experiment, folder: ExperimentFolder):
    killed = Runs(experiment, folder, Record({}, {}), ["one", "two"])
    killed.begin("one", BEGAN)
    killed.log("one", 10, {"progress": 0.1}, BEGAN + 10)
    trained(folder, "one", 1, BEGAN)
    killed.close()
    runs = Runs(experiment, folder, folder.record(), ["one", "two"])
    runs.begin("two", BEGAN + 200)
    trained(folder, "two", 2, BEGAN + 200)
    runs.ended("one", BEGAN + 60)
    wait_for(lambda: ended(runs, "one"))  # before the other, whose scores its gain needs
    scores = scored({name: folder.member(name).probabilities for name in ("one", "two")}, [1, 10])
    assert scores.summary is not None
    states = {name: folder.member(name).state() for name in ("one", "two")}
    runs.report(states, scores, report.write(scores, folder.path))
    assert runs.close() == 0
    found = runs_of(experiment, folder)
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert (found["one"].info.start_time, found["one"].info.end_time) == (BEGAN * 1000, (BEGAN + 60) * 1000)
    assert found["two"].info.end_time == (BEGAN + 260) * 1000
    for name in ("one", "two"):
        assert found[name].data.metrics["accuracy_val_top1"] == scores.members[name][10].rates()["top1"]
        assert found[name].data.metrics["comparison_val_gain"] == scores.summary.gains[name].difference
    parent = found["parent"].data
    assert parent.metrics["accuracy_val_top1"] == scores.ensemble[10].rates()["top1"]
    assert parent.metrics["time_training_s"] == 100  # of both
    assert "time_queue_s" not in parent.metrics
    assert parent.metrics["cost_cpu_h"] == pytest.approx(2 * 80 * 8 / 3600)
    note = parent.tags["mlflow.note.content"]
    assert "All together took their workers 44 s starting, 100 s training, 16 s evaluating." in note
    assert note.startswith("**The ensemble of 2 ")
    assert f"![table](/get-artifact?path=table.png&run_uuid={found['parent'].info.run_id})" in note
    assert "job=predict predict.model=runs/two predict.images=FILE" in note
    assert parent.params["ensemble.members.two"] == "['order_seed=2']"
    assert "order_seed" not in parent.params
    assert folder.record().reported == ["one", "two"]
    pages = pages_of(experiment)
    assert pages is not None
    assert pages.parent.endswith(f"/runs/{found['parent'].info.run_id}?workflowType=machine_learning")


def test_a_run_that_is_taken_up_again_has_no_end_until_it_ends(experiment: Experiment, folder: ExperimentFolder):
    first = Runs(experiment, folder, Record({}, {}), ["one", "two"])
    first.begin("one", time.time())
    first.interrupt("KILLED", "stopped by SIGTERM")
    first.close()
    found = runs_of(experiment, folder)
    assert set(found) == {"one", "parent"}  # the other never began
    assert {run.info.status for run in found.values()} == {"KILLED"}
    assert found["one"].info.end_time
    assert found["parent"].data.tags["interrupted"] == found["one"].data.tags["interrupted"] == "stopped by SIGTERM"
    assert found["parent"].data.tags["mlflow.note.content"].startswith("Interrupted: stopped by SIGTERM. The same")
    again = Runs(experiment, folder, folder.record(), ["one", "two"])
    again.begin("one", time.time())
    wait_for(lambda: again._tracker._journal.waiting == 0)
    found = runs_of(experiment, folder)
    assert {(run.info.status, run.info.end_time or None) for run in found.values()} == {("RUNNING", None)}
    assert "interrupted" not in found["one"].data.tags
    again.close()


def test_a_member_that_failed_ends_as_that_at_once(experiment: Experiment, folder: ExperimentFolder):
    runs = Runs(experiment, folder, Record({}, {}), ["one", "two"])
    runs.begin("one", BEGAN)
    # The newest `state.json` may be that of the start before: rank 0 has still to write what another worker met.
    folder.member("one").set_state(MemberState("unfinished", error="its node was taken away"))
    runs.ended("one", BEGAN + 30, "NonFiniteLoss: the loss is not finite")
    wait_for(lambda: runs._tracker._journal.waiting == 0)
    one = runs_of(experiment, folder)["one"]
    assert (one.info.status, one.info.end_time) == ("FAILED", (BEGAN + 30) * 1000)
    assert one.data.tags["error"] == "NonFiniteLoss: the loss is not finite"
    assert one.data.tags["mlflow.note.content"].startswith("Failed: NonFiniteLoss")
    assert folder.record().reported == []
    states = {name: MemberState("failed", error="NonFiniteLoss") for name in ("one", "two")}
    page = folder.path / "report.html"  # which is there of failed runs, too
    page.write_text("")
    runs.report(states, None, [page])
    runs.close()
    note = runs_of(experiment, folder)["parent"].data.tags["mlflow.note.content"]
    assert note.startswith("No member has finished.")
    assert "# go on" in note
    assert "predict" not in note
