"""MLflow as the dev overlay has it behind an Ingress, as local processes: database, store, migration, accounts."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.servers import s3_server
from tests.kube.apiserver import ApiServer
from tests.kube.good_cluster import furnish
from tests.kube.overlays import Build, Process, Secrets, build, opened, process
from tests.kube.postgres import postgres
from tests.kube.web import status
from tests.tracking.test_tracker import free_port

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
        first = programs.get(words[0], [words[0]])
        return replace(asked, words=[*first, *words[1:]], environment=environment)

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


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("mlflow")
    built = opened("ingress", "dev", tmp_path_factory.mktemp("overlay"))
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


@pytest.fixture(scope="session")
def databases(place: Place) -> None:
    """The two databases as the image of PostgreSQL makes them: POSTGRES_DB, and what its scripts say."""
    postgres_pod = place.build.one("StatefulSet", "postgres")["spec"]["template"]["spec"]
    asked = process(place.build, postgres_pod, postgres_pod["containers"][0], place.secrets)
    with connected(place) as cursor:
        cursor.execute(f"CREATE DATABASE {asked.environment['POSTGRES_DB']}")
        for path, text in asked.files.items():
            assert path.startswith("/docker-entrypoint-initdb.d/")
            assert path.endswith(".sql")
            cursor.execute(text)
    login = place.secrets["mlflow-database"]
    assert (asked.environment["POSTGRES_USER"], asked.environment["POSTGRES_PASSWORD"]) == (
        login["PGUSER"],
        login["PGPASSWORD"],
    )


@contextlib.contextmanager
def connected(place: Place, database: str = "postgres") -> Iterator[Any]:
    """A cursor of the place's PostgreSQL that needs no commit."""
    import psycopg2

    login = place.secrets["mlflow-database"]
    connection = psycopg2.connect(
        dbname=database,
        host=login["PGHOST"],
        port=login["PGPORT"],
        user=login["PGUSER"],
        password=login["PGPASSWORD"],
    )
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


@pytest.fixture(scope="session")
def migrated(place: Place, databases: None) -> None:
    """Both servers of the Deployment start at once: each migrates first, and the store gets its bucket."""
    asked = place.local(*container(place, "Deployment", "mlflow", "migrate"))
    both = [place.start(asked), place.start(asked)]
    assert [each.wait(240) for each in both] == [0, 0], place.log
    assert place.run(place.local(*container(place, "Deployment", "mlflow", "bucket"))) == 0, place.log


@pytest.fixture
def good_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """An API server of the cluster of KUBECONFIG, which has all that `job=check` looks at."""
    with ApiServer(tmp_path) as running:
        monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig))
        furnish(running.objects, build("queue"))
        yield running


def container(place: Place, kind: str, name: str, called: str) -> tuple[dict[str, Any], dict[str, Any]]:
    pod = place.build.one(kind, name)["spec"]["template"]["spec"]
    (found,) = [each for each in [*pod.get("initContainers", []), *pod["containers"]] if each["name"] == called]
    return found, pod


@pytest.fixture(scope="session")
def server(place: Place, migrated: None) -> Iterator[str]:
    """The server's address, once its startup probe succeeds."""
    with serving(place) as address:
        yield address


@contextlib.contextmanager
def serving(place: Place) -> Iterator[str]:
    """A server of the Deployment, until the block ends."""
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
