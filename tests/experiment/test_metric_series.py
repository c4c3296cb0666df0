"""A member's metrics on disk: each is handed on once, whatever is killed meanwhile."""

from pathlib import Path

from platform.experiment.metric_series import MetricSeries


def test_reports_that_nobody_heard_are_taken_once_and_a_torn_one_not(tmp_path: Path):
    series = MetricSeries(tmp_path)
    series.keep(10, {"train/loss": 0.5})
    series.keep(20, {"train/loss": 0.25})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write("[30, {")
    assert [(step, metrics) for step, metrics, _ in series.take()] == [
        (10, {"train/loss": 0.5}),
        (20, {"train/loss": 0.25}),
    ]
    assert series.take() == []
    series.keep(40, {"train/loss": 0.125})
    assert [step for step, _, _ in series.take()] == [40]
    assert [step for step, _, _ in series.read()] == [10, 20, 40]


def test_what_an_earlier_version_kept_apart_is_the_end_of_the_series(tmp_path: Path):
    series = MetricSeries(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('[10, {"train/loss": 0.5}, 1.0]\n')
    (tmp_path / "reports.jsonl").write_text('[20, {"train/loss": 0.25}, 2.0]\n[30, {')
    assert [step for step, _, _ in series.take()] == [20]
    assert [step for step, _, _ in series.read()] == [10, 20]
    assert series.take() == []


def test_a_launcher_killed_while_it_takes_reports_loses_and_repeats_no_line_of_the_series(tmp_path: Path):
    series = MetricSeries(tmp_path)
    series.keep(10, {"train/loss": 0.5})
    series.take()
    before = (tmp_path / "metrics.taken").read_text()
    series.keep(20, {"train/loss": 0.25})
    series.take()
    (tmp_path / "metrics.taken").write_text(before)  # as if it had not come to that
    assert [step for step, _, _ in series.take()] == [20]
    assert [step for step, _, _ in series.read()] == [10, 20]
