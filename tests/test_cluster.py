"""Lanes: how many fit, and who goes where. The mailbox: what it holds, by whose clock, and for how long."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import platform.cluster as cluster
from platform.cluster import (
    Beat,
    Failure,
    GroupEvent,
    Mailbox,
    Message,
    Resources,
    cause_of,
    deal,
    gpus_per_worker,
    lane_count,
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


def test_what_does_not_fit_says_so():
    with pytest.raises(ConfigError, match="4 workers of 1 CPUs and 0 GPUs do not fit into 2 CPUs"):
        lane_count(ClusterConfig(workers=4), Resources(1, 2, 0), 7)
    with pytest.raises(ConfigError, match="2 workers of 1 CPUs and 0 GPUs do not fit into 1 CPUs"):
        lane_count(ClusterConfig(workers=TWO_TO_EIGHT), Resources(1, 1, 0), 7)


def test_a_gpu_for_each_of_the_fewest_workers_is_enough():
    assert gpus_per_worker(ClusterConfig(workers=TWO_TO_EIGHT), Resources(1, 8, 2)) == 1
    with pytest.raises(ConfigError, match=r"cluster\.workers is 2 to 8, the cluster has 1 GPU\(s\); lower it"):
        gpus_per_worker(ClusterConfig(workers=TWO_TO_EIGHT), Resources(1, 8, 1))


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=20), st.integers(1, 8))
def test_every_member_is_dealt_once_and_lanes_are_balanced(costs: list[float], lanes: int):
    by_name = {str(i): cost for i, cost in enumerate(costs)}
    dealt = deal(by_name, lanes)
    assert sorted(name for lane in dealt for name in lane) == sorted(by_name)
    loads = [sum(by_name[name] for name in lane) for lane in dealt]
    assert max(loads) - min(loads) <= max(costs) + 1e-9


def beat(started: float, at: float, rank: int = 0, **changes: Any) -> Beat:
    return replace(Beat("m", 0, rank, 2, "node", "id", 1, started, at, 0, 3, started + 5, "computing", 0.5), **changes)


def test_an_answer_that_is_lost_costs_no_message_and_no_beat() -> None:
    mailbox = Mailbox()
    mailbox.put(Message("m", "metrics", 1))
    mailbox.beat(beat(10, 20))
    mailbox.drain(0)  # nobody got this answer
    mailbox.put(Message("m", "ended"))
    number, messages, beats = mailbox.drain(0)
    assert [message.kind for message in messages if isinstance(message, Message)] == ["metrics", "ended"]
    assert [each.rank for each in beats] == [0]
    mailbox.beat(beat(10, 21, rank=1))
    number, messages, beats = mailbox.drain(number)
    assert (messages, [each.rank for each in beats]) == ([], [1])
    assert mailbox.drain(number)[1:] == ([], [])


def test_times_are_the_launchers_whatever_the_clocks_of_workers_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose clock is an hour behind, and another start of it an hour ahead."""
    mailbox, now = Mailbox(), [10_000.0]
    monkeypatch.setattr(cluster.time, "time", lambda: now[0])
    mailbox.beat(beat(6390, 6400, first_step_at=0.0))
    now[0] += 2.5
    mailbox.beat(beat(6390, 6402))  # on its way for half a second: the start stays where it was
    mailbox.put(Message("m", "ended", time=6402))
    mailbox.put(GroupEvent(0, "failed", "died"))
    _, messages, (heard,) = mailbox.drain(0)
    assert (heard.started, heard.first_step_at, heard.at, heard.moved_at) == (9990, 9995, 10_002.5, 10_002)
    assert [message.time for message in messages] == [10_002.5, 10_002.5]
    mailbox.beat(beat(13_600, 13_602.5))
    assert mailbox.drain(0)[2][0].started == 10_000


def test_the_cause_is_what_is_final_then_what_no_peer_caused() -> None:
    peer, own, final = (Failure("m", rank, "", final=rank == 2, of_a_peer=rank == 0) for rank in range(3))
    assert cause_of([peer, own]) == own
    assert cause_of([peer, own, final]) == final
    assert cause_of([peer]) == peer
