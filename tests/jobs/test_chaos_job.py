"""Runs under fire, on a real cluster of two nodes whose processes are really killed, end as undisturbed ones do."""

import json

import pytest

pytestmark = pytest.mark.slow

TWO = ["job=chaos", "cluster.workers=2", "checkpoint.every_s=1", "evaluation.views=[1]"]


def test_a_run_whose_worker_node_launcher_tracker_and_storage_are_killed_ends_as_an_undisturbed_one(launch):
    status, output = launch(
        *TWO, "name=fire", "training.epochs=6", "chaos.kills=5", "chaos.targets=[worker,node,driver,tracker,storage]"
    )
    assert status == 0, output
    for line in ("weights: the same", "samples: the same", "train/loss: the same", "left behind: nothing"):
        assert line in output
    assert "the run under fire ended as the undisturbed one did" in output
    report = json.loads((launch.folder / "runs" / "fire-chaos" / "chaos.json").read_text())
    assert {each["target"] for each in report["struck"]} == {"worker", "node", "driver", "tracker", "storage"}
    assert all(each["recovered_s"] for each in report["struck"] if each["target"] in ("worker", "node", "driver"))


@pytest.mark.endurance
def test_twenty_kills(launch):
    everything = "chaos.targets=[worker,node,drain,stall,driver,tracker,storage]"
    status, output = launch(*TWO, "name=twenty", "training.epochs=30", "chaos.kills=20", everything)
    assert status == 0, output
    assert "weights: the same" in output
    assert "left behind: nothing" in output


@pytest.mark.endurance
def test_a_run_that_shrinks_and_grows_sees_the_same_samples(launch):
    words = ["cluster.workers={min:1,max:2}", "cluster.resize_check_s=5", "chaos.targets=[node,drain]", "chaos.kills=2"]
    status, output = launch(*TWO, *words, "name=elastic", "training.epochs=60", "chaos.down_s=30")
    assert status == 0, output
    assert "samples: the same" in output
    sizes = [attempt.workers for attempt in launch.attempts("elastic-chaos", "model")]
    assert {1, 2} <= set(sizes)


def test_more_strikes_than_steps_is_said_before_anything_runs(launch):
    status, output = launch(*TWO, "name=short", "training.epochs=0.1", "chaos.kills=50")
    assert status == 2
    assert "chaos.kills is 50, more than 5 steps have room for" in output
