"""Every experiment composes as it is and in the paper's size, says what it is, and is in the table of recipes."""

import re
import shlex

import pytest

from platform.checkout import ROOT
from platform.config.sections import Experiment
from tests.composing import composing, experiment_of

FILES = {path.stem: path.read_text() for path in sorted((ROOT / "conf" / "experiment").glob("*.yaml"))}
WRITTEN = "_from_sweep"  # by job=promote
RECIPES = [name for name in FILES if not name.endswith(WRITTEN)]
LAUNCH = "#   python -m platform.launch "
WITHOUT_SCORE = ("sampling_schedule_sweep", "flowers17")  # of no paper


def head(name: str) -> list[str]:
    """The comments above the settings."""
    return [line for line in FILES[name].splitlines()[1:] if line.startswith("#")]


def commands(name: str) -> list[list[str]]:
    lines = [line.removeprefix(LAUNCH).split("   ")[0] for line in head(name) if line.startswith(LAUNCH)]
    return [shlex.split(line.replace("PATH", "images")) for line in lines]


def paper_size(name: str) -> Experiment:
    """The paper's case."""
    return experiment_of(*next(words for words in commands(name) if "data=imagenet" in words))[0]


@pytest.mark.parametrize("name", RECIPES)
def test_an_experiment_is_one_screen_and_says_what_it_is(name: str):
    text = "\n".join(head(name))
    assert len(FILES[name].splitlines()) <= 50
    assert f"+experiment={name}" in text
    assert "# Needs: " in text
    assert name in WITHOUT_SCORE or re.search(r"[Pp]aper[^:]*: .*\d%", text), "the paper's score"


@pytest.mark.parametrize("name", RECIPES)
def test_each_of_its_commands_composes(name: str):
    """The last, which is the paper's where there is one, with its members: they differ alike in all."""
    *others, last = commands(name)
    with composing() as composer:
        assert all(composer.config(words).name for words in others)
    assert experiment_of(*last)[0].config.name


@pytest.mark.parametrize("name", RECIPES)
def test_it_stands_in_the_table_of_recipes(name: str):
    assert f"| `{name}` |" in (ROOT / "docs" / "recipes.md").read_text()


@pytest.mark.parametrize(
    ("name", "size", "paper"),
    [
        ("googlenet", 224, {"1x144": 0.0789}), ("googlenet_ens", 224, {"7x144": 0.0667}),
        ("bn_inception", 224, {"1x144": 0.0582}), ("bn_inception_ens", 224, {"6x144": 0.049}),
        ("inception_v3", 299, {"1x12": 0.0448}), ("inception_v3_ens", 299, {"4x144": 0.0358}),
        ("crops", 224, {"1x10": 0.0915}), ("alexnet", 224, {"1x10": 0.182}),
    ],
)  # fmt: skip
def test_the_papers_size_and_figures(name: str, size: int, paper: dict[str, float]):
    experiment = paper_size(name)
    assert experiment.config.data.image_size == size
    for row, error in paper.items():
        models, crops = map(int, row.split("x"))
        assert len(experiment.members) == max(models, 1)
        assert crops in experiment.config.evaluation.views
        assert experiment.config.table.figures(row).top5_error == pytest.approx(error)


def test_the_distilled_network_learns_from_the_ensemble_of_the_same_data():
    """As GoogLeNet is trained, but for the teacher."""
    student, alone = paper_size("googlenet_distilled").config, paper_size("googlenet").config
    assert (student.job, student.distill.teacher) == ("distill", paper_size("googlenet_ens").config.name)
    assert student.distill.teacher == "googlenet_ens-imagenet"
    for part in ("model", "data", "sampling", "optim", "schedule", "loss", "training", "table"):
        assert getattr(student, part) == getattr(alone, part), part


def test_inception_v3_is_trained_as_the_second_paper_says():
    config = paper_size("inception_v3").config
    assert (config.optim.name, config.optim.lr, config.optim.clip_norm) == ("rmsprop", 0.045, 2.0)
    assert (config.schedule.factor, config.schedule.every_epochs) == (0.94, 2)
    assert (config.loss.smoothing, config.training.epochs, config.training.batch_size) == (0.1, 100, 50 * 32)
    assert (config.model.name, config.training.averaging) == ("inception_v3", "ema")


def test_the_rows_of_the_resolution_table():
    experiment = paper_size("resolution")
    rows = {name: (config.data.image_size, vars(config.model)) for name, config in experiment.members.items()}
    assert [size for size, _ in rows.values()] == [299, 151, 79]
    assert [model["first_stride"] for _, model in rows.values()] == [2, 1, 1]
    assert [model["first_pool"] for _, model in rows.values()] == [True, True, False]


def test_each_row_of_the_ladder_adds_one_change():
    experiment = paper_size("inception_ladder")
    rows = list(experiment.members.values())
    assert [(config.data.image_size, config.training.batch_size) for config in rows] == 8 * [(299, 50 * 32)]
    networks = [(config.model.name, vars(config.model).get("batch_norm")) for config in rows[:4]]
    assert networks == [("googlenet", False), ("googlenet", True), ("bn_inception", None), ("inception_v2", None)]
    assert [config.optim.name for config in rows] == 4 * ["sgd"] + 4 * ["rmsprop"]
    assert [config.loss.smoothing for config in rows] == 5 * [0.0] + 3 * [0.1]
    assert [vars(config.model)["factorised_stem"] for config in rows[3:]] == 3 * [False] + 2 * [True]
    assert [vars(config.model)["auxiliary_batch_norm"] for config in rows[3:]] == 4 * [False] + [True]
    assert {(config.optim.lr, config.optim.clip_norm) for config in rows} == {(0.045, 2.0)}
    errors = [experiment.config.table.figures(name).top1_error for name in experiment.members]
    assert errors == pytest.approx([0.29, 0.268, 0.252, 0.234, 0.231, 0.228, 0.216, 0.212])


def test_the_auxiliary_heads_that_are_compared():
    rows = paper_size("aux_heads").members.values()
    assert [vars(config.model)["auxiliary"] for config in rows] == ["none", "first", "second", "both"]


def test_resnet50_is_trained_by_procedure_a3():
    config = paper_size("resnet50_a3").config
    assert (config.model.name, config.data.image_size, config.training.sizes) == (
        "torchvision/resnet50",
        224,
        [[0, 160]],
    )
    assert (config.optim.name, config.optim.weight_decay, config.training.batch_size) == ("lamb", 0.02, 2048)
    assert config.optim.lr_of(config.training.batch_size) == pytest.approx(8e-3)
    assert (config.schedule.name, config.schedule.warmup_epochs, config.training.epochs) == ("cosine", 5, 100)
    assert (config.loss.name, config.transforms.rand_magnitude, config.transforms.mixup_alpha) == ("bce", 6, 0.1)
    assert (config.transforms.cutmix_alpha, config.sampling.repeats, config.training.averaging) == (1.0, 1, "none")


@pytest.mark.parametrize("name", ["inception_v2", "inception_v3", "inception_v3_ens", "inception_ladder", "resolution"])
def test_the_second_papers_rate_follows_the_batch(name: str):
    with composing() as composer:
        small = composer.config([f"+experiment={name}"])
    assert small.optim.lr_of(small.training.batch_size) == pytest.approx(0.045 * 32 / 1600)
    for config in paper_size(name).members.values():
        assert config.optim.lr_of(config.training.batch_size) == pytest.approx(0.045)
