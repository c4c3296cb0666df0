"""An ensemble whose members are trained together, on a local Ray: killed, interrupted, gone on with one by one."""

import json
import os
import signal

import pytest

from tests.jobs.test_train_job import _wait

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
MEMBERS = (
    "+ensemble.members={one:['order_seed=1'],two:['order_seed=2','sampling=photometric'],wide:['model.width=0.3']}"
)
WORDS = ["job=ensemble", "name=fused", MEMBERS, "training.epochs=3", "evaluation.views=[1]", "cluster.lanes=1"]


def test_members_trained_together_survive_their_process_and_go_on_by_themselves(launch):
    words = [*WORDS, "checkpoint.every_s=2", "ensemble.shared_order=true"]
    process = launch.start(*words, "cluster.fuse=2")
    (pid,) = _wait(lambda: _processes(launch, step=20), process)
    os.kill(pid, signal.SIGKILL)
    (other,) = _wait(lambda: _processes(launch, step=60), process)
    assert other != pid
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert "trained together, each within rounding as by itself: one, two" in output
    assert "one, two: rank 0 died; starting again from the newest checkpoint" in output

    status, output = launch(*words)  # each by itself
    assert status == 0, output
    assert "trained together" not in output
    runs = launch.runs("fused")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for name in ("one", "two"):
        first, second, third = launch.attempts("fused", name)
        assert (first.reason, third.reason) == ("rank 0 died", "finished")
        assert 0 < second.from_step <= first.reached
        assert second.others_s == pytest.approx((second.ended - second.began) / 2, rel=0.1)
        assert third.from_step >= second.from_step
        assert third.others_s == 0
        assert runs[name].data.metrics["goodput_attempts"] == 3
    assert launch.attempts("fused", "wide")[-1].from_step == 0


def _processes(launch, step: int) -> set[int]:
    """Those in which both members have come so far."""
    try:
        live = json.loads((launch.folder / "runs" / "fused" / "live.json").read_text())
    except (FileNotFoundError, ValueError):
        return set()
    there = {each["member"]: each["pid"] for each in live if each["step"] >= step}
    return set(there.values()) if there.keys() >= {"one", "two"} else set()


def test_members_trained_together_are_finished_in_one_go_and_nothing_is_done_twice(launch):
    words = [*WORDS, "training.epochs=1", "cluster.fuse=2"]
    status, output = launch(*words)
    assert status == 0, output
    written = {name: launch.member("fused", name).weights.stat().st_mtime_ns for name in ("one", "two", "wide")}
    (one,), (two,) = (launch.attempts("fused", name) for name in ("one", "two"))
    together_s = max(one.ended, two.ended) - min(one.began, two.began)
    counted_s = sum(each.ended - each.began - each.others_s for each in (one, two))
    assert counted_s == pytest.approx(together_s, rel=0.02)
    status, output = launch.here(*words)
    assert status == 0
    assert "nothing to train" in output
    assert written == {name: launch.member("fused", name).weights.stat().st_mtime_ns for name in written}
