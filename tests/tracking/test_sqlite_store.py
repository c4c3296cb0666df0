"""MLflow's database looked at without MLflow: of another version, with a deleted experiment, moved."""

import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.config.tracking import TrackingConfig
from platform.tracking import ui, views
from platform.tracking.mlflow_connection import connect
from platform.tracking.operations import View
from platform.tracking.sqlite_store import newest_view, require_usable
from tests.launching import launched


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as MLflow makes it, with the experiment `platform` and a run."""
    file = tmp_path_factory.mktemp("made") / "mlflow.db"
    client = connect(TrackingConfig(uri=f"sqlite:///{file}"))
    client.create_run(client.create_experiment("platform", str(file.parent / "mlruns" / "1")))
    (file.parent / "mlruns" / "1").mkdir(parents=True)
    return file


@pytest.fixture
def database(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "mlflow.db"))


def tracking(file: Path) -> TrackingConfig:
    return TrackingConfig(uri=f"sqlite:///{file}")


def change(file: Path, statement: str) -> None:
    with sqlite3.connect(file) as database:
        database.execute(statement)
    database.close()


def test_what_mlflow_can_use_is_not_spoken_of(made: Path, tmp_path: Path):
    assert require_usable(tracking(made)) is None
    assert require_usable(tracking(tmp_path / "none.db")) is None
    assert not (tmp_path / "none.db").exists()
    assert require_usable(TrackingConfig(uri="http://127.0.0.1:9")) is None
    (tmp_path / "empty.db").touch()
    assert require_usable(tracking(tmp_path / "empty.db")) is None


def test_tables_of_another_version_are_refused_with_the_remedy(database: Path):
    change(database, "update alembic_version set version_num = '451aebb31d03'")
    with pytest.raises(
        ConfigError, match=r"has tables of version 451aebb31d03, not .*; copy the file, then run: mlflow db up"
    ):
        require_usable(tracking(database))
    change(database, "update alembic_version set version_num = 'ffffffffffff'")
    with pytest.raises(ConfigError, match=r"ffffffffffff, not .*; a newer MLflow has made it; use that version"):
        require_usable(tracking(database))


def test_a_deleted_experiment_is_refused_before_anything_is_trained(database: Path, tmp_path: Path):
    MlflowClient(f"sqlite:///{database}").delete_experiment("1")
    with pytest.raises(
        ConfigError, match=r"platform is deleted; restore it .*--experiment-id 1, .*or give another track"
    ):
        require_usable(tracking(database))
    places = [
        f"data.shards={tmp_path / 'digits'}",
        f"output_dir={tmp_path / 'runs'}",
        f"tracking.uri=sqlite:///{database}",
    ]
    for job in ("train", "check"):
        done = launched("+experiment=googlenet", f"job={job}", *places)
        assert done.returncode == 2
        assert "experiment platform is deleted" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_moved_database_is_said_by_the_check(made: Path, tmp_path: Path):
    after = tmp_path / "after"
    shutil.copytree(made.parent, after)
    said = require_usable(tracking(after / "mlflow.db"))
    assert said is not None
    assert (
        f"{after / 'mlflow.db'} was moved: experiment platform keeps its files in {made.parent / 'mlruns' / '1'}"
        in said
    )
    places = [f"data.shards={tmp_path / 'digits'}", f"output_dir={tmp_path / 'runs'}"]
    done = launched("+experiment=googlenet", "job=check", *places, f"tracking.uri=sqlite:///{after / 'mlflow.db'}")
    assert done.returncode == 0, done.stderr
    assert f"warning: {said}" in done.stdout


@pytest.mark.slow
def test_checking_does_not_import_mlflow(made: Path):
    code = f"""import sys
from platform.config.sections import TrackingConfig
from platform.tracking.sqlite_store import require_usable
print(require_usable(TrackingConfig(uri="sqlite:///{made}")), "mlflow" in sys.modules)"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["None", "False"]


def test_make_ui_says_the_newest_view_and_what_is_missing(database: Path, tmp_path: Path):
    uri = f"sqlite:///{database}"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} is taken .*; give another: make ui PORT=5001"):
            ui.opening(uri, port)
    assert "MLflow   http://127.0.0.1:" in ui.opening(uri, port)
    assert newest_view(database) is None
    for at_ms, key in ((2, "older"), (3, "newest"), (1, "oldest")):
        MlflowClient(uri).set_experiment_tag("1", *views.tag(View("run", key, key, [], at_ms=at_ms), "parent"))
    assert newest_view(database) == ("1", "newest")
    assert views.link(f"http://127.0.0.1:{port}", "1", "newest") in ui.opening(uri, port)
    with pytest.raises(ConfigError, match=r"none\.db does not exist; run an experiment first"):
        ui.opening(f"sqlite:///{tmp_path / 'none.db'}", port)
    with pytest.raises(ConfigError, match="make ui is for an SQLite file"):
        ui.opening("http://host:5000", port)
