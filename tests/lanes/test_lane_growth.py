"""Lanes of a cluster that has become larger; the rest of it is in tests/jobs/test_growing_lanes.py, with nodes."""

from concurrent.futures import Future

from platform.cluster.resources import Resources
from platform.config.cluster import ClusterConfig
from platform.lanes.launcher import Lanes


def test_no_lane_starts_when_all_have_ended():
    """Members are left where lanes have ended early: with an error, which the command ends with."""
    ended: Future[None] = Future()
    ended.set_exception(RuntimeError("no such module"))
    lanes = Lanes.__new__(Lanes)
    lanes._cluster, lanes._gpus, lanes._room = ClusterConfig(gpus_per_worker=0), 0, 1
    lanes._costs, lanes.futures, lanes.mailbox = {"a": 1.0}, [ended], None
    assert lanes.grow(Resources(nodes=3, cpus=64, gpus=0)) == 0
