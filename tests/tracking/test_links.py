"""The addresses that a run prints, and what starts the pages behind them."""

from pathlib import Path

import pytest

from platform.checkout import ROOT
from platform.config.tracking import TrackingConfig
from platform.tracking.links import pages, start_command


def test_of_a_server_the_links_are_its_own_without_password():
    found = pages(TrackingConfig(uri="https://me:hunter2secret@mlflow.example/base/"), "3", "abc", "key")
    assert found.runs == (
        "https://mlflow.example/base/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=key"
    )
    assert found.parent == "https://mlflow.example/base/#/experiments/3/runs/abc?workflowType=machine_learning"
    assert found.lines("compare") == [f"compare   {found.runs}"]


def test_of_a_database_they_are_this_machines_with_the_command_that_starts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = pages(TrackingConfig(uri=f"sqlite:///{tmp_path}/my runs.db"), "1", "abc", "key")
    assert found.runs.startswith("http://127.0.0.1:5000/#/experiments/1/runs?")
    first, second = found.lines("compare")
    assert first == f"compare   {found.runs}"
    assert second.endswith(f"ui --backend-store-uri 'sqlite:///{tmp_path}/my runs.db'")
    monkeypatch.chdir(ROOT)
    assert start_command(TrackingConfig()) == "make ui"
    monkeypatch.chdir(tmp_path)
    assert start_command(TrackingConfig()).endswith(f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db")
