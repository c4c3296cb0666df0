"""The files of a backup, from and to each kind of store, by the component's own script."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest

from platform.checkout import ROOT
from tests.data.servers import s3_server
from tests.kube import builtin
from tests.kube.gcs import gcs_server
from tests.kube.lint import findings
from tests.kube.overlays import build, on_top

SCRIPT = ROOT / "k8s" / "components" / "backup" / "files.py"
HELD = {"files/1/a/model.pt": b"weights", "files/1/a/checkpoints/one.txt": b"of MLflow's", "files/2/table.md": b"| m |"}
OTHERS = {"files-of-others/x": b"x"}


@dataclass
class Kind:
    """A store with MLflow's files, and some beside them that are not MLflow's."""

    destination: str
    environment: dict[str, str] = field(default_factory=dict)
    bucket: Path | None = None  # where its objects are files; None: ask S3

    def write(self, key: str, content: bytes) -> None:
        if self.bucket is None:
            self.client.put_object(Bucket="mlflow", Key=key, Body=content)
        else:
            (self.bucket / key).parent.mkdir(parents=True, exist_ok=True)
            (self.bucket / key).write_bytes(content)

    def read(self) -> dict[str, bytes]:
        if self.bucket is None:
            keys = [each["Key"] for each in self.client.list_objects_v2(Bucket="mlflow").get("Contents", [])]
            return {key: self.client.get_object(Bucket="mlflow", Key=key)["Body"].read() for key in keys}
        files = [path for path in self.bucket.rglob("*") if path.is_file()]
        return {path.relative_to(self.bucket).as_posix(): path.read_bytes() for path in files}

    def lose(self) -> None:
        if self.bucket is None:
            for key in self.read():
                self.client.delete_object(Bucket="mlflow", Key=key)
            self.client.delete_bucket(Bucket="mlflow")
        else:
            shutil.rmtree(self.bucket)
            (self.bucket / "files").mkdir(parents=True)  # the volume, or Google's bucket, its owner has made again

    @property
    def client(self):
        names = {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
        keys = {name: self.environment[variable] for name, variable in names.items()}
        return boto3.client("s3", endpoint_url=self.environment["AWS_ENDPOINT_URL"], region_name="us-east-1", **keys)


@pytest.fixture(params=["s3", "gs", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kind]:
    bucket = tmp_path / "mlflow"
    bucket.mkdir()
    if request.param == "folder":
        yield Kind(str(bucket / "files"), bucket=bucket)
    elif request.param == "gs":
        with gcs_server(bucket) as address:
            yield Kind("gs://mlflow/files", {"STORAGE_EMULATOR_HOST": address}, bucket)
    else:
        with s3_server(tmp_path) as address:
            keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
            kind = Kind("s3://mlflow/files", {"AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1", **keys})
            kind.client.create_bucket(Bucket="mlflow")
            yield kind


def run(verb: str, folder: Path, destination: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    places = {"BACKUP": str(folder / "backup"), "RUNS": str(folder / "runs"), "HOME": str(folder)}
    whole = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment, **places}
    whole["MLFLOW_ARTIFACTS_DESTINATION"] = destination
    command = [sys.executable, str(SCRIPT), verb]
    return subprocess.run(command, env=whole, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    member = tmp_path / "runs" / "a" / "members" / "A"
    (member / "checkpoints").mkdir(parents=True)
    (member / "weights.pt").write_bytes(b"weights")
    (member / "checkpoints" / "1.pt").write_bytes(b"checkpoint")
    return member


@pytest.mark.slow
def test_what_is_new_is_saved_and_what_is_lost_comes_back(store: Kind, runs: Path, tmp_path: Path) -> None:
    for key, content in (HELD | OTHERS).items():
        store.write(key, content)
    done = run("backup", tmp_path, store.destination, store.environment)
    assert done.returncode == 0, done.stderr
    assert f"1 files of runs are new\n3 files of {store.destination} are new" in done.stdout
    store.write("files/2/table.md", b"| models |")
    done = run("backup", tmp_path, store.destination, store.environment)
    assert f"0 files of runs are new\n1 files of {store.destination} are new" in done.stdout, done.stderr

    store.lose()
    shutil.rmtree(tmp_path / "runs")
    if store.destination.startswith("gs:"):  # a file that came meanwhile stays as it is
        store.write("files/2/table.md", b"newer")
    done = run("restore", tmp_path, store.destination, store.environment)
    assert done.returncode == 0, done.stderr
    table = b"newer" if store.destination.startswith("gs:") else b"| models |"
    assert store.read() == HELD | {"files/2/table.md": table}
    assert (runs / "weights.pt").read_bytes() == b"weights"
    assert not (runs / "checkpoints").exists()


@pytest.mark.parametrize(
    ("destination", "said"),
    [
        ("/not-there", "take components/backup-files-on-volume in place of components/backup"),
        ("wasbs://box@account/mlflow", "by your cloud's own backup from wasbs://"),
    ],
)
def test_runs_are_saved_where_the_store_cannot_be(destination: str, said: str, runs: Path, tmp_path: Path) -> None:
    done = run("backup", tmp_path, destination, {})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert (tmp_path / "backup" / runs.relative_to(tmp_path) / "weights.pt").read_bytes() == b"weights"


@pytest.mark.slow
def test_a_volume_of_files_is_mounted_where_the_servers_have_it(tmp_path: Path) -> None:
    built = on_top("aks", tmp_path, components=["backup-files-on-volume"])
    (server,) = (pod := built.one("Deployment", "mlflow")["spec"]["template"]["spec"])["containers"]
    destination = built.one("ConfigMap", "mlflow-site")["data"]["MLFLOW_ARTIFACTS_DESTINATION"]
    claims = {each["name"]: each.get("persistentVolumeClaim") for each in pod["volumes"]}
    (wanted,) = [claims[each["name"]] for each in server["volumeMounts"] if each["mountPath"] == destination]
    for name, read_only in (("backup", True), ("restore", None)):
        job = built.one("CronJob", name)
        assert builtin.errors(job) == []
        assert findings(job, "x") == []
        pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        (files,) = [each for each in pod["initContainers"] + pod["containers"] if each["name"] == "files"]
        (mount,) = [each for each in files["volumeMounts"] if each["mountPath"] == destination]
        assert mount.get("readOnly") is read_only
        (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
        assert volume["persistentVolumeClaim"] == wanted
        assert files["image"] == server["image"]


def test_a_failed_night_is_not_tried_again_and_a_restore_never(tmp_path: Path) -> None:
    build("dev")
    built = on_top("dev", tmp_path, components=["backup"])
    for name in ("backup", "restore"):
        assert built.one("CronJob", name)["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0
    restore = built.one("CronJob", "restore")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert [each["name"] for each in restore["initContainers"]] == ["files"]  # which only add
    assert [each["name"] for each in restore["containers"]] == ["databases"]
