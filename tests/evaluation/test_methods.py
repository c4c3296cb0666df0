"""Methods beyond the paper's table: their scores against direct ones, kept while nothing changes, as text."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from platform.config.checks import ConfigError
from platform.config.evaluation import EvaluationConfig
from platform.config.sections import Config
from platform.evaluation.cost import Cost, write_cost
from platform.evaluation.ensemble import score
from platform.evaluation.kept import scored
from platform.evaluation.method import Method, metrics
from platform.evaluation.methods import TeacherWanted, Wanted, kept_methods
from platform.evaluation.predict import Predictions
from platform.evaluation.probabilities import MemberProbabilities, seal, write_part
from platform.evaluation.report import final_metrics, terminal_table, write
from platform.evaluation.statistics.paired import mcnemar
from platform.experiment import methods as of_experiment
from platform.experiment.folder import ExperimentFolder

SAMPLES, CLASSES = 300, 5
LABELS = torch.from_numpy(np.random.default_rng(3).integers(0, CLASSES, SAMPLES))
VALID = torch.arange(SAMPLES) % 30 != 7


def write_probs(folder: Path, seed: int, views: int, strength: float) -> Path:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(SAMPLES, views, CLASSES, generator=generator)
    logits += strength * torch.nn.functional.one_hot(LABELS, CLASSES)[:, None]
    some = Predictions(np.arange(SAMPLES), LABELS.numpy(), VALID.numpy(), logits.softmax(-1))
    write_part(folder, 0, range(SAMPLES), views, CLASSES, "float32", iter([some]))
    seal(folder, SAMPLES, views, 1)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> ExperimentFolder:
    """Three members of different strength, evaluated in 10 crops and as whole images at two scales."""
    found = ExperimentFolder(tmp_path / "three")
    for number, strength in enumerate([2.0, 1.0, 0.2]):
        member = found.member(f"m{number}")
        write_probs(member.probabilities, number, 10, strength)
        write_cost(
            write_probs(member.whole_images_of("val"), 10 + number, 2, 2.0), 0, Cost([40, 64], 290, 290 * 7.5, 3)
        )
    return found


def places(folder: ExperimentFolder) -> dict[str, Path]:
    return {f"m{number}": folder.member(f"m{number}").probabilities for number in range(3)}


def found(folder: ExperimentFolder, **settings) -> list[Method]:
    return of_experiment.methods_of(
        folder, places(folder), Config(evaluation=EvaluationConfig(views=[1, 10], **settings)), lambda said: None
    )


def test_the_plain_mean_is_that_of_the_papers_table(folder: ExperimentFolder):
    plain, *others = found(folder, blends=True, dense=[40, 64])
    right = score({name: MemberProbabilities(place) for name, place in places(folder).items()}, [1, 10])
    assert plain.scores.top1 == right.ensemble[10].top1
    assert plain.scores.corrupt == right.ensemble[10].corrupt == 10
    assert plain.ece == pytest.approx(right.summary.ensemble.ece, abs=1e-6)  # pyright: ignore[reportOptionalMemberAccess]
    assert (plain.networks, plain.cost, plain.against) == (3, 30, None)
    assert [each.name for each in others] == ["weighted", "greedy", "temperature", "whole_images"]
    assert others[0].scores.loss < plain.scores.loss  # the noise weighs less
    assert others[2].scores.top1 == plain.scores.top1
    assert others[2].scores.loss < plain.scores.loss


def test_whole_images_are_scored_by_their_own_probabilities_and_cost(folder: ExperimentFolder):
    plain, whole = found(folder, dense=[40, 64])
    probs = [MemberProbabilities(folder.member(f"m{number}").whole_images_of("val")) for number in range(3)]
    right = torch.stack([each.read(0, SAMPLES).mean(1) for each in probs]).mean(0).argmax(1) == LABELS
    assert whole.scores.top1 == int(right[VALID].sum())
    assert (whole.networks, whole.cost) == (3, 3 * 7.5)
    mean = torch.stack([MemberProbabilities(place).means(10) for place in places(folder).values()]).mean(0)
    before = mean.argmax(1) == LABELS
    first, second = int((right & ~before & VALID).sum()), int((before & ~right & VALID).sum())
    against = whole.against
    assert against
    assert (against.first, against.second) == (first, second)
    assert against.p == pytest.approx(mcnemar(first, second))
    assert against.difference == pytest.approx((whole.scores.top1 - plain.scores.top1) / 290)
    assert whole.detail == "whole images: shorter side 40, 64 px; of 3 longer than 4 to 1 the middle"


def test_further_networks_of_the_same_trainings_are_averaged(folder: ExperimentFolder):
    for number in range(3):
        member = folder.member(f"m{number}")
        member.networks.mkdir()
        for place, network in enumerate(["cycle01", "cycle02", "ema"]):
            (member.networks / f"{network}.pt").touch()
            write_probs(member.probabilities_of_network(network, "val"), 20 + 3 * number + place, 10, 1.0)
    plain, snapshots, ema = found(folder)
    assert (plain.name, snapshots.name, ema.name) == ("plain", "snapshots", "ema")
    assert (snapshots.networks, snapshots.cost) == (6, 60)
    assert (ema.networks, ema.cost) == (3, 30)
    of = [folder.member(f"m{number}").probabilities_of_network("ema", "val") for number in range(3)]
    mean = torch.stack([MemberProbabilities(place).means(10) for place in of]).mean(0)
    assert ema.scores.top1 == int((mean.argmax(1) == LABELS)[VALID].sum())
    assert snapshots.detail.startswith("snapshots, top-1 error of one, means of the members: cycle01 ")
    said: list[str] = []
    more = Config(evaluation=EvaluationConfig(views=[144]))
    assert of_experiment.methods_of(folder, {"m0": places(folder)["m0"]}, more, said.append) == []
    assert said[0] == "cycle01 of m0 was not evaluated in 144 crops; job=evaluate does that"


def test_a_teacher_and_its_best_network_stand_beside_what_learnt_from_them(folder: ExperimentFolder, tmp_path: Path):
    """The student is m1, of which one crop is a row as well."""
    student, file = {"m1": places(folder)["m1"]}, tmp_path / "methods.json"
    wanted = Wanted(10, blends=False, teacher=TeacherWanted(places(folder), 10))
    plain, one, teacher, best = kept_methods(student, wanted, file, lambda said: None)
    assert [each.name for each in (plain, one, teacher, best)] == ["plain", "one_crop", "teacher", "teachers_best"]
    assert [(each.networks, each.cost) for each in (plain, one, teacher, best)] == [(1, 10), (1, 1), (3, 30), (1, 10)]
    probs = [MemberProbabilities(place).means(10) for place in places(folder).values()]
    right = {name: ((p.argmax(1) == LABELS) & VALID) for name, p in zip(["m0", "m1", "m2"], probs, strict=True)}
    whole = (torch.stack(probs).mean(0).argmax(1) == LABELS) & VALID
    assert plain.scores.top1 == int(right["m1"].sum())
    assert teacher.scores.top1 == int(whole.sum())
    assert best.scores.top1 == int(right["m0"].sum()) == max(int(each.sum()) for each in right.values())
    assert best.detail == "its best: m0"
    assert best.against
    assert best.against.p == pytest.approx(
        mcnemar(int((right["m0"] & ~right["m1"]).sum()), int((right["m1"] & ~right["m0"]).sum()))
    )
    assert metrics([plain, one, teacher, best], "val")["method_val_teacher_cost"] == 30
    write_probs(places(folder)["m0"], 50, 10, 0.0)  # the teacher's alone: the table is made again
    assert kept_methods(student, wanted, file, lambda said: None)[2].scores.top1 != teacher.scores.top1
    alone = Wanted(10, blends=False, teacher=TeacherWanted(student, 1))
    plain, one, teacher = kept_methods(student, alone, file, lambda said: None)
    assert one.scores == teacher.scores


def test_they_are_kept_while_nothing_changes(folder: ExperimentFolder, tmp_path: Path):
    said, file = [], tmp_path / "methods.json"
    wanted = Wanted(10, blends=True, whole={})
    first = kept_methods(places(folder), wanted, file, said.append)
    assert said == ["comparing with the plain mean: blends ..."]
    assert kept_methods(places(folder), wanted, file, said.append) == first
    assert len(said) == 1
    assert len(kept_methods(places(folder), Wanted(1, blends=True, whole={}), file, said.append)) == 4
    write_probs(places(folder)["m1"], 77, 10, 3.0)
    assert kept_methods(places(folder), wanted, file, said.append)[0].scores.top1 != first[0].scores.top1
    assert len(said) == 3
    file.write_text("{")
    assert kept_methods(places(folder), wanted, file, said.append)
    assert kept_methods(places(folder), Wanted(10, blends=False, whole={}), file, said.append) == []
    assert len(said) == 4


def test_a_disk_that_takes_no_file_costs_only_the_next_launch(
    folder: ExperimentFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "taken").touch()  # where a folder would have to be
    wanted, file = Wanted(10, blends=True, whole={}), tmp_path / "taken" / "methods.json"
    assert kept_methods(places(folder), wanted, file, lambda said: None)[0].name == "plain"
    assert "methods.json cannot be written" in caplog.text


def test_damage_is_one_line(folder: ExperimentFolder, tmp_path: Path):
    (places(folder)["m1"] / "part-0000.npy").write_bytes(b"torn")
    with pytest.raises(ConfigError, match=r"^no methods of m0, m1, m2: .*; evaluate again with job=evaluate$"):
        kept_methods(places(folder), Wanted(10, blends=True, whole={}), tmp_path / "methods.json", lambda said: None)


@pytest.mark.parametrize("dense", [[40], [40, 128]])
def test_whole_images_that_were_not_evaluated_are_named(folder: ExperimentFolder, dense: list[int]):
    said: list[str] = []
    config = Config(evaluation=EvaluationConfig(views=[1, 10], dense=dense))
    assert of_experiment.methods_of(folder, places(folder), config, said.append) == []
    assert said == [f"whole images at {dense} px were not evaluated by m0, m1, m2; job=evaluate does that"]


def test_the_tables_have_them(folder: ExperimentFolder, tmp_path: Path):
    scores = scored(places(folder), [1, 10])
    before = terminal_table(scores)
    assert "Beyond" not in before
    scores.methods = found(folder, blends=True, dense=[40, 64])
    text = terminal_table(scores)
    assert max(len(line) for line in text.splitlines()) <= 120
    lines = [" ".join(line.split()) for line in text.splitlines()]
    start = next(number for number, line in enumerate(lines) if line.startswith("Beyond the paper's table"))
    assert lines[start + 2] == "networks cost top-1 error 95% interval top-5 error NLL ECE vs plain p"
    assert lines[start + 4].startswith("plain mean, 10 crops 3 30 ")
    assert any(line.startswith("whole images, 2 scales 3 22.5 ") for line in lines)
    assert "weighted: m0 1.00, m1 0.00, m2 0.00." in text
    assert "no image has chosen" in text
    assert f"| greedy selection | {scores.methods[2].networks} |" in write(scores, tmp_path)[0].read_text()
    rows = list(csv.DictReader((tmp_path / "methods.csv").open()))
    assert [row["method"] for row in rows] == [each.name for each in scores.methods]
    assert float(rows[1]["top1_error"]) == pytest.approx(1 - scores.methods[1].scores.rates()["top1"])


def test_mlflow_gets_them_with_the_ensembles_scores(folder: ExperimentFolder):
    scores = scored(places(folder), [1, 10])
    scores.methods = found(folder, blends=True)
    found_metrics = metrics(scores.methods, "val")
    assert found_metrics["method_val_plain_cost"] == 30
    assert found_metrics["method_val_weighted_gain"] == pytest.approx(
        found_metrics["method_val_weighted_top1"] - found_metrics["method_val_plain_top1"]
    )
    assert found_metrics.items() <= final_metrics(scores, None, "val").items()
    assert not [key for key in final_metrics(scores, "m0", "val") if key.startswith("method")]


@pytest.mark.parametrize(
    ("model", "dense", "job", "said"),
    [
        ("torchvision/resnet18", [224], "train", "is not known to end in an average over its last maps"),
        ("googlenet", [224, 100], "train", r"give rising shorter sides in pixels, such as \[256,320\]"),
        ("googlenet", [128, 256], "train", "is trained with data.image_size=224; give at least that"),
        ("googlenet", [256], "sweep", "which a sweep's trials are not scored by"),
    ],
)
def test_what_cannot_be_evaluated_whole_is_refused(model: str, dense: list[int], job: str, said: str):
    with pytest.raises(ConfigError, match=said):
        EvaluationConfig(dense=dense).require_dense(model, 224, job)
