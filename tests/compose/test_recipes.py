"""Every experiment composes as it is and in the paper's size, says what it is, and is in the table of recipes."""

import re
import shlex

import pytest

from platform.checkout import ROOT
from platform.config.sections import Experiment
from tests.composing import experiment_of

FILES = {path.stem: path.read_text() for path in sorted((ROOT / "conf" / "experiment").glob("*.yaml"))}
WRITTEN = "_from_sweep"  # by job=promote
RECIPES = [name for name in FILES if not name.endswith(WRITTEN)]
LAUNCH = "#   python -m platform.launch "
WITHOUT_SCORE = ("sampling_schedule_sweep", "flowers17")  # of no paper


def head(name: str) -> list[str]:
    """The comments above the settings."""
    return [line for line in FILES[name].splitlines()[1:] if line.startswith("#")]


def commands(name: str) -> list[list[str]]:
    return [shlex.split(line.removeprefix(LAUNCH).split("   ")[0]) for line in head(name) if line.startswith(LAUNCH)]


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
    assert commands(name)
    for words in commands(name):
        experiment, _ = experiment_of(*[word.replace("PATH", "images") for word in words])
        assert experiment.config.name


@pytest.mark.parametrize("name", RECIPES)
def test_it_stands_in_the_table_of_recipes(name: str):
    assert f"| `{name}` |" in (ROOT / "docs" / "recipes.md").read_text()


@pytest.mark.parametrize(
    ("name", "size", "paper"),
    [
        ("googlenet", 224, {"1x144": 0.0789}), ("googlenet_ens", 224, {"7x144": 0.0667}),
        ("bn_inception", 224, {"1x144": 0.0582}), ("bn_inception_ens", 224, {"6x144": 0.049}),
        ("inception_v3", 299, {"1x12": 0.0448}), ("inception_v3_ens", 299, {"4x144": 0.0358}),
        ("crops", 224, {"1x10": 0.0915}),
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
