"""Models reach MLflow once, ready and linked to their run, however often their entries are delivered."""

import tempfile
from pathlib import Path

import pytest
import yaml
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND
from mlflow.tracking import MlflowClient

from platform.config.tracking import TrackingConfig
from platform.tracking.journal import Journal
from platform.tracking.mlflow_models import LINKED_FROM, linked
from platform.tracking.operations import DatasetInput, ModelFile, NewModel, encode
from platform.tracking.tracker import Tracker, model_key

pytestmark = pytest.mark.slow  # MLflow makes its database
IMAGES = DatasetInput("digits val", "0123456789abcdef", "data/digits", {}, "validation")


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # where artifacts go
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "artifacts").mkdir(parents=True)
    (folder / "MLmodel").write_text(yaml.safe_dump({"model_uuid": "abc", "model_id": None, "flavors": {}}))
    for name in ("m.pt2", "m.safetensors"):
        (folder / "artifacts" / name).write_text(name)
    return folder


def tracker_of(uri: str, path: Path) -> Tracker:
    return Tracker(TrackingConfig(uri=uri, experiment="one"), Journal(path))


def models(uri: str) -> list[LoggedModel]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("one")
    assert experiment
    return list(client.search_logged_models([experiment.experiment_id]))


def test_a_model_is_there_once_though_its_entries_are_delivered_again(uri: str, tmp_path: Path, model: Path) -> None:
    path = tmp_path / "tracking.jsonl"
    tracker = tracker_of(uri, path)
    run = tracker.start("run", {})
    tracker.model(run, "name", model, {"kind": "member"}, {"accuracy_val_top1": 0.5}, IMAGES, leave_out=".safetensors")
    tracker.finish(run, "FINISHED")
    assert tracker.close() == 0
    path.with_suffix(".delivered.json").unlink()  # as if the process had died before it noted anything
    assert tracker_of(uri, path).close() == 0

    (found,) = models(uri)
    client = MlflowClient(uri)
    (linked,) = client.search_runs([found.experiment_id])
    assert (found.name, found.status, found.tags["kind"]) == ("name", "READY", "member")
    assert linked.outputs
    assert [(each.model_id, each.step) for each in linked.outputs.model_outputs] == [(found.model_id, 0)]
    assert [(each.key, each.value, each.dataset_name) for each in found.metrics or []] == [
        ("accuracy_val_top1", 0.5, "digits val")
    ]
    files = [each.path for each in client.list_logged_model_artifacts(found.model_id, "artifacts")]
    assert files == ["artifacts/m.pt2"]
    written = yaml.safe_load((Path(found.artifact_location.removeprefix("file://")) / "MLmodel").read_text())
    assert (written["model_id"], written["run_id"]) == (found.model_id, linked.info.run_id)


def test_a_model_that_a_killed_launcher_has_begun_is_finished_by_the_next(
    uri: str, tmp_path: Path, model: Path
) -> None:
    path, large = tmp_path / "tracking.jsonl", model / "artifacts" / "m.pt2"
    large.write_bytes(bytes(LINKED_FROM))
    tracker = tracker_of(uri, path)
    run = tracker.start("run", {})
    assert tracker.close() == 0
    journal = Journal(path)
    journal.append(encode(NewModel(run, model_key(model), "name", {})))
    journal.close()
    assert tracker_of(uri, path).close() == 0
    assert [each.status for each in models(uri)] == ["PENDING"]
    again = tracker_of(uri, path)
    again.start("run", {}, again=run)
    again.model(run, "name", model, {}, {"accuracy_val_top1": 0.5}, None)
    again.model_output(run, model_key(model), {"accuracy_val_top1": 0.5, "accuracy_test_top1": 0.25}, None)
    assert again.close() == 0
    (found,) = models(uri)
    assert found.status == "READY"
    assert {each.key: each.value for each in found.metrics or []} == {
        "accuracy_val_top1": 0.5, "accuracy_test_top1": 0.25,
    }  # fmt: skip
    assert len(found.metrics or []) == 2
    place = Path(found.artifact_location.removeprefix("file://")) / "artifacts"
    assert (place / "m.pt2").samefile(large)  # the disk has it once
    assert not (place / "m.safetensors").samefile(model / "artifacts" / "m.safetensors")


def test_a_server_that_knows_of_no_models_gets_the_weights_and_the_rest_of_the_run(
    uri: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown(*arguments: object, **more: object) -> None:  # as the client says of MLflow 2's answer 404
        raise MlflowException("failed with error code 404 != 200", error_code=ENDPOINT_NOT_FOUND)

    weights = tmp_path / "weights.pt"
    weights.write_text("trained")
    with monkeypatch.context() as patch:
        for name in ("search_logged_models", "create_logged_model"):
            patch.setattr(MlflowClient, name, unknown)
        tracker = tracker_of(uri, tmp_path / "tracking.jsonl")
        run = tracker.start("run", {})
        tracker.model(run, "experiment-m", model, {}, {"accuracy_val_top1": 0.5}, IMAGES, weights=weights)
        tracker.finish(run, "FINISHED")
        assert tracker.close() == 0
    client = MlflowClient(uri)
    (there,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert there.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(there.info.run_id, "model")] == ["model/weights.pt"]
    # of the models only: on a busy machine the delivery says that it waits for MLflow
    (said,) = [record.getMessage() for record in caplog.records if record.module == "mlflow_models"]
    assert said == (
        "MLflow takes no model experiment-m (failed with error code 404 != 200); its run has weights.pt instead"
    )


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no second file system")
def test_a_large_file_of_another_disk_is_not_a_link_and_what_was_there_is_not_written_into(tmp_path: Path) -> None:
    old, link = tmp_path / "old.pt2", tmp_path / "artifacts" / "m.pt2"
    old.write_bytes(b"old")
    link.parent.mkdir()
    link.hardlink_to(old)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        file = Path(elsewhere, "m.pt2")
        file.write_bytes(bytes(LINKED_FROM))
        assert not linked(ModelFile("run", "model", str(file), "artifacts"), tmp_path.as_uri())
    assert not link.exists()
    assert old.read_bytes() == b"old"
