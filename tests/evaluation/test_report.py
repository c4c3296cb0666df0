"""The table as text, Markdown, CSV and picture."""

import csv
import sys
from pathlib import Path

import pytest

from platform.config.sections import TrackingConfig
from platform.evaluation.metrics import Scores
from platform.evaluation.report import metrics, mlflow_command, terminal_table, write
from platform.evaluation.table import EnsembleScores


def scores() -> EnsembleScores:
    one = {1: Scores(200, 180, 199, 40.0), 10: Scores(200, 182, 199, 38.0)}
    two = {1: Scores(200, 170, 197, 50.0), 10: Scores(200, 172, 197, 48.0)}
    both = {1: Scores(200, 188, 200, 30.0), 10: Scores(200, 190, 200, 28.0)}
    return EnsembleScores(["one", "two"], 200, {"one": one, "two": two}, both, {"max over crops": both[10]})


def test_the_terminal_shows_every_row_and_member():
    text = terminal_table(scores())
    for word in ("2 model(s), 200 validation images", "12.50%", "6.00%", "5.00%", "max over crops", "10.07%", "15.00%"):
        assert word in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_files(tmp_path: Path):
    markdown, table, picture = write(scores(), tmp_path)
    rows = list(csv.DictReader(table.open()))
    assert [(row["models"], row["crops"], row["cost"]) for row in rows] == [
        ("1", "1", "1"), ("1", "10", "10"), ("2", "1", "2"), ("2", "10", "20"), ("2", "10", "20"),
    ]  # fmt: skip
    assert float(rows[3]["top1_error"]) == 1 - 190 / 200
    assert markdown.read_text().count("\n|") == 2 + len(rows)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_results_of_the_test_part_are_files_of_their_own_and_say_so(tmp_path: Path):
    of_val = {path.name: path.read_bytes() for path in write(scores(), tmp_path)}
    of_test = write(scores(), tmp_path, "test")
    assert [path.name for path in of_test] == ["table-test.md", "table-test.csv", "table-test.png"]
    assert {name: (tmp_path / name).read_bytes() for name in of_val} == of_val
    assert "2 model(s), 200 test images" in of_test[0].read_text()
    assert "2 model(s), 200 test images" in terminal_table(scores(), "test")


def test_corrupt_samples_are_said():
    some = scores()
    some.ensemble = {
        views: Scores(each.samples, each.top1, each.top5, each.loss, 3) for views, each in some.ensemble.items()
    }
    assert "3 corrupt left out" in terminal_table(some)


def test_metrics_are_named_by_split_and_views_and_the_best_sorts_first():
    found = metrics({1: Scores(4, 2, 4, 4.0), 10: Scores(4, 3, 4, 2.0)}, "test")
    assert found == {
        "accuracy/test_top1": 0.75, "accuracy/test_top5": 1.0, "loss/test": 0.5,
        "accuracy/test_top1_1_view": 0.5, "accuracy/test_top5_1_view": 1.0, "loss/test_1_view": 1.0,
        "accuracy/test_top1_10_views": 0.75, "accuracy/test_top5_10_views": 1.0, "loss/test_10_views": 0.5,
    }  # fmt: skip
    assert min(found) == "accuracy/test_top1"


def test_the_command_that_opens_the_results(monkeypatch: pytest.MonkeyPatch):
    assert mlflow_command(TrackingConfig()).startswith(".venv/bin/mlflow ui ")
    assert "--backend-store-uri sqlite:///other.db" in mlflow_command(TrackingConfig(uri="sqlite:///other.db"))
    spaced = mlflow_command(TrackingConfig(uri="sqlite:////my disk/it.db"))
    assert "--backend-store-uri 'sqlite:////my disk/it.db'" in spaced
    assert mlflow_command(TrackingConfig(uri="http://host:5000")) == "http://host:5000"
    monkeypatch.setattr(sys, "prefix", "/home/me/100% mine/.venv")
    assert mlflow_command(TrackingConfig()).startswith("mlflow ui --backend-store-uri sqlite:////")
