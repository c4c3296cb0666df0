"""MLflow runs as the built manifest says: its migration, its wait, its server with accounts, on a real PostgreSQL."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from tests.conftest import ROOT
from tests.data.servers import s3_server
from tests.kube.overlays import Build, Process, Secrets, build, process
from tests.kube.postgres import postgres
from tests.test_tracking import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not importlib.util.find_spec("flask_wtf") and "flask-wtf" not in (ROOT / "pyproject.toml").read_text(),
        reason="no Flask-WTF, which MLflow's accounts need",
    ),
]
ADMIN, PASSWORD = "admin", "%41 correct horse/battery:staple@"  # nothing an address or an INI file would take as it is


@dataclass
class Place:
    """What the cluster would bring: a folder in place of the image's root, the store's address, the secrets."""

    folder: Path
    build: Build
    secrets: Secrets
    store: str

    def local(self, container: dict[str, Any], pod: dict[str, Any]) -> Process:
        """A container as a process here: this interpreter, this store's address, its files under the folder."""
        asked = process(self.build, pod, container, self.secrets)
        words, environment = asked.words, asked.environment | {"HOME": str(self.folder), "TMPDIR": str(self.folder)}
        for path, text in asked.files.items():
            here = self.folder / path.lstrip("/")
            here.parent.mkdir(parents=True, exist_ok=True)
            here.write_text(text)
            words = [word.replace(path, str(here)) for word in words]
            environment = {name: value.replace(path, str(here)) for name, value in environment.items()}
        if "AWS_ENDPOINT_URL" in environment:
            environment["AWS_ENDPOINT_URL"] = self.store
        programs = {"python": [sys.executable], "mlflow": [sys.executable, "-m", "mlflow"]}
        return replace(asked, words=[*programs[words[0]], *words[1:]], environment=environment)

    def start(self, asked: Process) -> subprocess.Popen[str]:
        inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        empty = self.folder / "root"  # an image's working directory is read-only: nothing may appear there
        empty.mkdir(exist_ok=True)
        environment = inherited | asked.environment
        with open(self.folder / "log", "a") as log:
            return subprocess.Popen(
                asked.words, env=environment, cwd=empty, stdout=log, stderr=log, text=True, start_new_session=True
            )

    def run(self, asked: Process, timeout: int = 120) -> int:
        return self.start(asked).wait(timeout)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    built, folder = build("dev"), tmp_path_factory.mktemp("mlflow")
    with postgres("mlflow", PASSWORD) as database, s3_server(folder) as store:
        secrets = {
            "mlflow-database": database,
            "mlflow-auth": {
                "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
                "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
                "MLFLOW_FLASK_SERVER_SECRET_KEY": "0" * 64,
            },
            "mlflow-store": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"},
        }
        yield Place(folder, built, secrets, store)


@pytest.fixture(scope="module")
def databases(place: Place) -> None:
    """The two databases as the image of PostgreSQL makes them: POSTGRES_DB, and what its scripts say."""
    import psycopg2

    postgres_pod = place.build.one("StatefulSet", "postgres")["spec"]["template"]["spec"]
    asked = process(place.build, postgres_pod, postgres_pod["containers"][0], place.secrets)
    login = {name.removeprefix("PG").lower(): value for name, value in place.secrets["mlflow-database"].items()}
    connection = psycopg2.connect(" ".join(f"{name}='{value}'" for name, value in login.items()) + " dbname=postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {asked.environment['POSTGRES_DB']}")
        for path, text in asked.files.items():
            assert path.startswith("/docker-entrypoint-initdb.d/")
            assert path.endswith(".sql")
            cursor.execute(text)
    connection.close()
    assert (asked.environment["POSTGRES_USER"], asked.environment["POSTGRES_PASSWORD"]) == (
        login["user"],
        login["password"],
    )


@pytest.fixture(scope="module")
def migrated(place: Place, databases: None) -> None:
    """The server's wait, in vain; the migration as the Job runs it; the wait again."""
    waiting = place.local(*container(place, "Deployment", "mlflow", "wait-for-schema"))
    assert place.run(replace(waiting, environment=waiting.environment | {"WAIT_S": "1"})) == 1
    assert 'relation "alembic_version" does not exist' in place.log
    for name in ("tracking", "accounts"):
        assert place.run(place.local(*container(place, "Job", "mlflow-migrate", name))) == 0, place.log
    assert place.run(waiting) == 0, place.log
    assert place.run(place.local(*container(place, "Job", "store-bucket", "bucket"))) == 0, place.log


def container(place: Place, kind: str, name: str, called: str) -> tuple[dict[str, Any], dict[str, Any]]:
    pod = place.build.one(kind, name)["spec"]["template"]["spec"]
    (found,) = [each for each in [*pod.get("initContainers", []), *pod["containers"]] if each["name"] == called]
    return found, pod


@pytest.fixture(scope="module")
def server(place: Place, migrated: None) -> Iterator[str]:
    """The server's address, once its startup probe succeeds."""
    described, pod = container(place, "Deployment", "mlflow", "mlflow")
    port, asked = free_port(), place.local(described, pod)
    words = [word.replace("--port=5000", f"--port={port}").replace("0.0.0.0", "127.0.0.1") for word in asked.words]
    running = place.start(replace(asked, words=words))
    probe = described["startupProbe"]
    try:
        for _ in range(probe["failureThreshold"] * probe["periodSeconds"]):
            if status(f"http://127.0.0.1:{port}{probe['httpGet']['path']}") == 200:
                break
            assert running.poll() is None, place.log
            time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(running.pid, signal.SIGTERM)  # as the image's tini hands it on
        try:
            running.wait(pod["terminationGracePeriodSeconds"])
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
    assert list((place.folder / "root").iterdir()) == []


def status(url: str, user: str | None = None, password: str = PASSWORD, **headers: str) -> int | None:
    """HTTP status of a GET; None where nobody listens."""
    passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
    if user:
        passwords.add_password(None, url, user, password, is_authenticated=True)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


SEARCH = "/api/2.0/mlflow/experiments/get?experiment_id=0"


def test_health_answers_without_an_account_and_by_any_name(server: str) -> None:
    assert status(f"{server}/health") == 200
    assert status(f"{server}/health", Host="10.1.2.3:5000") == 200


def test_everything_else_asks_for_an_account(server: str) -> None:
    assert status(f"{server}{SEARCH}") == 401
    assert status(f"{server}{SEARCH}", ADMIN, "wrong") == 401
    assert status(f"{server}{SEARCH}", ADMIN) == 200


def test_the_server_answers_to_its_names_in_the_cluster_and_to_no_others(server: str) -> None:
    for name in ("mlflow:5000", "mlflow.platform.svc.cluster.local:5000", "localhost:5000"):
        assert status(f"{server}{SEARCH}", ADMIN, Host=name) == 200, name
    for name in ("evil.example:5000", "10.1.2.3:5000"):
        assert status(f"{server}{SEARCH}", ADMIN, Host=name) == 403, name


def test_a_run_with_metrics_and_files_is_written_and_read_through_an_account(
    server: str, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    client = MlflowClient(server)
    experiment = client.create_experiment("of-a-cluster")
    run = client.create_run(experiment)
    client.log_batch(run.info.run_id, metrics=[Metric("loss", 0.5, 0, 0)])
    (tmp_path / "table.md").write_text("| models |\n")
    client.log_artifact(run.info.run_id, str(tmp_path / "table.md"))
    client.set_terminated(run.info.run_id)

    assert client.get_run(run.info.run_id).data.metrics == {"loss": 0.5}
    assert str(run.info.artifact_uri).startswith("mlflow-artifacts:")
    assert Path(client.download_artifacts(run.info.run_id, "table.md")).read_text() == "| models |\n"
    assert "table.md" in stored(place, monkeypatch)


def stored(place: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    """The keys of the store's bucket: the client needed no credentials for it."""
    import boto3

    keys = place.secrets["mlflow-store"]
    client = boto3.client(
        "s3",
        endpoint_url=place.store,
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )
    return " ".join(each["Key"] for each in client.list_objects_v2(Bucket="mlflow").get("Contents", []))
