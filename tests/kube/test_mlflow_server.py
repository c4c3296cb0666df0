"""MLflow runs as the built manifest says: its migration and its server with accounts, on a real PostgreSQL."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from platform.checkout import ROOT
from tests.kube.conftest import ADMIN, PASSWORD, Place, connected, container
from tests.kube.web import status
from tests.tracking.test_tracker import free_port

pytestmark = [pytest.mark.slow, pytest.mark.long]
SEARCH = "/api/2.0/mlflow/experiments/get?experiment_id=0"


def test_of_servers_that_start_together_one_migrates_and_a_later_one_finds_nothing_to_do(place: Place, migrated: None):
    assert place.run(place.local(*container(place, "Deployment", "mlflow", "migrate"))) == 0
    upgraded = re.findall(r"^(MLFLOW_\w+): from schema None to ", place.log, re.M)
    assert sorted(upgraded) == ["MLFLOW_AUTH_DATABASE_URI", "MLFLOW_BACKEND_STORE_URI"], place.log


def test_a_database_that_does_not_answer_ends_the_migration_with_what_to_look_at(place: Place):
    asked = place.local(*container(place, "Deployment", "mlflow", "migrate"))
    nobody = asked.environment | {"PGPORT": str(free_port()), "WAIT_S": "1"}
    before = len(place.log)
    assert place.run(replace(asked, environment=nobody)) == 1
    said = place.log[before:]
    assert "Connection refused" in said
    assert "gave up: is the database there, and does the Secret mlflow-database fit it?" in said


def test_a_database_of_a_newer_mlflow_is_left_alone(place: Place, migrated: None):
    asked = place.local(*container(place, "Deployment", "mlflow", "migrate"))
    newer = asked.environment | {"MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2:///newer"}
    with connected(place) as cursor:
        cursor.execute("CREATE DATABASE newer")
    with connected(place, "newer") as cursor:
        cursor.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        cursor.execute("INSERT INTO alembic_version VALUES ('of-next-year')")
    assert place.run(replace(asked, environment=newer)) == 1
    assert "its schema is of-next-year, which this MLflow does not know: a newer one has upgraded it" in place.log
    with connected(place, "newer") as cursor:
        cursor.execute("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
        assert cursor.fetchone() == (1,)


def test_health_answers_without_an_account_and_by_any_name(server: str) -> None:
    assert status(f"{server}/health") == 200
    assert status(f"{server}/health", Host="10.1.2.3:5000") == 200


def test_everything_else_asks_for_an_account(server: str) -> None:
    assert status(f"{server}{SEARCH}") == 401
    assert status(f"{server}{SEARCH}", ADMIN, "wrong") == 401
    assert status(f"{server}{SEARCH}", ADMIN, PASSWORD) == 200


def test_the_server_answers_to_its_names_in_the_cluster_and_to_no_others(server: str) -> None:
    for name in ("mlflow:5000", "mlflow.platform.svc.cluster.local:5000", "localhost:5000"):
        assert status(f"{server}{SEARCH}", ADMIN, PASSWORD, Host=name) == 200, name
    for name in ("evil.example:5000", "10.1.2.3:5000"):
        assert status(f"{server}{SEARCH}", ADMIN, PASSWORD, Host=name) == 403, name


def test_its_pages_work_by_the_name_of_the_ingress_and_a_page_of_somebody_elses_may_not_write(server: str) -> None:
    search = f"{server}/ajax-api/2.0/mlflow/experiments/search"  # what the first page asks, as POST
    ours = {"Host": "runs.example.org", "Origin": "https://runs.example.org"}
    assert status(search, ADMIN, PASSWORD, b'{"max_results": 1}', **ours) == 200
    assert status(search, ADMIN, PASSWORD, b'{"max_results": 1}', **ours | {"Origin": "https://evil.example"}) == 403


def test_accounts_are_added_and_removed_by_the_commands_of_the_page(server: str, place: Place) -> None:
    ran = set()

    def accounts(words: str, typed: str = "") -> tuple[int, str]:
        ran.add(words)
        return accounts_py(server, place, words, typed)

    login = ("ada", "correct horse battery")
    assert status(f"{server}{SEARCH}", *login) == 401
    assert accounts("add ada", "too short\n") == (1, "the password has 9 characters; give 12 or more\n")
    assert accounts("add ada", f"{login[1]}\n") == (
        0,
        "ada is added: reads every experiment, writes to those it makes\n",
    )
    assert status(f"{server}{SEARCH}", *login) == 200
    assert accounts("list") == (0, "admin (admin)\nada\n")
    update = f"{server}/api/2.0/mlflow/experiments/set-experiment-tag"
    tag = b'{"experiment_id": "0", "key": "a", "value": "b"}'
    assert status(update, *login, tag) == 403
    assert status(update, ADMIN, PASSWORD, tag) == 200
    code, said = accounts("add ada", f"{login[1]}\n")
    assert code == 1
    assert said == "User (username=ada) already exists.\n"  # and nothing of what the database says of it

    assert accounts("password ada", "another long password\n")[0] == 0
    assert status(f"{server}{SEARCH}", "ada", "another long password") == 200
    assert accounts("admin ada")[0] == 0
    assert status(update, "ada", "another long password", tag) == 200
    assert accounts("remove ada") == (
        0,
        "ada is removed; its runs stay, its password is refused within a minute\n",
    )
    assert accounts("list") == (0, "admin (admin)\n")
    code, said = accounts("remove ada")
    assert code == 1
    assert "not found" in said
    assert accounts("frobnicate ada")[0] == 2
    page = (ROOT / "k8s" / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"/scripts/accounts\.py (\w+(?: \w+)?)$", page, re.M)
    assert {"add jobs", "add ada", "remove ada"} <= set(shown) <= ran | {"add jobs"}  # which writes a run, below


def accounts_py(server: str, place: Place, words: str, typed: str) -> tuple[int, str]:
    asked = place.local(*container(place, "Deployment", "mlflow", "mlflow"))
    script = place.folder / "scripts" / "accounts.py"
    environment = {"PATH": os.environ["PATH"], "MLFLOW_TRACKING_URI": server} | {
        name: value for name, value in asked.environment.items() if name.startswith("MLFLOW_AUTH_ADMIN")
    }
    command = [sys.executable, str(script), *words.split()]
    done = subprocess.run(
        command, input=typed, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_a_run_with_metrics_files_and_a_model_is_written_and_read_through_the_jobs_account(
    server: str, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    login = ("jobs", "a password of jobs")
    assert accounts_py(server, place, "add jobs", f"{login[1]}\n")[0] == 0
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", login[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", login[1])
    client = MlflowClient(server)
    experiment = client.create_experiment("of-a-cluster")
    run = client.create_run(experiment)
    client.log_batch(run.info.run_id, metrics=[Metric("loss", 0.5, 0, 0)])
    (tmp_path / "table.md").write_text("| models |\n")
    client.log_artifact(run.info.run_id, str(tmp_path / "table.md"))
    client.set_terminated(run.info.run_id)

    client.create_registered_model("of-a-cluster")
    version = client.create_model_version("of-a-cluster", f"runs:/{run.info.run_id}/model", run.info.run_id)
    client.set_registered_model_alias("of-a-cluster", "best", version.version)

    assert client.get_run(run.info.run_id).data.metrics == {"loss": 0.5}
    assert str(run.info.artifact_uri).startswith("mlflow-artifacts:")
    assert Path(client.download_artifacts(run.info.run_id, "table.md")).read_text() == "| models |\n"
    assert "table.md" in stored(place)


def stored(place: Place) -> str:
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
