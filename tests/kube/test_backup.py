"""Backup and restore: MLflow and runs are lost, and come back, by the component's own scripts."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from tests.kube import builtin
from tests.kube.components import brought, with_component
from tests.kube.conftest import ADMIN, PASSWORD, Place, connected, serving
from tests.kube.lint import findings
from tests.kube.overlays import Build, build


def test_the_component_is_valid_and_may_reach_what_mlflow_reaches(tmp_path: Path) -> None:
    found = brought("dev", "backup", tmp_path)
    kinds = [each["kind"] for each in found.objects]
    assert sorted(kinds) == ["ConfigMap", "CronJob", "CronJob", "PersistentVolumeClaim"]
    for each in found.objects:
        assert builtin.errors(each) == []
        assert findings(each, "backup") == []
    for each in found.of("CronJob"):
        labels = each["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "mlflow"  # of the policies
        assert labels["app.kubernetes.io/component"] not in ("server", "migration")  # of the Service


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dev", "gke", "eks", "aks"])
def test_its_image_is_the_servers_in_every_overlay_and_by_another_name_on_top(name: str, tmp_path: Path) -> None:
    (server,) = build(name).one("Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    renamed = f"images: [{{name: {server['image'].rpartition(':')[0]}, newName: ours.test/mlflow, newTag: next}}]\n"
    plain, named = with_component(name, "backup", tmp_path), with_component(name, "backup", tmp_path, renamed)
    for built, image in ((plain, server["image"]), (named, "ours.test/mlflow:next")):
        for job in ("backup", "restore"):
            each = pod(built, job)
            found = {container["name"]: container["image"] for container in each["initContainers"] + each["containers"]}
            assert found["files"] == image
            assert found["databases"].startswith("postgres:")


def test_only_the_backup_runs_by_itself_and_it_cannot_write_to_runs(tmp_path: Path) -> None:
    found = brought("dev", "backup", tmp_path)
    assert found.one("CronJob", "restore")["spec"]["suspend"] is True
    assert not found.one("CronJob", "backup")["spec"].get("suspend")
    (files,) = pod(found, "backup")["containers"]
    (data,) = [mount for mount in files["volumeMounts"] if mount["name"] == "data"]
    assert data["readOnly"] is True


def pod(found: Build, name: str) -> dict[str, Any]:
    return found.one("CronJob", name)["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def run(place: Place, found: Build, name: str, volumes: dict[str, Path], **more: str) -> int:
    """A Job of the CronJob: its containers one after another; the first status that is not 0."""
    spec = pod(found, name)
    for container in [*spec["initContainers"], *spec["containers"]]:
        asked = replace(place, build=found).local(container, spec)
        paths = {"BACKUP": str(volumes["/backup"]), "RUNS": str(volumes["/mnt/platform/runs"])}
        environment = asked.environment | {key: paths.get(key, value) for key, value in asked.environment.items()}
        if status := place.run(replace(asked, environment=environment | more), 300):
            return status
    return 0


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_what_is_lost_comes_back(place: Place, migrated: None, account: None, tmp_path: Path) -> None:
    found = with_component("dev", "backup", tmp_path)
    runs, backup = tmp_path / "platform" / "runs", tmp_path / "backup"
    backup.mkdir()
    (runs / "a" / "members" / "A" / "checkpoints").mkdir(parents=True)
    (runs / "a" / "members" / "A" / "weights.pt").write_bytes(b"weights")
    (runs / "a" / "members" / "A" / "checkpoints" / "1.pt").write_bytes(b"checkpoint")
    volumes = {"/backup": backup, "/mnt/platform/runs": runs}
    with serving(place) as server:
        client = MlflowClient(server)
        run_id = client.create_run(client.create_experiment("to-be-lost")).info.run_id
        client.log_batch(run_id, metrics=[Metric("loss", 0.5, 0, 0)])
        (tmp_path / "table.md").write_text("| models |\n")
        client.log_artifact(run_id, str(tmp_path / "table.md"))
        client.create_registered_model("googlenet")
        client.create_model_version("googlenet", f"runs:/{run_id}/table.md", run_id)
        assert run(place, found, "backup", volumes) == 0, place.log
        client.create_experiment("after-the-backup")
        assert run(place, found, "restore", volumes) == 1  # servers are connected: nothing is touched
        assert "first: kubectl -n platform scale deployment/mlflow --replicas=0" in place.log

    with connected(place) as cursor:
        for database in ("mlflow", "mlflow_auth"):
            cursor.execute(f"DROP DATABASE {database} WITH (FORCE)")  # sessions of the server outlive it a little
    store = bucket(place)
    store.objects.all().delete()
    store.delete()
    shutil.rmtree(runs)
    assert run(place, found, "restore", volumes, OF="20200101-000000") == 1
    assert "there is no backup" in place.log
    assert run(place, found, "restore", volumes) == 0, place.log

    with serving(place) as server:
        client = MlflowClient(server)
        assert client.get_run(run_id).data.metrics == {"loss": 0.5}
        assert Path(client.download_artifacts(run_id, "table.md")).read_text() == "| models |\n"
        assert client.get_model_version("googlenet", "1").run_id == run_id
        assert client.get_experiment_by_name("after-the-backup") is None
        client.delete_registered_model("googlenet")
    assert (runs / "a" / "members" / "A" / "weights.pt").read_bytes() == b"weights"
    assert not (runs / "a" / "members" / "A" / "checkpoints").exists()


def bucket(place: Place) -> Any:
    keys = place.secrets["mlflow-store"]
    resource: Any = boto3.resource(
        "s3",
        endpoint_url=place.store,
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )
    return resource.Bucket("mlflow")
