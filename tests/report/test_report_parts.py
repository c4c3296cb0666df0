"""What the parts of a report say: times, crops, confusions, hard images, sureness."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from platform.data.dataset import ShardDataset
from platform.data.index import read_index
from platform.evaluation.images import ImageResults
from platform.evaluation.verdict import interval_text, verdict
from platform.experiment.goodput import Attempt, Goodput, Times
from platform.report import confusion, crops, curves, hardest, results, steps, timeline
from platform.report.colours import lines_of
from platform.report.section import Absent
from platform.report.timeline import EVALUATING, LOST, STARTING, TRAINING, WAITING, spans_of
from platform.training.learning_curve import EvaluationPoint
from tests.report.handmade import finished, predictions, scores_of, write_shards

T = 1_800_000_000.0


def sums(attempts: list[Attempt]) -> dict[str, float]:
    found: dict[str, float] = {}
    for span in spans_of(attempts):
        found[span.kind] = found.get(span.kind, 0.0) + span.stop - span.start
    return found


def test_the_times_of_an_attempt_are_those_of_mlflow():
    attempt = Attempt(T + 10, T + 11, 0, 440, T + 15, T + 75, T + 95, queued_s=10, evaluating_at=T + 76)
    assert sums([attempt]) == {WAITING: 10, STARTING: 5, TRAINING: 60, EVALUATING: 20}
    assert Times.of([attempt]) == Times(queue_s=10, starting_s=5, training_s=60, evaluation_s=20)


def test_logs_of_earlier_versions_are_read():
    """They know neither the queue nor since when an attempt evaluates."""
    attempt = Attempt(T + 10, T + 11, 0, 440, T + 15, T + 75, T + 95, reason="finished")
    assert sums([attempt]) == {STARTING: 5, TRAINING: 60, EVALUATING: 20}


def test_what_a_lost_attempt_costs_is_lost_and_agrees_with_goodput():
    first = Attempt(T, T + 1, 0, 200, T + 5, T + 45, T + 47, reason="its workers died")
    again = Attempt(T + 47, T + 48, 100, 300, T + 51, T + 91, T + 99, reason="finished", evaluating_at=T + 91)
    found = sums([first, again])
    # Two seconds until it was known, four to start again, and half of the second's steps were done before.
    assert found == pytest.approx({STARTING: 5, TRAINING: 40 + 20, LOST: 2 + 4 + 20, EVALUATING: 8})
    goodput = Goodput.of([first, again])
    assert found[TRAINING] == pytest.approx(goodput.training_s)
    assert sum(found.values()) == pytest.approx(goodput.wall_s)


def test_a_start_that_never_came_to_a_step():
    died = Attempt(T, T + 3, 0, 0, 0.0, 0.0, T + 9, reason="out of memory")
    assert sums([died]) == {STARTING: 9}


def test_trained_weights_that_are_only_evaluated():
    evaluated = Attempt(T, T + 1, 440, 440, 0.0, 0.0, T + 9, reason="finished", evaluating_at=T + 3)
    assert sums([evaluated]) == {STARTING: 3, EVALUATING: 6}


def test_a_day_between_two_launches_does_not_hide_the_work():
    first = Attempt(T, T + 1, 0, 200, T + 5, T + 45, T + 47, reason="KILLED")
    again = Attempt(T + 90_000, T + 90_001, 200, 440, T + 90_005, T + 90_060, T + 90_080, reason="finished")
    drawing = timeline.section({"a": [first, again]}).pictures[0].drawing
    widths = {
        found[2].split()[0]: float(found[1])
        for found in re.finditer(r'width="([\d.]+)" height="14"[^>]*><title>([^<]*)', str(drawing.markup))
    }
    assert widths["training"] > 60
    assert "24h59m later" in str(drawing.markup)


def decoded(uri: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_the_sheet_shows_the_very_crops_of_the_training(tmp_path: Path):
    """Those that a stock loop over the same data, seeds and sampling gets in the first epochs."""
    experiment, _, _ = finished(tmp_path, members=4, samples=64)
    split = read_index(experiment.config.data.shards).split("train")
    for config in experiment.members.values():
        section = crops.section(split, {"one": config})
        shown = re.findall(r'href="(data:[^"]*)"', str(section.pictures[0].drawing.markup))[crops.IMAGES :]
        dataset = ShardDataset(
            config.data,
            16,
            loader=config.loader,
            sampling=config.sampling,
            seed=config.seed,
            order_seed=config.order_seed,
        )
        fed: dict[tuple[int, int], NDArray[np.uint8]] = {}
        mean, std = (np.array(values).reshape(3, 1, 1) for values in (config.data.mean, config.data.std))
        for epoch in range(crops.EPOCHS):
            for batch in dataset:
                for sample_id, image in zip(batch.ids_N.tolist(), batch.images.numpy(), strict=True):
                    fed[sample_id, epoch] = ((image * std + mean) * 255).round().clip(0, 255).transpose(1, 2, 0)
        ids = [0, 9, 19, 29]  # spread over the 40 training images
        compared = [
            (decoded(shown[crops.EPOCHS * place + epoch]), fed[sample_id, epoch])
            for place, sample_id in enumerate(ids)
            for epoch in range(crops.EPOCHS)
            if (sample_id, epoch) in fed  # an epoch leaves out what fills no batch
        ]
        assert len(compared) >= 4
        for crop, image in compared:
            assert np.abs(crop.astype(int) - image).max() <= 1


def test_members_of_one_sampling_share_a_row(tmp_path: Path):
    experiment, _, _ = finished(tmp_path, members=7)
    split = read_index(experiment.config.data.shards).split("train")
    text = str(crops.section(split, experiment.members).pictures[0].drawing.markup)
    assert "member_0, member_5" in text
    assert "area 8 to 50%" in text
    assert "colours distorted" in text
    assert text.count("<image") == crops.IMAGES * (1 + crops.EPOCHS * 5)


def test_the_area_is_that_of_the_data_set(tmp_path: Path):
    """Digits need half of an image where photographs need 8%."""
    experiment, _, _ = finished(tmp_path, members=1)
    experiment.config.data.min_crop_area = 0.5
    split = read_index(experiment.config.data.shards).split("train")
    assert "area 50 to 100%" in str(crops.section(split, experiment.members).pictures[0].drawing.markup)


@pytest.mark.parametrize("classes", [3, 40, 1000])
def test_the_most_confused_pairs_come_first(classes: int):
    labels = np.repeat(np.arange(classes), 4)
    predicted = labels.copy()
    predicted[4:7] = 2  # three of the four images of class 1
    predicted[0] = 1
    predicted[8] = -1  # no class
    section = confusion.section(labels, predicted, [f"c{number}" for number in range(classes)])
    assert [list(row) for row in section.tables[0].rows] == [
        ["c1", "c2", "3 of 4", "75.0%"], ["c0", "c1", "1 of 4", "25.0%"],
    ]  # fmt: skip
    assert f"4 of {4 * classes:,} images are taken for another class." in section.notes
    assert any("1 images without a predicted class" in note for note in section.notes)


def test_a_coarse_confusion_image_has_errors_where_they_are():
    labels = np.repeat(np.arange(1000), 2)
    predicted = labels.copy()
    predicted[2 * 100] = 899
    drawing = confusion.section(labels, predicted, [str(number) for number in range(1000)]).pictures[0].drawing
    found = re.search(r'href="(data:[^"]*)"', str(drawing.markup))
    assert found
    image = decoded(found[1])
    assert image.shape == (125, 125, 4)
    orange = np.argwhere((image[..., 3] > 0) & (image[..., 0] > image[..., 2]))
    assert orange.tolist() == [[100 // 8, 899 // 8]]
    assert (np.diag(image[..., 3]) > 0).all()


def hard(tmp_path: Path) -> tuple[ImageResults, list[str]]:
    images, classes = predictions(["a", "b", "c"], [0, 1, 2] * 10, 3, [1]), ["ant", "bee", "cat"]
    write_shards(tmp_path / "data", {"val": images.labels_N.tolist()}, classes)
    return images, classes


def test_the_hardest_image_comes_first_with_everybodys_class(tmp_path: Path):
    images, classes = hard(tmp_path)
    images.label_probability_EN[-1, 7] = 0.0012
    images.label_probability_EN[-1, 3] = 0.0001
    images.valid_N[3] = False  # corrupt: nobody saw it
    images.predicted_EN[:, 7] = [1, 2, 2, 2]
    split = read_index(tmp_path / "data").split("val")
    card = hardest.section(images, split, classes).cards[0]
    assert card.title == "bee: 0.12%"
    assert list(card.lines) == ["taken for cat", "cat (2): b, c", "✓ bee (1): a", "image 00007"]
    assert decoded(card.uri).shape == (40, 48, 3)


def test_images_with_other_labels_than_evaluated_are_not_shown(tmp_path: Path):
    images, classes = hard(tmp_path)
    images.labels_N = (images.labels_N + 1) % 3
    with pytest.raises(Absent, match="do not hold the images that were evaluated"):
        hardest.section(images, read_index(tmp_path / "data").split("val"), classes)


def test_the_tables_are_those_of_the_terminal():
    images = predictions(["a", "b"], [0, 1, 2] * 40, 3, [1, 10])
    scores = scores_of(images)
    assert scores.summary is not None
    assert results.verdict(scores) == verdict(scores.summary)
    paper, members = results.section(scores, "val").tables
    assert [row[1] for row in members.rows] == scores.summary.ranking
    right = {name: 100 * (1 - images.right_EN[number].mean()) for number, name in enumerate(images.names)}
    assert [row[2] for row in members.rows] == [f"{right[name]:.2f}%" for name in scores.summary.ranking]
    assert [row[0] for row in paper.rows] == ["mean of the members"] * 2 + ["ensemble"] * 2 + ["max over crops"]
    assert interval_text(scores.summary.ensemble.interval) in paper.rows[3]


def test_what_the_verdict_leaves_out_is_said():
    scores = scores_of(predictions(["a", "b"], [0, 1], 3, [1]))
    scores.ensemble[1].corrupt = 3
    assert results.cautions(scores, {"c": "died\nof something"}) == [
        "Without c, which is not finished: died", "3 images could not be decoded and are in no figure.",
    ]  # fmt: skip
    assert results.cautions(None, {}) == []
    assert "no scores" in results.verdict(None)


def point(epoch: float, speed: float, wait: float | None) -> EvaluationPoint:
    return EvaluationPoint(epoch, round(epoch), 0.5, 0.9, 1.0, speed, wait_share=wait)


def log_step(step: int, **parts: float) -> tuple[int, dict[str, float], float]:
    return step, {f"within_step/{part}_ms": ms for part, ms in parts.items()} | {"progress": 0.1}, T


def test_a_steps_time_is_told_apart_as_far_as_it_is_measured():
    curves = {"new": [point(1, 320, 0.25)], "old": [point(1, 320, 0.25)], "oldest": [point(1, 160, None)], "none": []}
    series = {name: [] for name in curves} | {
        "new": [
            (1, {"progress": 0.1}, T),
            log_step(10, wait=1.0, forward=50.0, backward=900.0, decode=4.0),  # trained again after a restart
            log_step(10, wait=1.0, forward=50.0, backward=90.0, decode=4.0),
            log_step(19, wait=3.0, forward=70.0, backward=90.0, decode=8.0),
            (19, {"val/top1": 0.5, "val/seconds": 0.38}, T),
        ]
    }
    section = steps.section(series, curves, dict.fromkeys(curves, 32))
    table = section.tables[0]
    assert list(table.columns[3:]) == ["wait", "forward", "backward", "computing", "evaluation", "decode"]
    assert [list(row) for row in table.rows] == [
        ["new", "320", "172.0", "2.0", "60.0", "90.0", "", "20.0", "6.0"],
        ["old", "320", "100.0", "25.0", "", "", "75.0", "", ""],
        ["oldest", "160", "200.0", "", "", "", "200.0", "", ""],
    ]
    assert any(
        "Not told apart" in note and note.endswith("of old, oldest. They are computing.") for note in section.notes
    )
    assert section.notes[-1].endswith("in computing: oldest.")
    with pytest.raises(Absent):
        steps.section({"none": []}, {"none": []}, {"none": 32})


def test_the_bars_of_steps_are_as_long_as_their_parts():
    series = {"a": [log_step(10, wait=10.0, forward=30.0, exchange=40.0, optimiser=20.0, decode=50.0)]}
    picture = str(steps.section(series, {"a": []}, {"a": 32}).pictures[0].drawing.markup)
    found = re.findall(r'width="([\d.]+)" height="(?:15|4)" style="fill:var\(--step-(\w+)\)', picture)
    widths = {part: float(width) for width, part in found}
    assert list(widths) == ["wait", "forward", "exchange", "optimiser", "decode"]
    per_ms = widths["decode"] / 50
    assert {part: round(width / per_ms) for part, width in widths.items()} == {
        "wait": 10, "forward": 30, "exchange": 40, "optimiser": 20, "decode": 50,
    }  # fmt: skip
    assert "100.0 ms" in picture
    assert "exchange 40%" in picture


def test_curves_of_any_length_make_small_pictures_with_every_name():
    long = [
        EvaluationPoint(step / 10, step, 1 - 1 / (step + 2), 1.0, 1.0, 1.0, train_loss=5 / step)
        for step in range(1, 5001)
    ]
    members = {f"member_{number}": long for number in range(20)}
    section = curves.section(members, lines_of(members), 50_000)
    for picture in section.pictures:
        assert len(picture.drawing.markup) < 100_000
        names = re.findall(r"member_\d+</text>", str(picture.drawing.markup))
        assert len(set(names)) == 20
        places = sorted(float(y) for y in re.findall(r'y="([\d.]+)" class="small"', str(picture.drawing.markup)))
        assert min(b - a for a, b in zip(places, places[1:], strict=False)) > 10  # no label lies on another


def test_a_curve_without_training_loss_says_so():
    section = curves.section({"a": [point(1, 1, None)]}, lines_of(["a"]), 100)
    assert [picture.name for picture in section.pictures] == ["curves-top1"]
    assert any("Left out: the training loss" in note for note in section.notes)
