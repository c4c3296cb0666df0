"""What processes of a cluster are given, and which are said not to be forked. See test_forked_actors, _nodes too."""

import json

import pytest

from platform.cluster.fork_server.client import FORKED
from platform.cluster.fork_server.preload import READ_LATER
from platform.cluster.preloaded import WITHOUT_GROUPS
from platform.cluster.ray_internals import JOB_CONFIG
from platform.cluster.runtime_env import SET_BY_RAY, Unforked, joined
from platform.config.cluster import ClusterConfig
from platform.marks import FILE as MARKS


def test_the_first_process_of_each_reason_is_told_at_once_and_the_number_in_the_end():
    said: list[str] = []
    unforked = Unforked()
    for how in (FORKED, "no room", "no room", "no room", "too old", FORKED):
        unforked.add(how, said.append)
    assert [line.split()[0] for line in said] == ["1", "1"]
    assert "no room" in said[0]
    assert "too old" in said[1]
    unforked.say_totals(said.append)
    assert said[2:] == [said[0].replace("1", "3", 1)]


@pytest.mark.parametrize("forks", [True, False])
def test_the_file_of_a_recorded_timeline_reaches_a_cluster_s_processes(
    forks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = ClusterConfig(address="10.0.0.1:6379", fork_server=forks)
    monkeypatch.delenv(JOB_CONFIG, raising=False)
    monkeypatch.delenv(MARKS, raising=False)
    usual = joined(cluster, WITHOUT_GROUPS)
    assert MARKS not in usual.get("env_vars", {})
    monkeypatch.setenv(MARKS, "/tmp/marks")
    recorded = joined(cluster, WITHOUT_GROUPS)
    assert recorded == usual | {"env_vars": usual.get("env_vars", {}) | {MARKS: "/tmp/marks"}}


def test_a_variable_of_the_submission_is_not_set_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would refuse the job."""
    name = next(iter(SET_BY_RAY))
    cluster = ClusterConfig(address="10.0.0.1:6379")
    monkeypatch.delenv(JOB_CONFIG, raising=False)
    assert name in joined(cluster, WITHOUT_GROUPS)["env_vars"]
    monkeypatch.setenv(JOB_CONFIG, json.dumps({"runtime_env": {"env_vars": {name: "1"}}}))
    assert name not in joined(cluster, WITHOUT_GROUPS)["env_vars"]


def test_a_warm_server_may_serve_a_launch_that_is_recorded() -> None:
    """No module that it has imported has read the variable."""
    assert f"{MARKS}=/tmp/marks".startswith(READ_LATER)
