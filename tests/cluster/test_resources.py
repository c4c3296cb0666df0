"""Lanes: how many fit, and who goes where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform.cluster.resources import (
    Resources,
    cpus_here,
    deal,
    gpus_here,
    gpus_per_worker,
    lane_count,
    more_lanes,
    require_fit_here,
)
from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig

TWO_TO_EIGHT = {"min": 2, "max": 8}


@pytest.mark.parametrize(
    ("cluster", "resources", "members", "lanes"),
    [
        (ClusterConfig(), Resources(1, 2, 0), 7, 2),
        (ClusterConfig(), Resources(1, 64, 0), 7, 7),
        (ClusterConfig(workers=2), Resources(2, 8, 0), 7, 4),
        (ClusterConfig(lanes=1), Resources(1, 8, 0), 7, 1),
        (ClusterConfig(autoscaled=True, gpus_per_worker=1), Resources(2, 1, 0), 7, 7),  # the others come
        (ClusterConfig(autoscaled=True, gpus_per_worker=1, lanes=3), Resources(2, 1, 0), 7, 3),
        (ClusterConfig(), Resources(1, 64, 2), 7, 2),  # GPUs decide where there are any
        (ClusterConfig(workers=8, cpus_per_worker=8), Resources(8, 512, 64), 7, 7),
        (ClusterConfig(gpus_per_worker=0), Resources(1, 64, 2), 7, 7),
        (ClusterConfig(workers=TWO_TO_EIGHT), Resources(1, 16, 0), 7, 2),
        (ClusterConfig(workers=TWO_TO_EIGHT), Resources(1, 7, 0), 7, 1),  # a second group would wait for the first
        (ClusterConfig(workers=TWO_TO_EIGHT), Resources(1, 64, 2), 7, 1),
        (ClusterConfig(workers=TWO_TO_EIGHT, lanes=1), Resources(1, 16, 0), 7, 1),
    ],
)
def test_lanes_that_fit(cluster: ClusterConfig, resources: Resources, members: int, lanes: int):
    assert lane_count(cluster, resources, members) == lanes


@pytest.mark.parametrize(
    ("cluster", "resources", "running", "waiting", "more"),
    [
        (ClusterConfig(), Resources(2, 4, 0), 1, 6, 3),
        (ClusterConfig(), Resources(2, 4, 0), 1, 2, 2),  # as many as there are members for
        (ClusterConfig(), Resources(2, 4, 0), 4, 6, 0),
        (ClusterConfig(), Resources(2, 4, 0), 1, -1, 0),  # the one that is beginning takes the last
        (ClusterConfig(lanes=2), Resources(2, 4, 0), 1, 6, 1),
        (ClusterConfig(workers=2, gpus_per_worker=1), Resources(2, 64, 4), 1, 6, 1),
        (ClusterConfig(workers=8), Resources(2, 4, 0), 1, 6, 0),  # nodes have gone: nothing is said of it here
        (ClusterConfig(workers=TWO_TO_EIGHT), Resources(2, 8, 0), 1, 6, 0),  # the one there is takes them
        (ClusterConfig(workers=TWO_TO_EIGHT), Resources(2, 16, 0), 1, 6, 1),
    ],
)
def test_lanes_of_nodes_that_come_later(
    cluster: ClusterConfig, resources: Resources, running: int, waiting: int, more: int
):
    assert more_lanes(cluster, resources, running, waiting) == more


def test_what_does_not_fit_says_so():
    with pytest.raises(ConfigError, match=r"4 worker\(s\) of 1 CPU\(s\) and 0 GPU\(s\) do not fit into 2 CPU\(s\)"):
        lane_count(ClusterConfig(workers=4), Resources(1, 2, 0), 7)
    with pytest.raises(ConfigError, match=r"2 worker\(s\) of 1 CPU\(s\) and 0 GPU\(s\) do not fit into 1 CPU\(s\)"):
        lane_count(ClusterConfig(workers=TWO_TO_EIGHT), Resources(1, 1, 0), 7)


def test_a_gpu_for_each_of_the_fewest_workers_is_enough():
    assert gpus_per_worker(ClusterConfig(workers=TWO_TO_EIGHT), Resources(1, 8, 2)) == 1
    with pytest.raises(ConfigError, match=r"cluster\.workers is 2 to 8, the cluster has 1 GPU\(s\); lower it"):
        gpus_per_worker(ClusterConfig(workers=TWO_TO_EIGHT), Resources(1, 8, 1))


@pytest.mark.slow
@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=20), st.integers(1, 8))
def test_every_member_is_dealt_once_and_lanes_are_balanced(costs: list[float], lanes: int):
    by_name = {str(i): cost for i, cost in enumerate(costs)}
    dealt = deal(by_name, lanes)
    assert sorted(name for lane in dealt for name in lane) == sorted(by_name)
    loads = [sum(by_name[name] for name in lane) for lane in dealt]
    assert max(loads) - min(loads) <= max(costs) + 1e-9


def test_workers_that_this_machine_has_no_place_for_are_refused_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus_here() == 0
    with pytest.raises(ConfigError, match=r"1 worker\(s\) of 1 CPU\(s\) and 1 GPU\(s\) do not fit into"):
        require_fit_here(ClusterConfig(gpus_per_worker=1))
    with pytest.raises(ConfigError, match="do not fit into"):
        require_fit_here(ClusterConfig(cpus_per_worker=cpus_here() + 1))
    require_fit_here(ClusterConfig())
