"""What Prometheus is told, from hand-made heartbeats, metrics and ends."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from platform.experiment.cost import Cost
from platform.experiment.folder import ExperimentFolder
from platform.experiment.goodput import FILE, Attempt, write_attempts
from platform.lanes import monitor
from platform.lanes.attempts import Attempts
from platform.lanes.mailbox import Beat, GroupEvent
from platform.lanes.monitor import Monitor
from platform.lanes.usage import Usage
from platform.monitoring.metrics import METRICS

GPU = Usage(
    1,
    10.0,
    process={"process_cpus_busy": 1.5, "process_memory_megabytes": 2000.0},
    gpu={
        "utilization_percentage": 80.0,
        "memory_usage_megabytes": 40_000.0,
        "memory_usage_percentage": 50.0,
        "power_usage_watts": 500.0,
    },
    gpu_name="gpu_3",
)
LOGGED = {
    "train/loss": 2.5, "train/top1": 0.25, "train/lr": 0.1, "train/images_per_s": 900.0, "data/wait_share": 0.125,
    "progress": 0.5, "val/top1": 0.5, "val/loss": 1.5, "within_step/forward_ms": 3.0,
}  # fmt: skip


def beat(member: str = "a", rank: int = 0, *, world: int = 1, step: int = 7, gpus: int = 1) -> Beat:
    now = time.time()
    return Beat(member, 0, rank, world, f"node{rank}", f"id{rank}", 1, now, now, 0, step, now, "computing", 4.0,
                usage=GPU, cpus=8, gpus=gpus)  # fmt: skip


class Told:
    """A launch of members whose launcher hears what the tests say."""

    def __init__(self, folder: Path, members: list[str]) -> None:
        self.folder = ExperimentFolder(folder / "made")
        self.attempts = Attempts(self.folder, members)
        self.monitor = Monitor.of("made", self.attempts, self.folder, members)

    def beat(self, beat: Beat) -> None:
        self.attempts.beat(beat)
        self.monitor.beat(beat)

    def value(self, name: str, **labels: str) -> float | None:
        """Of the one series with these labels; None: there is none."""
        wanted = {"experiment": "made"} | labels
        (metric,) = [each for each in METRICS if each.name == name]
        found = [
            each.value
            for each in self.monitor.samples()
            if each.name == name and dict(zip(metric.labels, each.labels, strict=True)).items() >= wanted.items()
        ]
        assert len(found) <= 1, (name, labels)
        return found[0] if found else None


def test_every_metric_is_exported_and_no_series_twice(tmp_path: Path):
    told = Told(tmp_path, ["a"])
    told.beat(beat())
    told.monitor.metrics("a", LOGGED)
    samples = list(told.monitor.samples())
    assert {each.name for each in samples} == {each.name for each in METRICS}
    assert len({(each.name, each.labels) for each in samples}) == len(samples)
    labels = {each.name: each.labels for each in METRICS}
    assert all(len(each.labels) == len(labels[each.name]) for each in samples)


def test_values_come_in_prometheus_units(tmp_path: Path):
    told = Told(tmp_path, ["a"])
    told.beat(beat())
    told.monitor.metrics("a", LOGGED)
    worker = {"member": "a", "rank": "0"}
    assert told.value("platform_steps", member="a") == 7
    assert told.value("platform_train_top1_ratio", member="a") == 0.25
    assert told.value("platform_data_wait_ratio", member="a") == 0.125
    assert told.value("platform_worker_memory_bytes", **worker) == 2e9
    assert told.value("platform_worker_gpu_memory_bytes", **worker) == 4e10
    assert told.value("platform_worker_gpu_busy_ratio", **worker) == pytest.approx(0.8)
    assert told.value("platform_worker_info", **worker, node="node0", gpu="gpu_3") == 1
    assert told.value("platform_worker_idle_seconds", **worker) == pytest.approx(4.0, abs=1.0)


def test_a_worker_that_is_not_heard_of_makes_no_progress(tmp_path: Path):
    told = Told(tmp_path, ["a"])
    told.beat(replace(beat(), at=time.time() - 300))
    assert (told.value("platform_worker_idle_seconds", member="a") or 0) > 300


def test_members_have_one_state_each(tmp_path: Path):
    told = Told(tmp_path, ["a", "b", "c", "d"])
    for name in ("a", "b", "c"):
        told.beat(beat(name))
    told.monitor.ended("a", "finished")
    told.monitor.ended("b", "failed: ShardError: train-0")
    told.monitor.ended("c", "left by asha")
    states = {
        state: told.value("platform_members", state=state) for state in ("waiting", "finished", "failed", "stopped")
    }
    assert states == {"waiting": 1, "finished": 1, "failed": 1, "stopped": 1}
    assert told.value("platform_members", state="running") == 0
    assert (told.value("platform_waiting_seconds") or 0) > 0
    told.beat(beat("d"))
    assert told.value("platform_waiting_seconds") == 0


def test_members_trained_together_hold_their_worker_once(tmp_path: Path):
    told = Told(tmp_path, ["a", "b", "c"])
    for member, team in (("a", "a"), ("b", "a"), ("c", "c")):
        told.beat(replace(beat(member), team=team))
    assert (told.value("platform_workers"), told.value("platform_gpus"), told.value("platform_cpus")) == (2, 2, 16)


def test_a_group_that_shrinks_or_ends_leaves_no_series_of_its_workers(tmp_path: Path):
    told = Told(tmp_path, ["a"])
    for rank in range(4):
        told.beat(beat(rank=rank, world=4))
    assert (told.value("platform_workers"), told.value("platform_gpus"), told.value("platform_cpus")) == (4, 4, 32)
    told.beat(beat(world=2))
    assert told.value("platform_workers") == 2
    assert told.value("platform_worker_cpus_busy", member="a", rank="3") is None
    told.monitor.workers_gone("a")
    assert told.value("platform_workers") == 0
    assert told.value("platform_steps", member="a") == 7  # its own stay


def test_series_of_a_member_that_has_ended_go_after_some_time_and_its_cost_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told = Told(tmp_path, ["a"])
    told.beat(replace(beat(), at=time.time() + 100))
    told.monitor.ended("a", "finished")
    told.monitor.metrics("a", LOGGED)  # too late
    told.monitor.turn(queued=3)
    assert told.value("platform_steps", member="a") == 7
    assert told.value("platform_train_loss", member="a") is None
    assert told.value("platform_tracking_queued_entries") == 3
    now = time.monotonic()
    monkeypatch.setattr(monitor.time, "monotonic", lambda: now + monitor.KEEP_S + 1)
    told.monitor.turn(queued=0)
    assert told.value("platform_steps", member="a") is None
    assert told.value("platform_gpu_seconds_total", member="a") is None
    assert told.value("platform_experiment_gpu_seconds_total") == pytest.approx(100, abs=1)
    assert told.value("platform_members", state="finished") == 1


def test_restarts_and_cost_go_on_from_what_earlier_launches_wrote(tmp_path: Path):
    folder = ExperimentFolder(tmp_path / "made")
    before = Attempt(0.0, 1.0, ended=3600.0, workers=2, gpus_per_worker=1, reason="the launcher died")
    write_attempts(folder.member("a").path, [before])
    write_attempts(folder.member("done").path, [replace(before, workers=1)])
    attempts = Attempts(folder, ["a"])
    told = Told(tmp_path, ["a"])
    told.attempts, told.monitor = attempts, Monitor.of("made", attempts, folder, ["a", "done"])
    told.beat(beat())
    attempts.event(GroupEvent(0, "failed", "rank 0 died", time.time()))
    told.beat(replace(beat(), started=time.time() + 1))
    assert told.value("platform_restarts_total", member="a", cause="launch") == 1
    assert told.value("platform_restarts_total", member="a", cause="failed") == 1
    assert told.value("platform_gpu_seconds_total", member="a") == pytest.approx(7200, abs=5)
    assert told.value("platform_experiment_gpu_seconds_total") == pytest.approx(7200 + 3600, abs=5)


def test_the_number_of_series_is_bounded_and_what_is_left_out_is_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(monitor, "MOST_MEMBERS", 3)
    monkeypatch.setattr(monitor, "MOST_WORKERS", 4)
    names = [f"p{number:03d}-s0" for number in range(5)]
    told = Told(tmp_path, names)
    for name in names:
        for rank in range(2):
            told.beat(beat(name, rank, world=2))
    samples = list(told.monitor.samples())
    assert {each.labels[1] for each in samples if each.name == "platform_steps"} == set(names[:3])
    assert {each.labels[1:3] for each in samples if each.name == "platform_worker_info"} == {
        (name, rank) for name in names[:2] for rank in "01"
    }
    assert told.value("platform_workers") == 10
    assert told.value("platform_series_left_out", of="members") == 2
    assert told.value("platform_series_left_out", of="workers") == 6
    assert [each.split(",")[0] for each in told.monitor.warnings] == [
        "Prometheus gets series of the first 4 workers alone",
        "Prometheus gets series of the first 3 members alone",
    ]
    for name in names[:2]:  # those that are over make room
        told.monitor.ended(name, "finished")
    now = time.monotonic()
    monkeypatch.setattr(monitor.time, "monotonic", lambda: now + monitor.KEEP_S + 1)
    told.monitor.turn(queued=0)
    assert told.value("platform_series_left_out", of="members") == 0
    assert told.value("platform_steps", member=names[4]) == 7


def test_a_question_costs_no_more_after_thousands_of_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    of = Attempts.of
    monkeypatch.setattr(Attempts, "of", lambda self, name: (asked.append(name), of(self, name))[1])
    told, costs = Told(tmp_path, []), []
    for number in range(1000):
        name = f"p{number:04d}-s0"
        told.attempts.add(name, time.time())
        told.beat(replace(beat(name), lane=number, at=time.time() + 10))
        told.attempts.end(name, "finished", time.time() + 10)
        told.monitor.ended(name, "finished")
        if number in (99, 999):
            told.attempts.add("waits", time.time() - 60)
            asked.clear()
            costs.append((len(list(told.monitor.samples())), len(asked)))
    assert costs[0] == costs[1]
    assert told.value("platform_members", state="finished") == 1000
    assert (told.value("platform_waiting_seconds") or 0) >= 60
    assert told.value("platform_experiment_cpu_seconds_total") == pytest.approx(1000 * 8 * 10, rel=0.01)
    named = {each.labels[1] for each in told.monitor.samples() if each.name == "platform_steps"}
    assert named == {f"p{number:04d}-s0" for number in range(1000 - monitor.MOST_ENDED, 1000)}
    assert told.value("platform_series_left_out", of="members") == 0


def test_members_at_work_have_series_before_those_that_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(monitor, "MOST_MEMBERS", 3)
    names = [f"m{number}" for number in range(5)]
    told = Told(tmp_path, names)
    for name in names:
        told.beat(beat(name))
        if name in names[:3]:
            told.monitor.ended(name, "finished")
    assert {each.labels[1] for each in told.monitor.samples() if each.name == "platform_steps"} == {"m2", "m3", "m4"}


def test_the_cost_of_the_whole_never_falls_and_counts_nobody_twice(tmp_path: Path):
    """Prometheus takes a counter that falls for one that has begun anew."""
    told, before = Told(tmp_path, ["a", "b"]), 0.0
    for number in range(20):  # a trial that is stopped, goes on, and ends
        for name in ("a", "b"):
            told.beat(replace(beat(name), started=100.0 + number, at=time.time() + 0.1 * number))
            if number % 2:
                told.monitor.ended(name, "stopped")
            now = told.value("platform_experiment_cpu_seconds_total") or 0.0
            assert now >= before
            before = now
    of_each = [told.attempts.of(name) for name in ("a", "b")]
    assert before == pytest.approx(sum(Cost.of(attempts).cpu_s for attempts in of_each))


def test_a_launch_has_no_more_series_than_its_limits_allow(tmp_path: Path):
    """The number that docs/monitoring.md promises."""
    told = Told(tmp_path, ["a"])
    told.beat(beat())
    told.monitor.metrics("a", LOGGED)
    samples = list(told.monitor.samples())
    of_worker = sum(each.name.startswith("platform_worker_") for each in samples)
    of_member = sum(each.labels[1:2] == ("a",) for each in samples) - of_worker
    rest = len(samples) - of_worker - of_member
    assert monitor.MOST_MEMBERS * of_member + monitor.MOST_WORKERS * of_worker + rest <= 20_000


def test_what_could_not_be_read_once_is_read_at_the_next_question(tmp_path: Path):
    """A volume that did not answer for a moment; the cost of earlier launches does not become 0 by that."""
    folder = ExperimentFolder(tmp_path / "made")
    for name in ("done", "too"):
        made = Attempt(0.0, 1.0, ended=3600.0, gpus_per_worker=1, reason="finished")
        write_attempts(folder.member(name).path, [made])
    told = Told(tmp_path, ["a"])
    told.monitor = Monitor.of("made", told.attempts, folder, ["a", "done", "too"])
    file = folder.member("too").path / FILE
    file.rename(file.with_suffix(".away"))
    file.mkdir()  # reading it is an OSError
    with pytest.raises(OSError, match="directory"):
        list(told.monitor.samples())
    file.rmdir()
    file.with_suffix(".away").rename(file)
    assert told.value("platform_experiment_gpu_seconds_total") == 7200
