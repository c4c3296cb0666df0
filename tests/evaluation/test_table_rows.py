"""Rows that are compared: figures that can be counted, and what is claimed of them."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from platform.config.table import TableConfig
from platform.evaluation import row_text
from platform.evaluation.metrics import Scores
from platform.evaluation.report import final_metrics, terminal_table, write
from platform.evaluation.rows import RowTable, row_table
from platform.evaluation.statistics.intervals import wilson
from platform.evaluation.statistics.paired import holm, mcnemar
from platform.evaluation.statistics.power import images_needed, seeds_needed
from platform.evaluation.table import EnsembleScores, with_table
from tests.evaluation.test_summary import N, results, summary

PAPER = {"base": [29.0, 9.2, 1.5], "bn": [26.8, None, 1.5]}
WRONG = {"base": range(60), "bn": range(30, 60), "more": range(29, 59)}


def made(wrong: dict[str, range], table: TableConfig) -> EnsembleScores:
    images = results(wrong, range(3))
    sums = {name: {10: Scores(N, N - len(each), N, 20.0)} for name, each in wrong.items()}
    scores = EnsembleScores(list(wrong), N, sums, {10: Scores(N, N - 3, N)}, {}, summary(images), images)
    return with_table(scores, table, list(wrong), Path("none"))


def compared(wrong: dict[str, range], table: TableConfig) -> RowTable:
    found = made(wrong, table).compared
    assert found is not None
    return found


def test_a_ladder_compares_each_row_with_the_one_above():
    first, second, third = compared(WRONG, TableConfig(against="previous")).rows
    assert (first.top1_error, first.interval, first.against) == (pytest.approx(0.3), wilson(60, N), None)
    assert second.against is not None
    assert third.against is not None
    assert (second.against.other, third.against.other) == ("base", "bn")
    assert second.against.images.difference == pytest.approx(0.15)
    ps = [mcnemar(30, 0), mcnemar(1, 1)]
    assert [each.against.images.p for each in (second, third) if each.against] == pytest.approx(ps)
    assert [each.against.images.p_holm for each in (second, third) if each.against] == pytest.approx(holm(ps))
    assert second.against.is_significant
    assert not third.against.is_significant


def test_an_ablation_compares_each_row_with_the_first():
    rows = compared(WRONG, TableConfig(against="first")).rows
    assert [row.against.other for row in rows[1:] if row.against] == ["base", "base"]


def test_seeds_are_means_and_both_noises_count():
    """Seeds that differ more than the rows: the images are sure, the seeds are not."""
    wrong = {"a": range(40), "a-seed1": range(4), "b": range(30), "b-seed1": range(2)}
    rows = compared(wrong, TableConfig(against="first", seeds=2)).rows
    assert [row.name for row in rows] == ["a", "b"]
    assert rows[0].top1_error == pytest.approx((40 + 4) / 2 / N)
    assert rows[0].sd == pytest.approx(np.std([40 / N, 4 / N], ddof=1))
    against = rows[1].against
    assert against is not None
    assert against.images.is_significant
    assert against.seeds_p is not None
    assert against.seeds_p > 0.5
    assert not against.is_significant


def test_a_row_with_no_finished_member_is_left_out():
    scores = made(WRONG, TableConfig())
    table = TableConfig(against="previous")
    assert scores.images is not None
    found = row_table(table, ["base", "lost", "bn", "more"], scores.images, scores.members)
    assert [row.name for row in found.rows] == ["base", "bn", "more"]


def test_the_first_sentence_says_which_row_is_better_and_the_rest_what_one_cannot_tell():
    text = row_text.verdict(compared(WRONG, TableConfig(against="previous")))
    assert text.startswith("bn is better than base by 15.00 points of top-1 with 10 crops (95% CI ")
    assert "exact McNemar p < 0.001" in text
    assert "One cannot tell apart more and bn (+0.00 points, p = 1.00)." in text
    assert text.endswith("another seed may change this, and table.seeds=3 under another name would show by how much.")


def test_what_it_would_take_is_said():
    table = compared({"a": range(20), "b": range(10, 28)}, TableConfig(against="first"))
    needed = images_needed(18 / N, 2 / N)
    assert f"b and a (+1.00 points, p = 0.81; about {needed:,} images would be needed)" in row_text.verdict(table)


def test_images_needed_count_every_seed_and_every_comparison():
    """b is right in one of two trainings about 24 images and wrong about 20: differences of a half. With more rows the
    same difference asks for more images, by the level 0.05 / rows."""
    wrong = {"a": range(24), "a-seed1": range(24), "b": range(24, 44), "b-seed1": range(24)}
    (found,) = [row.against for row in compared(wrong, TableConfig(against="first", seeds=2)).rows if row.against]
    assert (found.images.differ, found.images.square) == (44, pytest.approx(44 / 4 / N))
    needed = images_needed(44 / 4 / N, found.images.difference)
    assert needed
    assert f"about {needed:,} images" in row_text.verdict(compared(wrong, TableConfig(against="first", seeds=2)))
    one, ten = images_needed(0.25, 0.10), images_needed(0.25, 0.10, comparisons=10)
    assert (one, ten) == (194, 330)  # ((2.807 x 0.5 + 0.8416 x 0.24^0.5) / 0.1)^2 = 329.7


def test_as_many_images_as_there_were_would_not_be_needed():
    """Of eight rows one is better in 8 images: p 0.008, and 0.055 with Holm's correction."""
    wrong = {"a": range(20), "b": range(12)} | {f"c{number}": range(20) for number in range(6)}
    table = compared(wrong, TableConfig(against="first"))
    alone, needed = images_needed(8 / N, 8 / N), images_needed(8 / N, 8 / N, comparisons=7)
    assert alone
    assert needed
    assert alone < N < needed
    assert f"b and a (+4.00 points, p = 0.055; about {needed:,} images would be needed)" in row_text.verdict(table)


def test_a_worse_row_is_called_so():
    text = row_text.verdict(compared({"a": range(20), "b": range(50)}, TableConfig(against="first")))
    assert text.startswith("b is worse than a by 15.00 points of top-1 with 10 crops")


def test_numbers_of_images_and_seeds_by_hand():
    """((1.96 x 0.5 + 0.8416 x 0.24^0.5) / 0.1)^2 = 193.8; 2 x 2.8016^2 = 15.7, and one more."""
    assert images_needed(0.25, 0.10) == images_needed(0.25, -0.10) == 194
    assert seeds_needed(0.01, 0.01) == 17
    assert (images_needed(0.25, 0), seeds_needed(0.01, 0)) == (None, None)


def test_the_table_shows_no_ensemble(tmp_path: Path):
    scores = made(WRONG, TableConfig(against="previous", paper=PAPER))
    text = terminal_table(scores)
    assert "ensemble" not in text
    assert max(map(len, text.splitlines())) <= 120
    row = next(line for line in text.splitlines() if line.split()[:2] == ["bn", "15.00%"])
    assert row.split()[2:] == ["10.71", "to", "20.61%", "0.00%", "+15.00", "<0.001", "26.80%", "1.5"]
    files = write(scores, tmp_path)
    assert [file.name for file in files] == ["table.md", "table.csv", "table.png"]
    assert files[0].read_text().startswith("**bn is better than base by 15.00 points")
    assert "ensemble" not in files[0].read_text()
    lines = list(csv.DictReader(files[1].open()))
    assert [line["row"] for line in lines] == ["base", "bn", "more"]
    assert (float(lines[1]["paper_top1_error"]), lines[1]["paper_top5_error"]) == (pytest.approx(0.268), "")
    assert float(lines[1]["difference"]) == pytest.approx(0.15)


def test_mlflow_gets_a_metric_a_row_and_none_of_an_ensemble():
    found = final_metrics(made(WRONG, TableConfig(against="previous")), None, "val")
    assert found["accuracy_val_top1_bn"] == pytest.approx(0.85)
    assert found["comparison_val_better_bn"] == pytest.approx(0.15)
    assert "accuracy_val_top1" not in found
    of_member = final_metrics(made(WRONG, TableConfig(against="previous")), "bn", "val")
    assert of_member["accuracy_val_top1"] == pytest.approx(0.85)
    assert not any(key.startswith("comparison") for key in of_member)


def test_without_an_image_nothing_is_said():
    images = results(WRONG, range(3), corrupt=N)
    empty = {name: {10: Scores()} for name in WRONG}
    scores = EnsembleScores(list(WRONG), N, empty, {10: Scores()}, {}, summary(images), images)
    found = with_table(scores, TableConfig(against="first"), list(WRONG), Path("none"))
    assert terminal_table(found).startswith("No image can be decoded, so that nothing can be said.")
    assert found.compared is not None
    assert replace(found, compared=None).compared is None
