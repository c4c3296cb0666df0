"""`job=compare` on runs made by hand: what it counts, writes and refuses. Nothing is trained."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from platform.config.data import DataConfig
from platform.config.experiment import SINGLE, Experiment
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.data.index import Index
from platform.evaluation.kept import kept_scores
from platform.evaluation.statistics.paired import mcnemar
from platform.experiment.folder import ExperimentFolder
from platform.sweep.trial_store import FINISHED, STOPPED, Trial, TrialStore, name_of
from tests.launching import launched
from tests.sweep.handmade import write_curve, write_probabilities
from tests.test_launch import in_a_process_of_their_own

N, K = 120, 10
LABELS = np.arange(N) % K


def probabilities(wrong: range, views: int = 10) -> np.ndarray:
    """0.73 for the label, but for some images: there for the class behind it."""
    said = np.where(np.isin(np.arange(N), wrong), (LABELS + 1) % K, LABELS)
    probs = np.where(np.arange(K) == said[:, None], 0.73, 0.03)
    return np.repeat(probs[:, None], views, 1).astype(np.float32)


class Runs:
    """Experiments in one folder."""

    def __init__(self, folder: Path, data: DataConfig, index: Index) -> None:
        self.folder, self.data, self.index = folder, data, index

    def add(self, name: str, wrong: dict[str, range], views: int = 10, *, keep: bool = True, **settings) -> Path:
        """A run whose members are wrong on some images."""
        config = Config(name=name, data=self.data, output_dir=str(self.folder), **settings)
        members = {member: replace(config, order_seed=number) for number, member in enumerate(wrong)}
        experiment = Experiment(config, members, [f"name={name}"])
        folder = ExperimentFolder(experiment.folder)
        folder.open(experiment, self.index)
        for member, images in wrong.items():
            write_probabilities(folder.path, member, probabilities(images, views), LABELS, corrupt=(119,))
        if keep and wrong:
            places = {member: folder.member(member).probabilities for member in wrong}
            kept_scores(places, [1, views], folder.scores("val"), lambda said: None, folder.images("val"))
        return folder.path

    def compare(self, *places: object, **settings: str) -> tuple[int, str]:
        done = launched(*self.words(*places, **settings))
        return done.returncode, done.stdout + done.stderr

    def words(self, *places: object, **settings: str) -> list[str]:
        more = [f"{key}={value}" for key, value in settings.items()]
        return ["job=compare", f"output_dir={self.folder}", f"compare.runs=[{','.join(map(str, places))}]", *more]


@pytest.fixture
def runs(tmp_path: Path, digits_data: DataConfig, digits: Index) -> Runs:
    return Runs(tmp_path / "runs", digits_data, digits)


def test_two_runs_side_by_side(runs: Runs):
    runs.add("slow", {SINGLE: range(20)}, seed=5)
    runs.add("fast", {SINGLE: range(15, 23)})
    status, output = runs.compare("slow", "fast")
    assert status == 0, output
    assert "reading" not in output  # of what the runs kept
    assert output.startswith("fast is better than slow by 10.08 points of top-1 with 10 crops (95% CI ")
    assert "120 validation images, 1 corrupt left out, 10 crops of each" in output
    row = next(line.split() for line in output.splitlines() if line.split()[:2] == ["A", "B"])
    assert row[2:7] == ["96", "15", "3", "5", "+10.08"]
    assert row[-2:] == [f"{mcnemar(15, 3):.3f}"] * 2
    settings = output[output.index("Settings that differ") :].splitlines()
    assert [line.split() for line in settings if line.startswith((" seed", " name"))] == [["seed", "0", "5"]]
    assert max(map(len, output.splitlines())) <= 120


def test_changed_images_are_a_list(runs: Runs):
    runs.add("slow", {SINGLE: range(20)})
    runs.add("fast", {SINGLE: range(15, 23)})
    status, output = runs.compare("slow", "fast")
    assert status == 0, output
    assert "18 of 119 images have not the same class in all runs" in output
    folder = runs.folder / "compare-slow-fast"
    rows = list(csv.DictReader((folder / "changed.csv").open()))
    assert [int(row["image"]) for row in rows] == [*range(15), 20, 21, 22]
    assert rows[3] == {"image": "3", "label": "3", "fast": "3", "slow": "4"}  # the digits' own names
    text = (folder / "compare.md").read_text()
    assert text.startswith("**fast is better than slow by 10.08 points")
    assert "No setting differs." in text


def test_an_ensemble_its_member_and_a_third_are_corrected_together(runs: Runs, tmp_path: Path):
    ensemble = runs.add("three", {"a": range(20), "b": range(20, 40), "c": range(60, 66)})
    runs.add("other", {SINGLE: range(12)})
    status, output = runs.compare(ensemble, f"{ensemble}/c", "other", **{"compare.output": str(tmp_path / "here")})
    assert status == 0, output
    assert output.startswith("three has the lowest top-1 error, 0.00% with 10 crops (95% CI 0.00 to 3.13%).")
    assert "Better beyond noise than other (p = 0.001). Not distinguishable from three/c (p = 0.062)." in " ".join(
        output.split()
    )
    row = next(line.split() for line in output.splitlines() if line.split()[:2] == ["A", "C"])
    assert float(row[-1]) == pytest.approx(3 * mcnemar(12, 0), abs=6e-4)
    assert "order_seed" in output  # 0, 1, 2 against 2
    assert {file.name for file in (tmp_path / "here").iterdir()} == {"compare.md", "changed.csv"}


def test_what_was_not_kept_is_computed_with_the_views_that_all_have(runs: Runs):
    runs.add("many", {SINGLE: range(20)}, views=10)
    runs.add("few", {SINGLE: range(15)}, views=1, keep=False)
    status, output = runs.compare("many", "few")
    assert status == 0, output
    assert output.count("reading the probabilities of ") == 2
    assert ", 1 crop of each" in output


def test_results_are_compared_without_their_probabilities_but_not_with_others(runs: Runs):
    many, few = runs.add("many", {SINGLE: range(20)}), runs.add("few", {SINGLE: range(15)})
    shutil.rmtree(many / "members" / SINGLE / "probabilities")  # which are large
    status, output = runs.compare("many", "few")
    assert status == 0, output
    assert "reading" not in output
    write_probabilities(few, SINGLE, probabilities(range(30)), LABELS)  # evaluated again
    status, output = runs.compare("many", "few")
    assert "reading the probabilities of few ..." in output
    assert "many is better than few" in output


def test_two_runs_of_one_name_are_told_apart_by_their_folders(runs: Runs, tmp_path: Path):
    first = runs.add("same", {SINGLE: range(20)})
    runs.folder = tmp_path / "others"
    other = runs.add("same", {SINGLE: range(15)})
    status, output = runs.compare(first, other, **{"compare.output": str(tmp_path / "here")})
    assert status == 0, output
    assert (tmp_path / "here" / "changed.csv").read_text().splitlines()[0] == f"image,label,{other},{first}"
    assert max(map(len, output.splitlines())) <= 120 or "written" in output


def test_a_run_that_is_partly_finished_is_compared_and_said(runs: Runs):
    whole, part = runs.add("whole", {"a": range(9), "b": range(9)}), runs.add("part", {"a": range(9), "b": range(9)})
    shutil.rmtree(part / "members" / "b")
    for file in ("scores.json", "images.npz"):
        (part / file).unlink()
    status, output = runs.compare("whole", "part")
    assert status == 0, output
    assert "part is compared without members that have no results on these images: b." in output
    assert "is right on the same images as" in output
    assert whole.exists()


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (["good", "goot"], "no experiment.json in goot; did you mean "),
        (["good", "good/modle"], " has no modle; did you mean "),
        (["good", "bare"], "1 of 2 runs have no results on the validation images: bare: it is not finished: its own"),
        (["good"], "compare.runs has 1 run(s); give two or more"),
        (["good", "bad", "good"], "compare.runs has good twice"),
        (["good", "elsewhere"], "good and elsewhere were evaluated on other images (good: 359 samples in "),
        (["good", "relabelled"], "good and relabelled were evaluated on images with other labels"),
    ],
)
def test_what_cannot_be_compared_is_one_line(runs: Runs, places: list[str], said: str):
    for name in {"good", *places} & {"good", "bad", "bare", "elsewhere", "relabelled"}:
        folder = runs.add(name, {SINGLE: range(20)})
        if name == "bare":
            shutil.rmtree(folder / "members")
            (folder / "images.npz").unlink()
        elif name == "elsewhere":
            content = json.loads((folder / "experiment.json").read_text())
            content["identity"]["data"]["val"] = "360 samples in 1 shards, sha256 0123"
            (folder / "experiment.json").write_text(json.dumps(content))
        elif name == "relabelled":
            write_probabilities(folder, SINGLE, probabilities(range(20)), LABELS[::-1].copy())
    status, output = runs.compare(*places)
    assert status == 2, output
    (error,) = [line for line in output.splitlines() if not line.startswith("reading the probabilities of ")]
    assert error.startswith("error: ")
    assert said in error


def test_an_override_without_effect_is_refused(runs: Runs):
    status, output = runs.compare("a", "b", **{"optim.lr": "0.1"})
    assert status == 2
    assert "optim.lr=0.1 has no effect: job=compare reads what was run" in output


@pytest.mark.slow
def test_neither_torch_nor_ray_nor_mlflow_is_imported(runs: Runs):
    runs.add("slow", {SINGLE: range(20)})
    runs.add("fast", {SINGLE: range(15)})
    ((_, status, stdout, stderr, imported),) = in_a_process_of_their_own(runs.words("slow", "fast"))
    assert status == 0, stderr
    assert stdout.startswith("fast is not better than slow beyond noise: 4.20 points")
    assert imported == []


def sweep(runs: Runs) -> Path:
    """Three trials: two that have finished, the second of them is better, and one that was stopped."""
    place = runs.add("sweep", {"p000-s0": range(30), "p001-s0": range(10), "p002-s0": range(9)}, keep=False)
    folder = ExperimentFolder(place)
    record = folder.record()
    record.identity["sweep"], record.member_runs = {}, dict.fromkeys(record.configs, "")
    folder.write(record)
    trials = [Trial(name_of(number, 0), number, {"optim.lr": number}, 0, [], FINISHED) for number in range(3)]
    trials[2].state, trials[2].reason = STOPPED, "by asha, as number 3 of 3 trials there"
    TrialStore(trials=trials).write(place)
    for trial, top1 in zip(trials, (0.75, 0.92, 0.95), strict=True):
        write_curve(place, trial.name, top1)
    for trial in trials[:2]:
        member = folder.member(trial.name)
        kept_scores({trial.name: member.probabilities}, [1, 10], member.scores, lambda said: None, member.images)
    shutil.rmtree(folder.member("p002-s0").probabilities)
    return place


def test_a_sweep_is_its_best_trial_and_a_stopped_trial_does_not_compare(runs: Runs):
    place = sweep(runs)
    runs.add("slow", {"a": range(20), "b": range(25)})
    status, output = runs.compare("slow/b", "sweep")
    assert status == 0, output
    said, verdict, *_ = output.splitlines()
    assert said == "sweep is a sweep: its best trial p001-s0 stands for it"
    assert verdict.startswith("sweep/p001-s0 is better than slow/b by 12.61 points")
    assert "reading" not in output  # of what the trial has kept
    assert "Of sweeps: sweep/p001-s0 (of 3 trials). What was chosen among several" in output
    shutil.rmtree(place / "members" / "p001-s0" / "probabilities")
    assert runs.compare("slow/b", "sweep") == (0, output)

    status, output = runs.compare("slow", "sweep/p002-s0", "sweep/p001-s0")
    assert status == 2
    assert output == (
        "error: 1 of 3 runs have no results on the validation images: sweep/p002-s0: it was stopped early at epoch 2 "
        "(by asha, as number 3 of 3 trials there), so that nothing is known of single images; it would not compare "
        "with trials of more epochs either\n"
    )


def test_runs_are_compared_on_the_test_images_where_all_have_been_evaluated_on_them(runs: Runs):
    sweep(runs)
    for name, wrong in (("one", range(20)), ("two", range(8))):
        folder = ExperimentFolder(runs.add(name, {SINGLE: wrong}))
        record = folder.record()
        record.identity["data"]["test"] = "120 samples in 1 shards, sha256 0123"
        folder.write(record)
        write_probabilities(folder.path, SINGLE, probabilities(range(60)), LABELS)  # of validation: others
        folder.member(SINGLE).weights.write_bytes(b"")
    swept = ExperimentFolder(runs.folder / "sweep")
    swept.write(
        replace(swept.record(), identity=ExperimentFolder(runs.folder / "one").record().identity | {"sweep": {}})
    )
    status, output = runs.compare("one", "two", "sweep/p000-s0", **{"compare.split": "test"})
    assert status == 2
    assert output.startswith("error: 3 of 3 runs have no results on the test images: one: it was not evaluated on the ")
    assert "job=evaluate evaluation.split=test does that; two: it was not" in output
    assert "sweep/p000-s0: trials of a sweep are evaluated on the validation images alone: job=promote" in output

    for name, wrong in (("one", range(20)), ("two", range(8))):
        member = runs.folder / name / "members" / SINGLE
        write_probabilities(runs.folder / name, SINGLE, probabilities(wrong), LABELS)
        (member / "probabilities").rename(member / "probabilities-test")
    status, output = runs.compare("one", "two", **{"compare.split": "test"})
    assert status == 0, output
    assert "two is better than one by 10.00 points" in output
    assert "120 test images, 10 crops of each" in output
    assert (runs.folder / "compare-test-one-two" / "compare.md").exists()


def test_settings_without_effect_do_not_differ(runs: Runs):
    """The area is of crops of random size, which neither method has."""
    for name, method, area in (("one", "centre_square", [0.08, 1.0]), ("two", "random_square", [0.5, 1.0])):
        runs.add(name, {SINGLE: range(9)}, sampling=SamplingConfig(name, method=method, area=area))
    status, output = runs.compare("one", "two")
    assert status == 0, output
    assert "sampling.method" in output
    assert "sampling.area" not in output
