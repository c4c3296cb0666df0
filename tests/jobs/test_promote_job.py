"""`job=promote` on sweeps made by hand: what it writes, says and refuses. No Ray, no MLflow; one test trains."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs import promote
from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.config.experiment import Experiment
from platform.config.jobs import PromoteConfig
from platform.config.sections import Config
from platform.evaluation.statistics.halves import selecting_half
from platform.experiment.folder import ExperimentFolder, Record
from platform.sweep.trial_store import FAILED, FINISHED, STOPPED, Trial
from platform.tracking.journal import Journal
from platform.tracking.lineage import PROMOTED
from tests.composing import Remembering, composing
from tests.jobs.conftest import Runner
from tests.sweep.handmade import COMMIT, store, trained, trial, write_curve, write_probabilities

BASE = ["+experiment=googlenet", "optim.weight_decay=1e-4"]
POINTS = [
    trial(0, {"sampling": "small_crops", "optim.lr": 0.02}, ["sampling=small_crops", "optim.lr=0.02"]),
    trial(0, {"sampling": "small_crops", "optim.lr": 0.02}, ["sampling=small_crops", "optim.lr=0.02"], seed=1),
    trial(1, {"sampling": "small_crops", "optim.lr": 0.01}, ["sampling=small_crops", "optim.lr=0.01"]),
    trial(2, {"sampling": "alexnet", "optim.lr": 0.01}, ["sampling=alexnet", "optim.lr=0.01"], state=FAILED),
    trial(2, {"sampling": "alexnet", "optim.lr": 0.01}, ["sampling=alexnet", "optim.lr=0.01"], seed=1),
    trial(3, {"sampling": "plain", "optim.lr": 0.01}, ["sampling=plain", "optim.lr=0.01"], state=STOPPED),
    trial(4, {"sampling": "small_crops", "optim.lr": 0.02}, ["sampling=small_crops", "optim.lr=0.02"]),  # as point 0
]
TOP1 = {"p000-s0": 0.96, "p000-s1": 0.98, "p001-s0": 0.95, "p002-s1": 0.9, "p003-s0": 0.99, "p004-s0": 0.5}


@pytest.fixture(autouse=True, scope="module")
def hydra_is_there() -> Iterator[None]:
    with composing():
        yield


@pytest.fixture(autouse=True)
def experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files go, instead of `conf/experiment`."""
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    monkeypatch.setattr(promote, "EXPERIMENTS", folder)
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """`runs/rates`, with curves and no probabilities."""
    return swept(tmp_path / "runs" / "rates", POINTS, TOP1)


def swept(folder: Path, trials: list[Trial], top1: dict[str, float]) -> Path:
    folder.mkdir(parents=True)
    replace(store(BASE), trials=trials).write(folder)
    for name, share in top1.items():
        write_curve(folder, name, share)
    return folder


def run(folder: Path | str | None, experiments: Path, **settings: object) -> tuple[int, str]:
    """The job; its exit status and the file it wrote."""
    chosen = PromoteConfig(sweep=None if folder is None else str(folder), experiment="won", **settings)  # type: ignore[arg-type]
    config = Config(output_dir=str(experiments.parent.parent / "runs"), promote=chosen)
    status = promote.run(Experiment(config, {"model": config}, composer=Remembering()))
    return status, (experiments / "won.yaml").read_text()


@pytest.mark.slow
def test_the_file_names_the_run_of_the_sweep_so_that_the_two_find_each_other(sweep: Path, experiments: Path):
    folder, run_id = ExperimentFolder(sweep), "0123456789abcdef" * 2
    _, text = run(sweep, experiments)
    assert (found := PROMOTED.search(text))
    assert (found["commit"], found["run"]) == (f"commit {COMMIT}", None)
    folder.write(Record({}, {}, parent_run="key"))
    Journal(folder.tracking).delivered(0, {"key": {"id": run_id, "experiment": "1"}})
    _, text = run(sweep, experiments, replace=True)
    assert (found := PROMOTED.search(text))
    assert (found["sweep"], found["commit"], found["run"]) == (str(sweep), f"commit {COMMIT}", run_id)


@pytest.mark.slow
def test_the_best_point_becomes_an_experiment(sweep: Path, experiments: Path, capsys: pytest.CaptureFixture[str]):
    status, text = run(sweep, experiments)
    lines = text.splitlines()
    assert status == 0
    assert lines[0] == "# @package _global_"
    assert lines[1] == "# A point of the sweep rates (best): top-1 97.00% ± 1.41 (2 seeds)."
    assert lines[2] == "#   python -m platform.launch +experiment=won"
    assert f"from {sweep}, run at commit {COMMIT}." in lines[3]
    assert any("p000-s0  97.00% ± 1.41 (2 seeds)  sampling=small_crops optim.lr=0.02" in line for line in lines)
    assert "  - override /sampling: small_crops" in lines
    assert "job: train" in lines
    said = capsys.readouterr().out
    assert "run       python -m platform.launch +experiment=won" in said
    assert "3 finished points" in said
    assert str(experiments / "won.yaml") in said


@pytest.mark.slow
def test_points_are_ranked_by_the_mean_of_their_seeds(sweep: Path, experiments: Path):
    """Stopped and failed trials do not count, nor does what was tried before; the first finished seed is repeated."""
    _, text = run(sweep, experiments, count=3)
    assert text[text.index("  members:") :].splitlines() == [
        "  members:",
        "    p000-s0: [sampling=small_crops, optim.lr=0.02]",
        "    p001-s0: [sampling=small_crops, optim.lr=0.01]",
        "    p002-s1: [sampling=alexnet, optim.lr=0.01, seed=1]",
    ]


def test_diverse_points_are_chosen_by_kind(sweep: Path, experiments: Path):
    _, text = run(sweep, experiments, count=2, choose="diverse")
    assert "p000-s0: [" in text
    assert "p002-s1: [" in text
    assert "p001-s0" not in text


def test_a_sweep_is_found_by_its_name(sweep: Path, experiments: Path):
    assert run("rates", experiments)[0] == 0
    assert run(sweep, experiments, replace=True)[0] == 0


def test_what_the_record_says_was_trained_is_promoted(sweep: Path, experiments: Path):
    config = trained([*BASE, *POINTS[0].overrides, "optim.momentum=0.7"])
    (sweep / "experiment.json").write_text(json.dumps({"identity": {}, "configs": {"p000-s0": config}}))
    assert "momentum: 0.7" in run(sweep, experiments)[1]


def test_a_rate_that_was_changed_on_the_way_is_told(tmp_path: Path, experiments: Path):
    mutated = replace(POINTS[0], changes=[[1.0, "optim.lr", 0.05], [2.0, "optim.lr", 0.04]])
    _, text = run(swept(tmp_path / "pbt", [mutated], TOP1), experiments)
    told = "p000-s0 was changed on the way (optim.lr=0.05 after epoch 1, optim.lr=0.04 after epoch 2)."
    assert f"# {told} Here it has the last values from the start: that is another run" in text
    assert "  lr: 0.04" in text


def write_complementary(folder: Path) -> None:
    """Points 0 and 1 err on the same images; point 2 errs more, elsewhere, and knows what they do not.
    On the half that does not select, point 2 spoils what was right."""
    labels, classes = np.arange(80) % 10, 10
    selecting = np.flatnonzero(selecting_half(80))
    others = np.setdiff1d(np.arange(80), selecting)
    wrong = {"p000-s0": selecting[:4], "p001-s0": selecting[:5], "p002-s1": np.append(selecting[10:18], others[:10])}
    for name, places in wrong.items():
        said = labels.copy()
        said[places] += 1
        sure = np.where(np.isin(np.arange(80), others[:10]) | ~np.isin(np.arange(80), places), 0.95, 0.3)
        sure = np.minimum(sure, 0.6) if name != "p002-s1" else sure
        probs = np.repeat(((1 - sure) / (classes - 1))[:, None], classes, 1)
        probs[np.arange(80), said % classes] = sure
        write_probabilities(folder, name, probs[:, None].astype(np.float32), labels)


@pytest.mark.slow
def test_greedy_says_what_it_is_worth_on_other_images(
    sweep: Path, experiments: Path, capsys: pytest.CaptureFixture[str]
):
    write_complementary(sweep)
    _, text = run(sweep, experiments, count=2, choose="greedy")
    assert "p001-s0: [" not in text
    how = (
        "greedily on 40 validation images; on the 40 others top-1 is 75.00% (95% CI 59.81 to 85.81%) with 1 view, "
        "of the best single point 100.00% (95% CI 91.24 to 100.00%)"
    )
    assert f"# Chosen: {how}." in text
    assert "(greedy): top-1 75.00% as an ensemble, on images that did not choose it." in text.splitlines()[1]
    said = capsys.readouterr().out
    assert f"chosen    {how}" in said
    rows = [line.split() for line in said.splitlines() if line.strip().startswith("p00")]
    assert [(row[0], *row[-2:]) for row in rows] == [
        ("p000-s0", "90.00%", "100.00%"),
        ("p002-s1", "100.00%", "75.00%"),
    ]


@pytest.mark.slow
def test_an_existing_file_is_kept_unless_told(sweep: Path, experiments: Path):
    (experiments / "won.yaml").write_text("mine")
    with pytest.raises(ConfigError, match=r"won\.yaml exists; give .*promote\.replace=true"):
        run(sweep, experiments)
    assert (experiments / "won.yaml").read_text() == "mine"
    assert "job: train" in run(sweep, experiments, replace=True)[1]


def refusal(error: BaseException, experiments: Path) -> str:
    """The message: one line, and nothing was written."""
    assert list(experiments.iterdir()) == []
    assert len(str(error).splitlines()) == 1
    return str(error)


@pytest.mark.parametrize(
    ("folder", "settings", "said"),
    [
        (None, {}, "promote.sweep is not given; give the sweep's folder: promote.sweep=runs/NAME"),
        ("runs/nowhere", {}, "promote.sweep is 'runs/nowhere', and there is no folder"),
        ("rates", {"count": 4}, "promote.count is 4, but 3 different point(s) of"),
        ("rates", {"choose": "greedy"}, "p000-s0 has no probabilities in"),
    ],
)
def test_what_cannot_be_chosen_is_one_line(
    sweep: Path, experiments: Path, folder: str | None, settings: dict[str, object], said: str
):
    with pytest.raises(ConfigError) as caught:
        run(folder, experiments, **settings)
    assert said in refusal(caught.value, experiments)


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path, experiments: Path):
    (tmp_path / "runs" / "training").mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        run("training", experiments)
    assert "has no trials.json: it is no sweep" in refusal(caught.value, experiments)


def test_a_sweep_without_a_finished_trial_is_refused(tmp_path: Path, experiments: Path):
    folder = swept(tmp_path / "runs" / "young", [replace(POINTS[0], state=STOPPED), POINTS[2]], {"p000-s0": 0.5})
    with pytest.raises(ConfigError) as caught:
        run(folder, experiments)
    assert "has no finished trial with a score; let job=sweep finish some" in refusal(caught.value, experiments)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"trials": [{"name": 1}]}', "is damaged"),
        (None, "does not fit this version"),
    ],
)
def test_a_damaged_store_is_refused(sweep: Path, experiments: Path, content: str | None, said: str):
    without_base = json.dumps(json.loads((sweep / "trials.json").read_text()) | {"base": {"optim": {"lrr": 3}}})
    (sweep / "trials.json").write_text(content or without_base)
    with pytest.raises(ConfigError) as caught:
        run(sweep, experiments)
    assert said in refusal(caught.value, experiments)


@pytest.fixture
def own_name() -> Iterator[str]:
    """Of an experiment in our own `conf/experiment`, which is removed."""
    name = f"promoted_by_test_{os.getpid()}"
    yield name
    (ROOT / "conf" / "experiment" / f"{name}.yaml").unlink(missing_ok=True)


@pytest.mark.slow
def test_on_the_command_line_the_written_experiment_is_checked_and_listed(sweep: Path, own_name: str, digits_data):
    def launch(*words: str) -> str:
        command = [sys.executable, "-m", "platform.launch", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = launch("job=promote", f"promote.sweep={sweep}", "promote.count=3", f"promote.experiment={own_name}")
    assert f"written   conf/experiment/{own_name}.yaml" in said
    plan = launch(f"+experiment={own_name}", "job=check", f"data.shards={digits_data.shards}")
    assert all(member in plan for member in ("p000-s0", "p001-s0", "p002-s1"))
    assert "3 points of the sweep rates" in launch()


@pytest.mark.slow
@pytest.mark.long
def test_the_written_experiment_trains(sweep: Path, own_name: str, launch: Runner):
    status, said = launch("job=promote", f"promote.sweep={sweep}", "promote.count=2", f"promote.experiment={own_name}")
    assert status == 0, said
    status, said = launch(f"+experiment={own_name}", "training.epochs=0.2", "evaluation.views=[1]")
    assert status == 0, said
    assert launch.state(f"{own_name}-digits", "p001-s0").state == FINISHED
    recorded = json.loads((launch.folder / "runs" / f"{own_name}-digits" / "experiment.json").read_text())
    assert recorded["configs"]["p000-s0"]["optim"] == trained([*BASE, *POINTS[0].overrides])["optim"]
