"""Whole sweeps through the real command line: searched, stopped early, killed and gone on with. Real Ray, real MLflow.

A network of a tenth of GoogLeNet's width learns the digits in three epochs with the good rate here, and nothing with
the bad one. Trials take the processors in halves or as a whole, so that as many run side by side on any machine.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from platform.chaos import session
from platform.data import samplelog
from platform.experiment.folder import ExperimentFolder
from platform.export.description import Description
from platform.sweep.trial_store import DIVERGED, FINISHED, OVER, STOPPED, WAITING, Trial, TrialStore
from platform.tracking.tracker import mlflow_ids
from platform.training import learning_curve
from platform.training.checkpoints import newest_step
from platform.tune.results import STOPPED_EARLY
from tests.jobs.conftest import Runner
from tests.jobs.test_train_job import _wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
GOOD, BAD = 0.04, 0.0001
CPUS = len(os.sched_getaffinity(0))
TWO_BESIDE, ONE_BY_ONE = (f"cluster.cpus_per_worker={cpus}" for cpus in (max(1, CPUS // 2), CPUS))
OVERRIDES = ["job=sweep", "model.width=0.1", "evaluation.views=[1]", "optim.clip_norm=1", "schedule.warmup_epochs=0.5"]
ASHA = ["sweep.scheduler=asha", "sweep.reduction=2", "sweep.grace_epochs=2", "training.epochs=3", TWO_BESIDE]
EPOCH = 44  # steps


class Sweep:
    """A sweep that is launched again and again by the same command."""

    def __init__(self, launch: Runner, name: str, *overrides: str) -> None:
        self._launch, self._overrides = launch, [*OVERRIDES, f"name={name}", *overrides]
        self.name, self.folder = name, launch.folder / "runs" / name

    def add(self, override: str) -> None:
        self._overrides.append(override)

    def start(self) -> subprocess.Popen[str]:
        return self._launch.start(*self._overrides)

    def run(self, status: int = 0) -> str:
        """Launch it to its end; what it said."""
        found, output = self._launch(*self._overrides)
        assert found == status, output
        return output

    def trials(self) -> dict[str, Trial]:
        return {trial.name: trial for trial in TrialStore.read(self.folder).trials}

    def states(self) -> dict[str, str]:
        return {name: trial.state for name, trial in self.trials().items()}

    def member(self, name: str):
        return self._launch.member(self.name, name)

    def attempts(self, name: str):
        return self._launch.attempts(self.name, name)

    def saved(self, *, state: str = WAITING) -> dict[str, int]:
        """The trials of that state that have a checkpoint, and the step of the newest."""
        steps = {
            name: newest_step(self.member(name).checkpoints) for name, found in self.states().items() if found == state
        }
        return {name: step for name, step in steps.items() if step > 0}

    def workers(self) -> dict[str, list[dict[str, int]]]:
        """The processes of each trial, as the launcher has heard of them lately."""
        try:
            found = json.loads((self.folder / "live.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {each["member"]: [other for other in found if other["member"] == each["member"]] for each in found}

    def top1(self, name: str) -> list[float]:
        """After each epoch."""
        return [evaluation.top1 for evaluation in learning_curve.read(self.member(name).path)]

    def runs(self) -> tuple[Run, dict[str, Run]]:
        """MLflow's run of the sweep, and those of the trials by name: exactly these are there."""
        client = MlflowClient(self._launch.uri)
        record = ExperimentFolder(self.folder).record()
        ids = mlflow_ids(self.folder / "tracking.jsonl")
        assert record.parent_run
        parent = client.get_run(ids[record.parent_run])
        runs = {name: client.get_run(ids[key]) for name, key in record.member_runs.items()}
        experiment = parent.info.experiment_id
        known = {run.info.run_id for run in client.search_runs([experiment]) if _belongs(run, parent)}
        assert known == {parent.info.run_id, *(run.info.run_id for run in runs.values())}
        assert all(name == run.info.run_name for name, run in runs.items())
        return parent, runs

    def history(self, run: Run, key: str) -> list[int]:
        """The steps of a metric's points."""
        return [point.step for point in MlflowClient(self._launch.uri).get_metric_history(run.info.run_id, key)]

    def artifacts(self, run: Run, folder: str) -> set[str]:
        found = MlflowClient(self._launch.uri).list_artifacts(run.info.run_id, folder)
        return {Path(file.path).name for file in found}


def _belongs(run: Run, parent: Run) -> bool:
    return parent.info.run_id in (run.info.run_id, run.data.tags.get("mlflow.parentRunId"))


def nothing_is_left(process: subprocess.Popen[str], within_s: float = 30) -> None:
    end = time.monotonic() + within_s
    while (left := session.living(process.pid)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left, [each.cmdline() for each in left]


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    nothing_is_left(process)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.long
def test_a_sweep_stops_bad_trials_and_goes_on_after_a_kill_and_ctrl_c(launch: Runner):
    """The good rate comes first in the grid, so that the others have something to be compared with."""
    space = f"+sweep.space={{optim.lr:[{GOOD},{BAD}],sampling:[multi_scale,large_crops]}}"
    overrides = [*ASHA, "training.epochs=4", "sweep.seeds=2", "sweep.finalists=1", "checkpoint.every_s=0.3"]
    sweep = Sweep(launch, "asha", space, *overrides)
    process = sweep.start()
    young = _wait(lambda: _stopped_with_young(sweep, process), process)
    kill(process)
    first = sweep.trials()
    finished = {name: sweep.member(name).weights for name, trial in first.items() if trial.state == FINISHED}
    as_it_was = {name: (path.stat().st_mtime_ns, digest(path)) for name, path in finished.items()}
    under_way = {name: sweep.saved()[name] for name in young}  # workers outlive their launcher, and save

    process = sweep.start()
    _wait(lambda: any(name.endswith("-s1") for name in sweep.saved()), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "stopped by SIGINT: the same command goes on" in output
    nothing_is_left(process)
    over = [trial for trial in first.values() if trial.state in (FINISHED, STOPPED)]
    assert f"asha: {5 - len(over)} of 5 trials to run, 2 side by side" in output
    for name, step in under_way.items():
        *before, after = sweep.attempts(name)
        assert after.from_step >= step
        assert [attempt.reason for attempt in before] in ([], ["the launcher died"])  # its last second is not known
    parent, runs = sweep.runs()
    (finalist,) = [name for name in runs if name.endswith("-s1")]
    assert parent.info.status == "KILLED"
    assert parent.data.tags["interrupted"] == "stopped by SIGINT"
    assert {run.info.status for name, run in runs.items() if sweep.states()[name] == STOPPED} == {"FINISHED"}
    # On a machine so fast that it came to its end in the seconds until then:
    trained, late = sweep.member(finalist).is_trained(), sweep.member(finalist).is_finished(views=1)
    if not trained:
        assert runs[finalist].info.status == "KILLED"
        assert runs[finalist].data.tags["interrupted"] == "stopped by SIGINT"
    reached = 0 if trained else sweep.saved()[finalist]

    output = sweep.run()
    assert "asha: 1 of 5 trials to run" in output
    trials = sweep.trials()
    assert sorted(trial.point for trial in trials.values() if trial.seed == 0) == [0, 1, 2, 3]
    best = max((name for name in trials if trials[name].seed == 0), key=lambda name: sweep.top1(name)[-1])
    assert finalist == best.replace("-s0", "-s1")
    assert {trials[best].state, trials[finalist].state} == {FINISHED}
    assert {trials["p002-s0"].state, trials["p003-s0"].state} == {STOPPED}
    assert {trial.values["optim.lr"] for trial in trials.values() if trial.state == FINISHED} == {GOOD}
    assert {name: (path.stat().st_mtime_ns, digest(path)) for name, path in finished.items()} == as_it_was
    cut, *again = sweep.attempts(finalist)
    assert cut.reason == "stopped by SIGINT" or (late and cut.reason == FINISHED)
    assert [attempt.reason for attempt in again] == ([] if late else [FINISHED])
    assert all(attempt.from_step >= reached for attempt in again)
    assert all(len(sweep.attempts(name)) == 1 for name in finished)
    for name, trial in trials.items():
        assert len(sweep.top1(name)) == (4 if trial.state == FINISHED else 2)
    _check_runs(sweep, trials, finalist)

    weights = {name: digest(sweep.member(name).weights) for name in trials if trials[name].state == FINISHED}
    output = sweep.run()
    assert "asha: every trial is over; nothing to train" in output
    assert "side by side" not in output
    assert "scoring" not in output
    assert not [path for path in sweep.folder.glob("*.jsonl") if path.name != "tracking.jsonl"]
    assert {name: digest(sweep.member(name).weights) for name in weights} == weights
    assert sweep.trials() == trials
    assert sweep.runs()[0].info.status == "FINISHED"


def _stopped_with_young(sweep: Sweep, process: subprocess.Popen[str]) -> list[str]:
    """The young ones when one has finished: then the launcher is left stopped. Without it none of them comes further
    than its first scores, and its store stays as it is."""
    if not _young(sweep):
        return []
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    young = _young(sweep)
    if not young:
        process.send_signal(signal.SIGCONT)
    return young


def _young(sweep: Sweep) -> list[str]:
    """Those in their first epoch that have a checkpoint, once another has finished."""
    if FINISHED not in sweep.states().values():
        return []
    return [name for name in sweep.saved() if not sweep.top1(name)]


def _check_runs(sweep: Sweep, trials: dict[str, Trial], finalist: str) -> None:
    """In MLflow: each trial once, ended as what it was, with its settings and every point of its curves once."""
    parent, runs = sweep.runs()
    assert parent.info.status == "FINISHED"
    assert parent.data.params["model.width"] == "0.1"
    assert {"report.html", "ranking.md", "ranking.csv", "curves.png"} <= sweep.artifacts(parent, "report")
    assert parent.data.metrics["trials_finished"] + parent.data.metrics["trials_stopped"] == 5
    assert parent.data.metrics["best_seeds"] == 2
    assert re.search("is best|is the only point that finished", parent.data.tags["mlflow.note.content"])
    assert set(runs) == set(trials)
    for name, trial in trials.items():
        data = runs[name].data
        assert runs[name].info.status == "FINISHED"
        assert data.tags["outcome"] == (FINISHED if trial.state == FINISHED else STOPPED_EARLY)
        assert float(data.params["changed.optim.lr"]) == trial.values["optim.lr"]
        assert data.params["changed.sampling"] == trial.values["sampling"]
        assert data.params["seed"] == str(trial.seed)
        assert not {"optim.lr", "model.width"} & data.params.keys()  # the one would be there twice, the other all share
        if trial.state == STOPPED:
            assert data.tags["reason"].startswith("by asha, as number ")
            assert not [key for key in data.metrics if key.startswith("accuracy_")]
        else:
            assert data.metrics["accuracy_val_top1_1_view"] == pytest.approx(sweep.top1(name)[-1], abs=0.01)
        for key in ("val/top1", "progress", "train/loss"):
            steps = sweep.history(runs[name], key)
            assert steps == sorted(set(steps))
            assert steps
        assert sweep.history(runs[name], "val/top1") == [EPOCH * (n + 1) for n in range(len(sweep.top1(name)))]


@pytest.mark.long
def test_a_weak_trial_of_pbt_goes_on_from_a_strong_one_also_after_a_kill(launch: Runner):
    """One at a time: the strong one waits with the checkpoint of epoch 2 when the weak one has come there."""
    overrides = ["sweep.scheduler=pbt", "training.epochs=3", "loader.log_samples=true", ONE_BY_ONE]
    # An epoch and the evaluation take longer than a kill: workers that outlive their launcher do not finish the trial.
    overrides += ["checkpoint.every_s=0.2", "checkpoint.keep=100", "model.width=0.5", "evaluation.views=[1,144]"]
    sweep = Sweep(launch, "pbt", f"+sweep.space={{optim.lr:[{GOOD},{BAD}]}}", *overrides)
    strong, weak = sweep.member("p000-s0"), sweep.member("p001-s0")
    process = sweep.start()
    _wait((weak.path / "samples" / "start-2.rank-0-of-1.txt").exists, process)
    _wait(lambda: newest_step(weak.checkpoints) > 2 * EPOCH, process)
    kill(process)
    (letter,) = [json.loads(line) for line in (weak.path / "changes.jsonl").read_text().splitlines()]
    assert (letter["trial"], letter["epoch"]) == ("p000-s0", 2.0)
    donated = strong.checkpoints / letter["file"]
    assert hashlib.sha256(donated.read_bytes()).hexdigest()[:16] in donated.name
    assert letter["file"] in {path.name for path in weak.checkpoints.iterdir()}
    assert digest(weak.checkpoints / letter["file"]) == digest(donated)
    rate = letter["changed"]["optim.lr"]
    assert rate in [pytest.approx(GOOD * factor) for factor in (0.8, 1.25)]
    assert list(letter["changed"]) == ["optim.lr"]
    reached = newest_step(weak.checkpoints)

    output = sweep.run()
    assert "of 2 trials to run, 1 side by side" in output  # the strong one may have ended
    assert "nan" not in output
    settings = json.loads((weak.path / "settings.json").read_text())
    assert settings["optim"]["lr"] == rate
    trials = sweep.trials()
    assert {trial.state for trial in trials.values()} == {FINISHED}
    assert trials["p000-s0"].changes == []
    assert trials["p001-s0"].changes == [[2.0, "optim.lr", rate]]
    assert trials["p001-s0"].values == {"optim.lr": BAD}
    from_steps = [attempt.from_step for attempt in sweep.attempts("p001-s0")]
    assert from_steps[:2] == [0, EPOCH]
    assert from_steps[-1] >= reached
    assert samplelog.read(weak.path) == samplelog.read(strong.path)  # the same order: every step once, none left out
    assert len(samplelog.read(weak.path)) == 3 * EPOCH
    assert sweep.top1("p001-s0")[0] < 0.15
    assert sweep.top1("p001-s0")[-1] > 0.2
    _, runs = sweep.runs()
    assert runs["p001-s0"].data.tags["changes"] == f"epoch 2: optim.lr={rate}"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


@pytest.mark.long
def test_trials_of_several_workers_and_of_one_share_the_machine(launch: Runner):
    """More than fit, of two sizes: none waits for ever, and the workers of a stopped one leave at once. The other seed
    of the best comes when all others are over."""
    space = f"+sweep.space={{optim.lr:[{GOOD},{BAD}],cluster.workers:[2,1]}}"
    sweep = Sweep(launch, "sizes", space, *ASHA, "sweep.seeds=2", "sweep.finalists=1")
    process = sweep.start()
    processes: dict[str, set[int]] = {}
    stopped_at: dict[str, float] = {}
    held: set[int] = set()  # by ended trials, for longer than they may

    def watch() -> bool:
        for member, workers in sweep.workers().items():
            processes.setdefault(member, set()).update(worker["pid"] for worker in workers)
        for name, trial in sweep.trials().items():
            if trial.state in OVER and trial.values["cluster.workers"] == 2:
                stopped_at.setdefault(name, time.monotonic())
                if time.monotonic() - stopped_at[name] > 5:
                    held.update(pid for pid in processes.get(name, ()) if psutil.pid_exists(pid))
        return process.poll() is not None

    output = _watched(process, watch)
    assert process.returncode == 0, output
    assert not held
    trials = sweep.trials()
    states = sweep.states()
    assert [states.pop(f"p00{point}-s0") for point in range(4)] == [FINISHED, FINISHED, STOPPED, STOPPED]
    assert set(states.values()) == {FINISHED}
    assert set(states) in ({"p000-s1"}, {"p001-s1"})
    for name, trial in trials.items():
        workers = trial.values["cluster.workers"]
        assert [attempt.workers for attempt in sweep.attempts(name)] == [workers]
        assert len(processes[name]) == workers
    assert "warning" not in output
    nothing_is_left(process)
    _, runs = sweep.runs()
    assert {name: (run.info.status, run.data.tags["outcome"]) for name, run in runs.items()} == {
        name: ("FINISHED", FINISHED if trial.state == FINISHED else STOPPED_EARLY) for name, trial in trials.items()
    }
    assert {runs[name].data.params["changed.cluster.workers"] for name in ("p000-s0", "p002-s0")} == {"2"}


def _watched(process: subprocess.Popen[str], over) -> str:
    end = time.monotonic() + 300
    while not over():
        assert time.monotonic() < end, (session.kill(process.pid), process.communicate()[0])
        time.sleep(0.1)
    return process.communicate()[0]


@pytest.mark.long
def test_tpe_weighs_two_objectives_survives_a_dead_process_and_leaves_out_what_diverges(launch: Runner):
    """With its seed the search tries the absurd rate once, at the end."""
    space = "+sweep.space={optim.lr:[1e6,0.04],schedule:[googlenet,cosine],"
    space += "schedule.factor:{choices:[0.9,0.96],when:{schedule:[googlenet]}},"
    space += "optim.weight_decay:{low:1e-5,high:1e-3,log:true}}"
    overrides = ["sweep.search=tpe", "sweep.points=4", "sweep.objectives=[top1,images_per_s]", "optim.clip_norm=0"]
    sweep = Sweep(launch, "tpe", space, *overrides, "training.epochs=2", "checkpoint.every_s=0.3", TWO_BESIDE)
    sweep.add("export.models=true")
    sweep.add("registry.name=tpe")
    process = sweep.start()
    (worker,) = _wait(lambda: sweep.workers().get("p000-s0") if "p000-s0" in sweep.saved() else None, process)
    reached = newest_step(sweep.member("p000-s0").checkpoints)
    os.kill(worker["pid"], signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "warning: p000-s0: its process ended; starting again from the newest checkpoint" in output
    first, second = sweep.attempts("p000-s0")
    assert (first.reason, second.reason) == ("its process ended", FINISHED)
    assert second.from_step >= reached > 0

    trials = sweep.trials()
    diverged = [name for name, trial in trials.items() if trial.state == DIVERGED]
    assert diverged == [name for name, trial in trials.items() if trial.values["optim.lr"] == 1e6]
    assert len(diverged) == 1
    assert {trial.state for trial in trials.values()} == {FINISHED, DIVERGED}
    assert all(("schedule.factor" in t.values) == (t.values["schedule"] == "googlenet") for t in trials.values())
    assert {t.values["schedule"] for t in trials.values()} == {"googlenet", "cosine"}
    assert all(1e-5 <= trial.values["optim.weight_decay"] <= 1e-3 for trial in trials.values())
    assert f"{diverged[0]} diverged: NonFiniteLoss: the loss is not finite at step 1" in output
    assert "3 finished, 1 diverged" in output
    assert "F a best trade-off: no other point is as good in top-1 and images/s" in output
    assert "*F 1" in output
    assert "images), " in output
    assert "exact McNemar p " in output
    assert "promote.count=" in output
    assert "registry  registered as tpe version 1, champion (models:/tpe@champion)" in output
    assert "completed" not in output  # Tune's own word
    parent, runs = sweep.runs()
    assert parent.info.status == "FINISHED"
    assert {name: run.info.status for name, run in runs.items()} == {
        name: "FAILED" if name in diverged else "FINISHED" for name in trials
    }
    assert runs[diverged[0]].data.tags["outcome"] == DIVERGED
    assert "front.png" in sweep.artifacts(parent, "report")
    assert (
        parent.data.metrics["best_top1_low"] < parent.data.metrics["best_top1"] < parent.data.metrics["best_top1_high"]
    )
    assert 0 <= parent.data.metrics["best_lead_p"] <= 1
    assert "predict.model=" in parent.data.tags["mlflow.note.content"]
    (best,) = [name for name in trials if (sweep.member(name).path / "model").exists()]
    assert runs[best].data.metrics["accuracy_val_top1"] == max(
        run.data.metrics["accuracy_val_top1"] for name, run in runs.items() if name not in diverged
    )
    assert Description.read(sweep.folder / "model").members == [best]
    of_sweep, of_best = parent.outputs, runs[best].outputs
    assert of_sweep
    assert of_best
    assert of_sweep.model_outputs == of_best.model_outputs

    output = sweep.run()
    assert "every trial is over; nothing to train" in output
    assert f"tpe/{best} is tpe version 1 already" in output
    assert sweep.trials() == trials


@pytest.mark.endurance
def test_hyperband_pauses_trials_and_goes_on_with_the_best(launch: Runner):
    """The first bracket has three points and stops none. In the second two wait at epoch 2 for the third; then the best
    half goes on, which Ray rounds up to two of three. Of the two bad ones, which may be equal, one is stopped."""
    space = f"+sweep.space={{optim.lr:[0.02,0.03,0.05,0.01,{BAD},0.00005]}}"
    overrides = ["sweep.scheduler=hyperband", "sweep.reduction=2", "training.epochs=4", ONE_BY_ONE]
    sweep = Sweep(launch, "hyperband", space, *overrides)
    output = sweep.run()
    states = sweep.states()
    assert [states[f"p00{point}-s0"] for point in range(4)] == [FINISHED] * 4, output
    assert sorted(states[name] for name in ("p004-s0", "p005-s0")) == [FINISHED, STOPPED], output
    assert len(sweep.top1("p003-s0")) == 4
    waited, went_on = sweep.attempts("p003-s0")
    assert (waited.from_step, waited.reason) == (0, "left by hyperband")
    assert (went_on.from_step, went_on.reason) == (2 * EPOCH, FINISHED)
    (stopped,) = (name for name, state in states.items() if state == STOPPED)
    (lucky,) = {"p004-s0", "p005-s0"} - {stopped}
    assert (len(sweep.top1(stopped)), len(sweep.top1(lucky))) == (2, 4)
    assert sweep.top1(stopped)[-1] <= sweep.top1(lucky)[1]
    assert sweep.trials()[stopped].reason.startswith("by hyperband, as number ")
    _, runs = sweep.runs()
    assert sweep.history(runs["p003-s0"], "val/top1") == [EPOCH, 2 * EPOCH, 3 * EPOCH, 4 * EPOCH]
    assert runs["p003-s0"].info.status == "FINISHED"
    assert runs["p003-s0"].data.tags["attempts"] == "1: left by hyperband; 2: finished"
    assert runs[stopped].info.status == "FINISHED"
    assert runs[stopped].data.tags["outcome"] == STOPPED_EARLY
