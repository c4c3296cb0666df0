"""What MLflow is told of a sweep's trials: scored beside the thread that hands messages on, and once."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from platform.config.checks import CannotGoOn
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.evaluation.seal import SEAL
from platform.experiment.folder import ExperimentFolder, Record
from platform.sweep.report.right_images import kept_right
from platform.sweep.trial_store import FINISHED, STOPPED, Trial, name_of
from platform.tracking.runs import Runs
from platform.tune.results import Results, Scored, Scoring
from tests.counting import Cost, cost_of
from tests.evaluation.test_ensemble import member

KINDS = ("accuracy_val_top1", "accuracy_val_top5", "loss_val")
NAMES = {f"{kind}{views}" for kind in KINDS for views in ("", "_1_view", "_10_views")}
SURE = {f"accuracy_val_top1_{end}" for end in ("low", "high")} | {
    f"calibration_val_{kind}" for kind in ("ece", "brier", "nll")
}


def trial(point: int, state: str = FINISHED) -> Trial:
    return Trial(name_of(point, 0), point, {"optim.lr": 0.1}, 0, [], state)


def evaluated(folder: ExperimentFolder, found: Trial) -> None:
    """Gives a trial its probabilities."""
    member(folder.path, found.point)
    place = folder.member(found.name).probabilities
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder.path / str(found.point), place)


def taken(scoring: Scoring, count: int) -> list[Scored]:
    found, end = [], time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < end
        found += scoring.take()
        time.sleep(0.01)
    return found


def test_scores_are_computed_beside_and_an_error_is_one_line_of_that_trial(tmp_path: Path):
    """The first one's files hang, as on a network file system: whoever hands messages on does not wait for it."""
    folder = ExperimentFolder(tmp_path)
    trials = [trial(0), trial(1), trial(2, STOPPED), trial(3)]
    for each in (trials[0], trials[1]):
        evaluated(folder, each)
    seal = folder.member("p000-s0").probabilities / SEAL
    content = seal.read_text()
    seal.unlink()
    os.mkfifo(seal)
    scoring = Scoring(Results(folder, [1, 10]))
    for each in trials:
        scoring.put(each)
    (stopped,) = scoring.take()  # has nothing to wait for
    assert stopped == Scored(trials[2])
    assert scoring.waiting == 3
    whole = tmp_path / "whole"
    whole.write_text(content)
    with seal.open("w") as pipe:  # it hangs no more, and is read again
        whole.replace(seal)
        pipe.write(content)
    first, second, without = taken(scoring, 3)
    assert scoring.waiting == 0
    assert [each.trial for each in (first, second, without)] == [trials[0], trials[1], trials[3]]
    assert set(first.figures) == NAMES | SURE
    assert first.error == second.error == ""
    assert without.figures == {}
    assert [kept_right(folder, each.name) is not None for each in trials] == [False, True, False, False]
    assert without.error.startswith("the probabilities of p003-s0 cannot be read ")
    assert "\n" not in without.error


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    tracking = TrackingConfig(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    config = replace(Config(name="swept", output_dir=str(tmp_path / "runs")), tracking=tracking)
    return Experiment(config, {})


@pytest.mark.slow
def test_a_trial_without_its_scores_is_reported_by_the_next_launch(experiment: Experiment):
    folder, warnings = ExperimentFolder(experiment.folder), []
    record = Record({}, {})
    runs = Runs(experiment, folder, record, [])
    results, found = Results(folder, [1, 10]), trial(1)
    results.begin(runs, found, experiment.config)
    results.end(runs, results.scored(found), warnings.append)
    assert len(warnings) == 1
    assert warnings[0].startswith("p001-s0 has no final scores in MLflow: the probabilities of p001-s0 cannot")
    assert warnings[0].endswith("; the same command evaluates it again")
    assert folder.record().reported == []
    evaluated(folder, found)
    results.begin(runs, found, experiment.config)
    results.end(runs, results.scored(found), warnings.append)
    assert len(warnings) == 1
    assert folder.record().reported == ["p001-s0"]
    results.begin(runs, found, experiment.config)  # it failed, and a new launch tries it again
    assert folder.record().reported == []
    runs.close()


@pytest.mark.slow
def test_reporting_a_trial_costs_no_more_after_a_thousand_than_after_ten(experiment: Experiment):
    costs: list[Cost] = []
    for known in (10, 1000):
        config = replace(experiment.config, name=f"swept{known}")
        folder = ExperimentFolder(Experiment(config, {}).folder)
        names = [name_of(number, 0) for number in range(known)]
        record = Record({}, {name: {"seed": 1} for name in names}, member_runs={name: name for name in names})
        runs = Runs(Experiment(config, {}), folder, record, [])
        results, found = Results(folder, [1]), trial(known, STOPPED)

        def begin_and_end(results=results, runs=runs, found=found, config=config) -> None:
            results.begin(runs, found, config)
            results.end(runs, Scored(found), print)

        costs.append(cost_of(begin_and_end, folder.path))
        runs.close()
        assert folder.record().reported == [found.name]
    few, many = costs
    assert few.opened["experiment.jsonl"] == many.opened["experiment.jsonl"] == 2
    assert few.opened["experiment.json"] == many.opened["experiment.json"] == 0
    assert many.written["experiment.jsonl"] <= few.written["experiment.jsonl"] + 20  # longer names
    assert sum("members" in file for file in few.opened) == sum("members" in file for file in many.opened)


@pytest.mark.slow
def test_a_thread_that_has_died_is_not_waited_for(tmp_path: Path):
    class Broken(Results):
        def scored(self, trial: Trial) -> Scored:
            raise MemoryError

    scoring = Scoring(Broken(ExperimentFolder(tmp_path), [1]))
    scoring.put(trial(0))
    with pytest.raises(CannotGoOn, match="the scoring thread has ended"):
        taken(scoring, 1)
