"""The table as text, Markdown, CSV and picture."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from platform.config.table import TableConfig
from platform.config.tracking import TrackingConfig
from platform.evaluation.metrics import Scores
from platform.evaluation.report import COLOURS, certainty, metrics, mlflow_command, terminal_table, write
from platform.evaluation.statistics.intervals import wilson
from platform.evaluation.statistics.paired import mcnemar
from platform.evaluation.summary import Summary
from platform.evaluation.table import EnsembleScores
from tests.evaluation.test_summary import results


def scores() -> EnsembleScores:
    one = {1: Scores(200, 180, 199, 40.0), 10: Scores(200, 182, 199, 38.0)}
    two = {1: Scores(200, 170, 197, 50.0), 10: Scores(200, 172, 197, 48.0)}
    both = {1: Scores(200, 188, 200, 30.0), 10: Scores(200, 190, 200, 28.0)}
    images = results({"two": range(28), "one": range(20, 38)}, range(20, 30))
    summary = Summary.of(images, both, {"max over crops": both[10]})
    members = {"two": two, "one": one}
    table = TableConfig(paper={"1x1": [None, 10.07], "2x10": [20.1, 4.9]})
    return EnsembleScores(["two", "one"], 200, members, both, {"max over crops": both[10]}, summary, table=table)


def single() -> EnsembleScores:
    one = {1: Scores(200, 180, 199, 40.0), 10: Scores(200, 182, 199, 38.0)}
    images = results({"one": range(18)}, range(18))
    summary = Summary.of(images, one, {"max over crops": one[1], "the same": one[1]})
    return EnsembleScores(["one"], 200, {"one": one}, one, {"max over crops": one[1], "the same": one[1]}, summary)


def test_the_terminal_shows_every_row_and_member():
    text = terminal_table(scores())
    for word in ("2 model(s), 200 validation images", "12.50%", "6.00%", "5.00%", "max over crops", "10.07%", "15.00%"):
        assert word in text
    assert max(len(line) for line in text.splitlines()) <= 120
    assert text.startswith(
        "The ensemble of 2 is better than its best member one by 4.00 points of top-1 with 10 crops (95"
    )
    assert "paper: its errors, on its images." in text
    row = next(line for line in text.splitlines() if line.split()[:3] == ["2", "10", "20"])
    assert row.split()[-2:] == ["20.10%", "4.90%"]
    assert "5.00%   2.74 to 8.96%" in row  # Wilson's of 10 in 200


def test_members_stand_best_first_with_how_sure_that_is():
    lines = terminal_table(scores()).splitlines()
    start = next(number for number, line in enumerate(lines) if line.split()[:1] == ["member"])
    assert " ".join(lines[start].split()) == "member 1 crop 10 crops 95% interval p next ECE Brier NLL gain p gain"
    first, second = (line.split() for line in lines[start + 2 : start + 4])
    assert first[:7] == ["1", "one", "10.00%", "9.00%", "5.77", "to", "13.78%"]
    assert float(first[7]) == round(mcnemar(20, 10), 3)
    assert second[:7] == ["2", "two", "15.00%", "14.00%", "9.87", "to", "19.49%"]
    assert len(second) == len(first) - 1  # nobody is below the last


def test_a_long_name_breaks_no_column():
    some = scores()
    long = "m" * 100
    for by_name in (some.members, some.summary.members, some.summary.gains):  # pyright: ignore[reportOptionalMemberAccess]
        by_name[long] = by_name.pop("one")  # pyright: ignore[reportArgumentType, reportCallIssue]
    some.summary.ranking[0] = long  # pyright: ignore[reportOptionalMemberAccess]
    text = terminal_table(some)
    assert max(len(line) for line in text.splitlines()) <= 120
    assert "13.78%" in text


def test_a_single_model_has_one_table_without_equal_rows():
    text = terminal_table(single())
    assert text.startswith("Top-1 error 9.00% with 10 crops (95% CI 5.77 to 13.78%, 200 images).")
    assert "Calibration with 10 crops: ECE " in text
    rows = [line for line in text.splitlines() if "%  " in line and line.split()[0] == "1"]
    assert len(rows) == len(set(rows)) == 3
    assert "member" not in text
    assert "the same" not in text


def test_without_a_summary_intervals_are_unknown():
    assert "unknown" in terminal_table(replace(scores(), summary=None))


def test_files(tmp_path: Path):
    markdown, table, picture, members = write(scores(), tmp_path)
    rows, ends = list(csv.DictReader(table.open())), wilson(10, 200)
    assert [(row["models"], row["crops"], row["cost"]) for row in rows] == [
        ("1", "1", "1"), ("1", "10", "10"), ("2", "1", "2"), ("2", "10", "20"), ("2", "10", "20"),
    ]  # fmt: skip
    assert float(rows[3]["top1_error"]) == 1 - 190 / 200
    assert (float(rows[3]["top1_error_low"]), float(rows[3]["top1_error_high"])) == (ends.low, ends.high)
    text = markdown.read_text()
    assert text.startswith("**The ensemble of 2 is better than its best member one by 4.00 points")
    tables = text.split("\n\n")
    assert [part.count("\n|") for part in tables if part[:1] == "|"] == [1 + len(rows), 1 + 2, 1 + 2]
    assert "| two |  | 15.00 |" in text  # 20 + 10 of 200
    (first, second) = csv.DictReader(members.open())
    assert (first["member"], first["rank"], second["member"]) == ("one", "1", "two")
    assert float(first["p_next"]) == mcnemar(20, 10)
    assert float(first["gain"]) == pytest.approx(1 - 10 / 200)  # the one without it is always wrong here
    assert float(second["top1_error_1_view"]) == pytest.approx(0.15)
    assert [path.name for path in write(single(), tmp_path)] == ["table.md", "table.csv", "table.png"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_members_with_the_same_errors_are_all_in_the_picture(tmp_path: Path):
    """None hides another."""
    each = {1: Scores(200, 180, 199, 40.0), 10: Scores(200, 182, 199, 38.0)}
    names = [f"m{number}" for number in range(7)]
    write(EnsembleScores(names, 200, dict.fromkeys(names, each), each, {}), tmp_path)
    pixels = np.asarray(Image.open(tmp_path / "table.png").convert("RGB")).reshape(-1, 3)
    for colour in COLOURS:
        shown = (pixels == [int(colour[place : place + 2], 16) for place in (1, 3, 5)]).all(1).sum()
        assert shown > 3 * 30, colour  # twice a mark with its interval, besides the legend's


def test_results_of_the_test_part_are_files_of_their_own_and_say_so(tmp_path: Path):
    of_val = {path.name: path.read_bytes() for path in write(scores(), tmp_path)}
    of_test = write(scores(), tmp_path, "test")
    assert [path.name for path in of_test] == ["table-test.md", "table-test.csv", "table-test.png", "members-test.csv"]
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
        "accuracy_test_top1": 0.75, "accuracy_test_top5": 1.0, "loss_test": 0.5,
        "accuracy_test_top1_1_view": 0.5, "accuracy_test_top5_1_view": 1.0, "loss_test_1_view": 1.0,
        "accuracy_test_top1_10_views": 0.75, "accuracy_test_top5_10_views": 1.0, "loss_test_10_views": 0.5,
    }  # fmt: skip
    assert min(found) == "accuracy_test_top1"


def test_how_sure_scores_are_has_metrics_of_its_own():
    summary = scores().summary
    assert summary is not None
    own, whole = certainty(summary, "one", "val"), certainty(summary, None, "test")
    ends = wilson(18, 200)
    assert (own["accuracy_val_top1_low"], own["accuracy_val_top1_high"]) == (1 - ends.high, 1 - ends.low)
    assert own["comparison_val_gain"] == pytest.approx(0.95)
    assert whole["comparison_test_lead"] == pytest.approx(0.04)
    assert whole["comparison_test_lead_p"] == pytest.approx(mcnemar(8, 0))
    assert whole["calibration_test_brier"] == pytest.approx(0.05 * 1.28 + 0.95 * 0.08)
    assert set(own) == {
        "accuracy_val_top1_low", "accuracy_val_top1_high", "calibration_val_ece", "calibration_val_brier",
        "calibration_val_nll", "comparison_val_gain", "comparison_val_gain_p",
    }  # fmt: skip
    alone = single().summary
    assert alone is not None
    assert not any(
        key.startswith("comparison_") for key in certainty(alone, None, "val") | certainty(alone, "one", "val")
    )
    nothing = Summary.of(results({"a": range(1)}, range(1), corrupt=200), {10: Scores()}, {})
    assert certainty(nothing, None, "val") == {}


def test_the_command_that_opens_the_results(monkeypatch: pytest.MonkeyPatch):
    assert mlflow_command(TrackingConfig()).startswith(".venv/bin/mlflow ui ")
    assert "--backend-store-uri sqlite:///other.db" in mlflow_command(TrackingConfig(uri="sqlite:///other.db"))
    spaced = mlflow_command(TrackingConfig(uri="sqlite:////my disk/it.db"))
    assert "--backend-store-uri 'sqlite:////my disk/it.db'" in spaced
    assert mlflow_command(TrackingConfig(uri="http://host:5000")) == "http://host:5000"
    monkeypatch.setattr(sys, "prefix", "/home/me/100% mine/.venv")
    assert mlflow_command(TrackingConfig()).startswith("mlflow ui --backend-store-uri sqlite:////")
