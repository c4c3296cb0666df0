"""Workers that share nodes and GPUs, and members that share workers' nodes: what each run in MLflow is told."""

from dataclasses import replace

import pytest

from platform.lanes.mailbox import Beat
from platform.lanes.system_series import MOST_NODES, MOST_WORKERS, SystemSeries
from platform.lanes.usage import Usage
from platform.tracking.points import MOST, is_kept

NOW = 10_000.0


def usage(number: int = 1, *, gpu: int | None = None, received: tuple[float, float] = (100.0, 130.0)) -> Usage:
    return Usage(
        number,
        10.0,
        node={"cpu_utilization_percentage": 50.0, "cpus": 8.0, "system_memory_usage_megabytes": 1000.0},
        counters={"network_receive_megabytes": received},
        process={"process_cpus_busy": 1.5, "process_memory_megabytes": 200.0},
        gpu={} if gpu is None else {"utilization_percentage": 80.0, "memory_usage_megabytes": 5000.0},
        gpu_name="" if gpu is None else f"gpu_{gpu}",
    )


def beat(
    rank: int = 0, world: int = 1, *, member: str = "a", node: str = "n0", at: float = NOW, usage: Usage | None = None
) -> Beat:
    return Beat(member, 0, rank, world, node, node, 1, 1.0, at, 0, 5, 2.0, "computing", 0.0, usage=usage)


def test_one_worker_has_the_names_that_mlflow_gives_them() -> None:
    series = SystemSeries()
    measured = beat(usage=usage(gpu=3))
    assert series.take(beat()) == {}  # its first beat: nothing is measured yet
    assert series.take(measured) == {
        "system/cpu_utilization_percentage": 50.0,
        "system/system_memory_usage_megabytes": 1000.0,
        "system/network_receive_megabytes": 30.0,
        "system/process_cpus_busy": 1.5,
        "system/process_memory_megabytes": 200.0,
        "system/gpu_3_utilization_percentage": 80.0,
        "system/gpu_3_memory_usage_megabytes": 5000.0,
    }
    assert series.take(replace(measured, at=NOW + 1)) == {}  # each beat has the newest measurement
    assert series.take(replace(measured, usage=usage(2)))


def test_workers_on_several_nodes_have_their_rank_and_each_node_its_own_metrics() -> None:
    series = SystemSeries()
    assert series.take(beat(0, 3, usage=usage(gpu=0))) == {}  # where the others are is not known yet
    assert series.take(beat(1, 3, usage=usage(gpu=1))) == {}
    third = series.take(beat(2, 3, node="n1", usage=usage(gpu=0)))
    second, first = (series.take(beat(rank, 3, usage=usage(gpu=rank))) for rank in (1, 0))
    assert set(third) == {
        "system/node_1/cpu_utilization_percentage",
        "system/node_1/system_memory_usage_megabytes",
        "system/node_1/network_receive_megabytes",
        "system/node_1/worker_2_process_cpus_busy",
        "system/node_1/worker_2_process_memory_megabytes",
        "system/node_1/gpu_0_utilization_percentage",
        "system/node_1/gpu_0_memory_usage_megabytes",
    }
    assert set(second) == {
        "system/node_0/worker_1_process_cpus_busy",
        "system/node_0/worker_1_process_memory_megabytes",
        "system/node_0/gpu_1_utilization_percentage",
        "system/node_0/gpu_1_memory_usage_megabytes",
    }
    assert first["system/node_0/cpu_utilization_percentage"] == 50.0
    assert (first["system/workers"], first["system/nodes"], first["system/gpus_busy"]) == (3.0, 2.0, pytest.approx(2.4))


def test_a_node_is_told_of_by_another_worker_while_the_first_cannot_measure() -> None:
    series = SystemSeries()
    series.take(beat(0, 2))
    assert "system/cpu_utilization_percentage" in series.take(beat(1, 2, usage=usage()))


def test_what_members_share_is_summed_once() -> None:
    series = SystemSeries()
    for member, rank, node, gpu in [("a", 0, "n0", 0), ("a", 1, "n1", 0), ("b", 0, "n0", 1), ("c", 0, "n0", 1)]:
        world = 2 if member == "a" else 1
        series.take(beat(rank, world, member=member, node=node, usage=usage(gpu=gpu)))
    assert series.sums(NOW + 1) == {
        "system/workers": 4.0,
        "system/workers_cpus_busy": 6.0,
        "system/workers_memory_megabytes": 800.0,
        "system/nodes": 2.0,
        "system/nodes_cpus_busy": 8.0,
        "system/nodes_memory_megabytes": 2000.0,
        "system/nodes_network_receive_megabytes": 60.0,
        "system/gpus": 3.0,
        "system/gpus_busy": pytest.approx(2.4),
        "system/gpus_memory_megabytes": 15000.0,
    }
    assert series.sums(NOW + 5) == {}  # nothing is new


def test_traffic_counts_from_the_first_member_of_a_node_on_and_stays_when_it_ends() -> None:
    series = SystemSeries()
    series.take(beat(usage=usage(1, received=(100.0, 120.0))))
    series.forget("a")
    found = series.take(beat(member="b", usage=usage(1, received=(150.0, 160.0))))
    assert found["system/network_receive_megabytes"] == 10.0  # since this member began
    assert series.sums(NOW)["system/nodes_network_receive_megabytes"] == 60.0
    series.take(beat(member="b", node="n1", usage=usage(2, received=(0.0, 5.0))))
    assert series.sums(NOW + 20)["system/nodes_network_receive_megabytes"] == 65.0


@pytest.mark.parametrize("how", ["ended", "silent", "hangs"])
def test_who_has_ended_or_is_not_heard_of_uses_nothing(how: str) -> None:
    series = SystemSeries()
    for member in ("a", "b"):
        series.take(beat(member=member, usage=usage()))
    if how == "ended":
        series.forget("b")
    if how == "hangs":  # whoever measures, while the heart beats
        series.take(beat(member="b", at=NOW + 100, usage=usage()))
    series.take(beat(at=NOW + 100, usage=usage(2)))
    assert series.sums(NOW + 100)["system/workers"] == 1.0


def test_what_could_not_be_measured_is_said_once_and_is_no_zero() -> None:
    series = SystemSeries()
    failure = "measuring the GPU failed (NVMLError: gone)"
    for member in ("a", "b"):
        for rank in (0, 1):
            broken = replace(usage(), process={}, failures=(failure,))
            found = series.take(beat(rank, 2, member=member, usage=broken))
    assert series.warnings == [f"a: rank 0 on n0: {failure}; the rest goes on"]
    assert not [name for name in found | series.sums(NOW) if "process" in name or "workers_" in name]


def test_of_hundreds_of_workers_the_first_have_metrics_and_all_are_in_the_sums() -> None:
    series, world = SystemSeries(), 256
    found: dict[str, float] = {}
    for number in (1, 2):
        for rank in range(world):
            found |= series.take(beat(rank, world, node=f"n{rank // 8}", usage=usage(number, gpu=rank % 8)))
    assert (found["system/workers"], found["system/gpus"], found["system/nodes"]) == (256.0, 256.0, 32.0)
    assert len([name for name in found if name.endswith("_process_cpus_busy")]) == MOST_WORKERS
    assert len([name for name in found if name.endswith("/cpu_utilization_percentage")]) == MOST_NODES
    assert len(found) < 100
    assert len(series.warnings) == 1
    assert "256 workers on 32 nodes" in series.warnings[0]


def test_eight_workers_for_ten_thousand_measurements_are_some_ten_thousand_points() -> None:
    series, names = SystemSeries(), set[str]()
    for number in (1, 2):
        for rank in range(8):
            names |= set(series.take(beat(rank, 8, usage=usage(number, gpu=rank))))
    assert len(names) == 3 + 8 * 4 + 6
    newest, kept = None, 0
    for number in range(10_000):
        place = 10 * number
        if is_kept("system/workers", 8.0, place, newest, None):
            newest, kept = place, kept + 1
    assert 300 < kept < MOST
    assert kept * len(names) < 45 * MOST


def test_members_trained_together_count_their_process_once() -> None:
    series = SystemSeries()
    for member in "ab":
        series.take(replace(beat(member=member), team="a"))
        found = series.take(replace(beat(member=member, usage=usage(gpu=0)), team="a"))
        assert found["system/process_cpus_busy"] == 1.5  # each member's run has what its process uses
    sums = series.sums(NOW)
    assert (sums["system/workers"], sums["system/workers_cpus_busy"], sums["system/gpus"]) == (1.0, 1.5, 1.0)
