"""`bench.parts=[scale]`, small: each row has its costs and how they grow."""

import json
from pathlib import Path

import pytest

from platform.bench import scale_copies, scale_index, scale_launcher
from platform.bench.growth import exponent
from platform.bench.simulated import Launcher, Simulation
from platform.config.checks import ConfigError
from platform.config.scale import ScaleConfig
from platform.config.tracking import TrackingConfig
from platform.experiment.goodput import UNDER_WAY
from platform.tracking.delivery import gather_s
from tests.counting import operations_of


def test_growth_is_the_power_of_the_size():
    assert exponent({10: 3.0, 100: 3.0, 1000: 3.0}) == pytest.approx(0)
    assert exponent({10: 2.0, 100: 20.0, 1000: 200.0}) == pytest.approx(1)
    assert exponent({10: 5.0, 100: 500.0}) == pytest.approx(2)
    assert exponent({10: 0.0, 100: 0.0}) == 0


@pytest.mark.parametrize("sizes", [[], [10], [10, 10], [20, 10], [0, 10]])
def test_sizes_without_a_growth_are_refused(sizes: list[int]):
    with pytest.raises(ConfigError, match=r"bench\.scale\.shards is .*; give two rising sizes"):
        ScaleConfig(shards=sizes)


@pytest.mark.slow
def test_rows_are_measured_at_the_sizes_asked_for(launch, tmp_path: Path):
    out = tmp_path / "figures.json"
    status, output = launch.here(
        "job=bench",
        "bench.parts=[scale]",
        "bench.scale.rows=[index,copies,trials,probabilities]",
        "bench.scale.shards=[16,64]",
        "bench.scale.checkpoints=[10,40]",
        "bench.scale.trials=[10,20]",
        "bench.scale.images=[8,16]",
        f"bench.json={out}",
    )
    assert status == 0, output
    figures = json.loads(out.read_text())
    assert {"scale.index.read_cpu_s.16", "scale.index.worker_mb.64", "scale.index.first_batch_requests.growth"} <= (
        figures.keys()
    )
    assert {"scale.copies.requests_each.10", "scale.copies.waiting.growth"} <= figures.keys()
    assert {"scale.trials.trial_cpu_ms.20", "scale.trials.report_cpu_s.growth"} <= figures.keys()
    assert figures["scale.trials.trial_bytes.growth"] < 0.05
    assert {"scale.probabilities.all.peak_mb.16", "scale.probabilities.means.again_cpu_ms.growth"} <= figures.keys()
    assert figures["scale.probabilities.all.kb.16"] > 30 * figures["scale.probabilities.means.kb.16"]


def test_a_first_batch_takes_as_many_requests_of_many_shards_as_of_few():
    """At 50 ms each, and four at a time, they take less than a second."""
    (few, _), (many, _) = scale_index.first_batch(20), scale_index.first_batch(400)
    assert max(few, many) <= 12  # the shards of two blocks of one stream, a request each; none for the index


@pytest.mark.parametrize("count", [10, 100])
def test_one_copy_waits_and_each_costs_the_same_however_many_checkpoints_there_were(count: int, tmp_path: Path):
    each, waiting, kept = scale_copies.copied(count, tmp_path)
    assert waiting == 1
    assert each <= 2 + 2 * kept  # two listings at most, and what is written and removed
    assert kept <= 2


@pytest.mark.long
def test_the_launcher_keeps_no_more_the_longer_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Objects in its memory after simulated hours: of messages, beats, metrics, members that have ended."""
    monkeypatch.setattr(scale_launcher, "MEMBER_S", 50)
    scale_launcher.objects_kept(tmp_path / "first", 160)  # what is imported and cached once
    few, many = (scale_launcher.objects_kept(tmp_path / str(seconds), seconds) for seconds in (200, 800))
    assert many - few < 300  # of 600 messages and 1,200 beats


@pytest.mark.slow
def test_seconds_of_a_week_are_played_in_which_every_member_begins_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ended: list[str] = []
    take = scale_launcher.Simulation.second

    def watched(self: Simulation, launcher: Launcher) -> None:
        take(self, launcher)
        ended[:] = [name for name in self.names if (of := launcher.attempts.of(name)) and of[-1].reason != UNDER_WAY]

    monkeypatch.setattr(scale_launcher.Simulation, "second", watched)
    message_us, megabytes = scale_launcher.over_a_week(tmp_path / "week", workers=16, looks=80)
    assert list(message_us) == list(megabytes) == [(10 + 17 * part) * 18 for part in (1, 2, 3, 4)]
    assert min(message_us.values()) > 0
    assert len(ended) == 4  # of six: the last two are in the eightieth look, which is beyond the parts


@pytest.mark.slow
@pytest.mark.parametrize("workers", [8, 32])
def test_a_poll_looks_at_each_worker_a_bounded_number_of_times(workers: int, tmp_path: Path):
    simulation = Simulation(tmp_path, workers, 10_000, TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db"))
    with simulation.launcher() as launcher:
        for _ in range(3):
            simulation.second(launcher)
        operations = operations_of(lambda: simulation.second(launcher))
    assert operations / workers < 8000


@pytest.mark.parametrize(("runs", "least_s"), [(1, 0.2), (64, 3.2), (200, 10.0)])
def test_mlflow_gets_at_most_twenty_requests_a_second(runs: int, least_s: float):
    assert gather_s(runs) == pytest.approx(least_s)
