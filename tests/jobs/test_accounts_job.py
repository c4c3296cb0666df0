"""A real MLflow server with accounts: trained, registered, repeated and predicted there, and no password is kept."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests
from mlflow.tracking import MlflowClient

from platform.chaos.servers import MlflowServer
from platform.export.mlmodel import example_image
from tests.jobs.conftest import Runner

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]
ADMIN, ADMINS_PASSWORD = "admin", "admins-long-password"
ME, PASSWORD, WRONG = "me", "correct-horse-battery", "wrong-horse-battery"
TWO = "+ensemble.members={one:['order_seed=1'],two:['order_seed=2']}"
ACCOUNT = {"MLFLOW_TRACKING_USERNAME": ME, "MLFLOW_TRACKING_PASSWORD": PASSWORD}


class ServerWithAccounts(MlflowServer):
    """MLflow's own `basic-auth`: who is not the owner of something may read it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        config = folder / "auth.ini"
        config.write_text(
            f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder / 'accounts.db'}\n"
            f"admin_username = {ADMIN}\nadmin_password = {ADMINS_PASSWORD}\n"
            "auth_cache_ttl_seconds = 60\n"  # else every request waits for a slow hash of the password
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        self.environment = {
            **MlflowServer.environment,
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-key-of-this-test",
        }

    def _command(self, port: int) -> list[str]:
        return [*super()._command(port), "--app-name", "basic-auth"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerWithAccounts]:
    folder = tmp_path / "server"
    folder.mkdir()
    with ServerWithAccounts(folder) as server:
        made = requests.post(
            f"{server.url}/api/2.0/mlflow/users/create", json={"username": ME, "password": PASSWORD},
            auth=(ADMIN, ADMINS_PASSWORD), timeout=60,
        )  # fmt: skip
        assert made.status_code == 200, made.text
        yield server


def test_a_server_with_accounts_gets_everything_and_no_password_is_kept(
    launch: Runner, server: ServerWithAccounts, tmp_path: Path, one_thread: None
):
    host, outputs = server.url.removeprefix("http://"), []

    def said(*words: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        status, output = launch(*words, environment=environment)
        outputs.append(output)
        return status, output

    by_variables, by_address = f"tracking.uri={server.url}", f"tracking.uri=http://{ME}:{PASSWORD}@{host}"
    small = ["training.epochs=0.3", "evaluation.views=[1]", "export.models=true", "registry.name=digits"]

    def bare(*words: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        status, output = launch.bare(*words, f"output_dir={tmp_path / 'runs'}", environment=environment)
        outputs.append(output)
        return status, output

    for words, environment, expected in (
        ([f"tracking.uri=http://{ME}:{WRONG}@{host}"], None, "refuses user and password (status 401); give user and"),
        ([by_variables], {**ACCOUNT, "MLFLOW_TRACKING_PASSWORD": WRONG}, "refuses user and password (status 401)"),
        ([by_variables], None, f"MLflow at {server.url} wants an account (status 401)"),
    ):
        status, output = said("job=train", "name=refused", *words, environment=environment)
        assert status == 2, output
        assert expected in output
        assert [line for line in output.splitlines() if "MLflow" in line] == [output.strip().splitlines()[-1]], output
    assert not (tmp_path / "runs" / "refused").exists()

    pair = ["job=ensemble", "name=pair", TWO, *small]
    status, output = said(*pair, by_variables, environment=ACCOUNT)
    assert status == 0, output
    assert "registered as digits version 1, champion (models:/digits@champion)" in output

    status, output = said("job=train", "name=other", *small[:-1], by_address)
    assert status == 0, output
    assert f"compare   {server.url}/#/" in output  # neither name nor password
    register = ["job=register", f"register.run={tmp_path / 'runs' / 'other'}", "registry.name=digits"]
    status, output = bare(*register, by_address)
    assert status == 0, output
    assert "registered as digits version" in output

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ACCOUNT.items():
            patch.setenv(name, value)
        client = MlflowClient(server.url)
        experiment = client.get_experiment_by_name("platform")
        assert experiment
        runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
        assert set(runs) == {"pair", "one", "two", "other"}
        assert len(client.search_logged_models([experiment.experiment_id])) == 4
        other = runs["other"].info.run_id

    again = ["job=reproduce", f"reproduce.run={other}", "name=again"]
    status, output = bare(*again, by_address)
    assert status == 0, output
    assert "reproduced, to the last digit of the scores" in output

    image = tmp_path / "image.png"
    image.write_bytes(example_image(32))
    predict = ["job=predict", "predict.model=models:/digits@champion", f"predict.images={image}"]
    status, output = bare(*predict, by_variables, environment=ACCOUNT)
    assert status == 0, output
    assert "image.png" in output

    assert not [output for output in outputs if PASSWORD in output or WRONG in output]
    kept = [file for file in tmp_path.rglob("*") if file.is_file() and file.name != "auth.ini"]
    assert len(kept) > 50
    assert not [file for file in kept if any(word.encode() in file.read_bytes() for word in (PASSWORD, WRONG))]
