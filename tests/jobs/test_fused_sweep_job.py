"""A sweep whose trials are trained together, through the real command line: stopped early, killed, interrupted."""

import os
import re
import signal

import pytest

from platform.data import samplelog
from platform.sweep.trial_store import DIVERGED, FINISHED, STOPPED
from tests.jobs.conftest import Runner
from tests.jobs.test_sweep_job import CPUS, EPOCH, Sweep, nothing_is_left
from tests.jobs.test_train_job import _wait

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]
ONE_WORKER = ["cluster.lanes=1", "cluster.cpus_per_worker=1", "checkpoint.every_s=0.3"]


def curves_are_alike(one: Sweep, other: Sweep, name: str) -> None:
    """Their first losses but for rounding, and from there as far as both have come. Trainings that are too short for
    rounding to grow are in tests/lanes/test_shared_worker.py."""
    losses = [
        next(metrics["train/loss"] for _, metrics, _ in sweep.member(name).metrics.read() if "train/loss" in metrics)
        for sweep in (one, other)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3), name
    pairs = list(zip(one.top1(name), other.top1(name), strict=False))
    assert pairs
    assert all(left == pytest.approx(right, abs=0.1) for left, right in pairs), (name, pairs)


def test_trials_together_are_stopped_and_diverge_one_by_one_and_learn_as_apart(launch: Runner):
    """The absurd rate diverges at its first step; after one epoch it is chance which are stopped, if any."""
    space = "+sweep.space={optim.lr:[0.04,0.02,1e30,0.0001,0.00005]}"
    words = [space, "training.epochs=2", *ONE_WORKER]
    asha = ["sweep.scheduler=asha", "sweep.reduction=2", "sweep.grace_epochs=1"]
    sweep = Sweep(launch, "together", *words, *asha, "cluster.fuse=4")
    process = sweep.start()
    shared = _wait(lambda: [pids for pids in _trials_of(sweep).values() if len(pids) > 2], process)
    assert shared
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert "5 of 5 trials to run, 4 side by side" in output
    together = re.search(r"([\d,]+) steps of trials were made together", output)
    assert together
    assert int(together[1].replace(",", "")) > 3 * EPOCH
    states = sweep.states()
    assert states["p002-s0"] == DIVERGED
    assert set(states.values()) <= {DIVERGED, STOPPED, FINISHED}
    assert FINISHED in states.values()
    assert len(sweep.attempts("p000-s0")) == 1
    assert sweep.attempts("p000-s0")[0].others_s > 0
    nothing_is_left(process)
    _, runs = sweep.runs()
    assert {name: run.info.status for name, run in runs.items()} == {
        name: "FAILED" if name == "p002-s0" else "FINISHED" for name in states
    }
    assert sweep.history(runs["p000-s0"], "val/top1") == [EPOCH * (n + 1) for n in range(len(sweep.top1("p000-s0")))]

    apart = Sweep(launch, "apart", *words)
    output = apart.run()
    assert "made together" not in output
    for name in states.keys() - {"p002-s0"}:
        curves_are_alike(sweep, apart, name)


def test_trials_together_survive_their_process_and_an_interruption(launch: Runner):
    words = ["+sweep.space={optim.lr:[0.04,0.02,0.01]}", "training.epochs=3", "loader.log_samples=true", *ONE_WORKER]
    sweep = Sweep(launch, "killed", *words, "cluster.fuse=2")
    process = sweep.start()
    saved = _wait(lambda: sweep.saved() if len(sweep.saved()) == 2 and len(_trials_of(sweep)) == 1 else None, process)
    (pid,) = _trials_of(sweep)
    os.kill(pid, signal.SIGKILL)
    _wait(lambda: set(_trials_of(sweep)) - {pid}, process)
    _wait(lambda: any(step > 2 * EPOCH for step in sweep.saved().values()), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    nothing_is_left(process)
    assert "shared worker 0: rank 0 died; another one is started" in output
    for name, reached in saved.items():
        first, second = sweep.attempts(name)[:2]
        assert first.reason == "its process ended"
        assert second.from_step >= reached > 0
        assert f"{name}: its process ended; starting again from the newest checkpoint" in output

    sweep.run()
    assert set(sweep.states().values()) == {FINISHED}
    undisturbed = Sweep(launch, "undisturbed", *words, "cluster.fuse=3")
    undisturbed.run()
    for name in sweep.states():
        assert samplelog.read(sweep.member(name).path) == samplelog.read(undisturbed.member(name).path)
        assert len(samplelog.read(sweep.member(name).path)) == 3 * EPOCH
        curves_are_alike(sweep, undisturbed, name)


def _trials_of(sweep: Sweep) -> dict[int, set[str]]:
    """Process -> the trials in it."""
    found: dict[int, set[str]] = {}
    for name, workers in sweep.workers().items():
        for worker in workers:
            found.setdefault(worker["pid"], set()).add(name)
    return found


@pytest.mark.parametrize(
    ("scheduler", "rates"), [("pbt", "[0.04,0.0001]"), ("hyperband", "[0.04,0.03,0.02,0.01,0.0001,0.00005]")]
)
def test_trials_that_are_paused_give_their_places_back(launch: Runner, scheduler: str, rates: str):
    """Of PBT all have one; of hyperband those that wait for the others of their bracket have none."""
    words = [f"sweep.scheduler={scheduler}", f"+sweep.space={{optim.lr:{rates}}}", "checkpoint.every_s=0.3"]
    one_worker = ["sweep.reduction=2", f"cluster.cpus_per_worker={CPUS}", "cluster.fuse=2"]
    sweep = Sweep(launch, scheduler, *words, *one_worker, "training.epochs=3")
    output = sweep.run()
    together = re.search(r"([\d,]+) steps of trials were made together", output)
    assert together
    assert int(together[1].replace(",", "")) > EPOCH
    states = sweep.states()
    assert set(states.values()) <= {FINISHED, STOPPED}
    assert FINISHED in states.values()
    for name, state in states.items():
        assert len(sweep.top1(name)) == 3 or state == STOPPED
        if scheduler == "pbt":
            assert state == FINISHED
    _, runs = sweep.runs()
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
