"""Every experiment composes as it is and in the paper's size, says what it is, and is in the table of recipes."""

import re
import shlex

import pytest

from platform.checkout import ROOT
from platform.config.experiment import Experiment
from tests.composing import composing, experiment_of

FILES = {path.stem: path.read_text() for path in sorted((ROOT / "conf" / "experiment").glob("*.yaml"))}
WRITTEN = "_from_sweep"  # by job=promote
RECIPES = [name for name in FILES if not name.endswith(WRITTEN)]
LAUNCH = "#   python -m platform.launch "
WITHOUT_SCORE = ("sampling_schedule_sweep", "flowers17", "smoke")  # of no paper


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


# What the papers print, by hand: top-1 and top-5 error in %, multiply-adds in billions.
# GD: Going Deeper with Convolutions; RI: Rethinking the Inception Architecture.
GD_ONE = {"1x1": [None, 10.07], "1x10": [None, 9.15], "1x144": [None, 7.89]}
BN_INCEPTION = {"1x1": [25.2, 7.8], "1x144": [22.0, 5.82]}  # RI, Tables 3 and 4
INCEPTION_V3 = {"1x1": [21.2, 5.6], "1x12": [19.47, 4.48], "1x144": [18.77, 4.2]}  # RI, Tables 3 and 4
FIGURES: dict[str, dict[str, list[float | None]]] = {
    "googlenet": GD_ONE,
    "googlenet_ens": GD_ONE | {"7x1": [None, 8.09], "7x10": [None, 7.62], "7x144": [None, 6.67]},
    "aux_heads": {"both": [None, 10.07, 1.5]},
    "naive_module": {"reductions": [None, 10.07, 1.5]},
    "crops": {"1x10": [None, 9.15], "1x144": [None, 7.89]},  # RI, Table 4
    "bn_googlenet": {"1x1": [26.8, None, 1.5]},  # RI, Table 3
    "bn_inception": BN_INCEPTION,
    "bn_inception_ens": BN_INCEPTION | {"6x144": [20.1, 4.9]},  # RI, Table 5
    "inception_v2": {"1x1": [23.4, None, 3.8]},  # RI, Table 3
    "inception_v3": INCEPTION_V3,
    "inception_v3_ens": INCEPTION_V3 | {"4x144": [17.2, 3.58]},  # RI, Table 5
    "resolution": {"px299": [23.4], "px151": [23.6], "px79": [24.8]},  # RI, Table 2
    "inception_ladder": {  # RI, Table 3
        "googlenet": [29.0, 9.2, 1.5],
        "bn_googlenet": [26.8, None, 1.5],
        "bn_inception": [25.2, 7.8, 2.0],
        "inception_v2": [23.4, None, 3.8],
        "rmsprop": [23.1, 6.3, 3.8],
        "label_smoothing": [22.8, 6.1, 3.8],
        "factorised_7x7": [21.6, 5.8, 4.8],
        "bn_auxiliary": [21.2, 5.6, 4.8],
    },
    "alexnet": {"1x10": [40.7, 18.2]},
    "resnet50": {"1x10": [22.85, 6.71]},
    "resnet50_a3": {"1x1": [21.9]},
}
WITHOUT_FIGURES = (
    "vgg16",
    "nin",
    "cifar10_fast",
    "flowers17",
    "sampling_schedule_sweep",
    "googlenet_distilled",
    "smoke",
)


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in WITHOUT_FIGURES])
def test_the_papers_figures(name: str):
    """All of them, each of a line or row that the table has."""
    experiment = paper_size(name)
    assert experiment.config.table.paper == FIGURES[name]
    assert experiment.config.data.image_size == (299 if "v2" in name or "v3" in name or "ladder" in name else 224)
    for row in FIGURES[name]:
        if experiment.config.table.has_rows:
            assert row in experiment.members
        else:
            models, crops = map(int, row.split("x"))
            assert models in (1, len(experiment.members))
            assert crops in experiment.config.evaluation.views


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "nin", "resnet50", "resnet50_a3"])
def test_nothing_is_averaged_where_the_paper_has_no_average(name: str):
    assert paper_size(name).config.training.averaging == "none"


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
