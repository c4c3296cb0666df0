"""Rows of a table: their members, and what is refused."""

import re
from dataclasses import astuple

import pytest

from platform.config.checks import ConfigError
from platform.config.table import PaperFigures, TableConfig
from tests.composing import experiment_of

ROWS = {"plain": ["model=googlenet"], "bn": ["model=googlenet_bn"], "clip": ["optim.clip_norm=2", "model.width=0.5"]}


def test_members_of_an_ensemble_stay_as_they_are():
    assert TableConfig().members(ROWS, seed=3) == ROWS


def test_a_row_has_a_member_a_seed_and_the_first_has_its_name():
    table = TableConfig(against="first", seeds=3)
    members = table.members(ROWS, seed=5)
    assert list(members)[:4] == ["plain", "plain-seed1", "plain-seed2", "bn"]
    assert members["plain"] == ["model=googlenet"]
    assert members["plain-seed2"] == ["model=googlenet", "seed=7"]
    assert table.rows(list(members)) == {row: [row, f"{row}-seed1", f"{row}-seed2"] for row in ROWS}


def test_a_ladder_keeps_what_the_rows_above_changed():
    members = TableConfig(against="previous", cumulative=True, seeds=2).members(ROWS, seed=0)
    assert members["clip"] == ["model=googlenet_bn", "optim.clip_norm=2", "model.width=0.5"]
    assert members["bn-seed1"] == ["model=googlenet_bn", "seed=1"]


def test_the_papers_figures_are_shares():
    table = TableConfig(paper={"7x144": [None, 6.67], "v3": [21.2, 5.6, 4.8]})
    assert astuple(table.figures("7x144")) == (None, pytest.approx(0.0667), None)
    assert astuple(table.figures("v3")) == (pytest.approx(0.212), pytest.approx(0.056), 4.8)
    assert table.figures("other") == PaperFigures()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"against": "last"}, "choose one of none, previous, first"),
        ({"seeds": 3}, "table.seeds is 3, which has no effect"),
        ({"cumulative": True}, "table.cumulative is true, which has no effect"),
        ({"against": "first", "seeds": 0}, "table.seeds is 0"),
        ({"paper": {"a": [200.0]}}, "errors in per cent"),
        ({"paper": {"a": []}}, "errors in per cent"),
        ({"paper": {"a": 29}}, "errors in per cent"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict, said: str):
    with pytest.raises(ConfigError, match=said):
        TableConfig(**settings)


def test_rows_are_composed_with_their_seeds():
    members = "ensemble.members={a:['model.width=0.25'],b:['model=googlenet_bn','model.width=0.25']}"
    words = ("job=ensemble", f"+{members}", "table.against=first", "table.seeds=2", "seed=4")
    experiment, _ = experiment_of(*words)
    assert {name: (config.seed, config.model.label) for name, config in experiment.members.items()} == {
        "a": (4, "googlenet x0.25"), "a-seed1": (5, "googlenet x0.25"),
        "b": (4, "googlenet x0.25 bn"), "b-seed1": (5, "googlenet x0.25 bn"),
    }  # fmt: skip


def test_the_papers_figures_may_be_whole_numbers():
    experiment, _ = experiment_of("+table.paper={1x1:[29,null]}")
    assert experiment.config.table.figures("1x1").top1_error == pytest.approx(0.29)


def test_one_row_is_no_table():
    with pytest.raises(ConfigError, match=r"table.against is first, and ensemble.members has 1 row\(s\) to compare"):
        experiment_of("+ensemble.members={a:['seed=1']}", "table.against=first")


MEMBERS = "+ensemble.members={a:['model.width=0.25'],b:['model=googlenet_bn','model.width=0.25']}"
TABLE = (MEMBERS, "table.against=first")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*TABLE, "evaluation.blends=true"], "compares members, and evaluation.blends averages them"),
        ([*TABLE, "evaluation.dense=[40]"], "compares members, and evaluation.dense averages them"),
        ([*TABLE, "training.also_average=[ema]"], "compares members, and training.also_average averages them"),
        (
            [*TABLE, "schedule=cosine_restarts", "training.snapshots=true"],
            "compares members, and training.snapshots averages them",
        ),
        (
            [TABLE[0].replace("0.25']}", "0.25','training.also_average=[ema]']}"), TABLE[1]],
            "member b: table.against is first, which compares members, and training.also_average",
        ),
        ([*TABLE, "registry.name=net"], "registry.name is net, and table.against=first compares rows"),
        ([*TABLE, "+table.paper={plian:[20.0]}"], "table.paper.plian is no line of this table, whose rows are a, b;"),
        ([*TABLE, "+table.paper={7x144:[20.0]}"], "table.paper.7x144 is no line of this table"),
        (["+table.paper={7x:[20.0]}"], "table.paper.7x is no line of this table, whose lines are MODELSxCROPS"),
        (["job=sweep", "evaluation.blends=true"], "evaluation.blends averages the members of an ensemble"),
    ],
)
def test_what_would_be_lost_at_the_end_is_refused_before_it_begins(words: list[str], said: str):
    with pytest.raises(ConfigError, match=re.escape(said)):
        experiment_of("job=check", *words) if words[0] != "job=sweep" else experiment_of(*words)


def test_a_row_is_registered_with_the_tables_own_command():
    experiment, _ = experiment_of("job=register", *TABLE, "registry.name=net", "+table.paper={a:[20.0]}")
    assert experiment.config.registry.name == "net"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"a": [], "a-seed1": []}, "a-seed1 is a row, and what table.seeds=2 calls a training of row a"),
        ({"a": ["seed=7"], "b": []}, "row a sets seed, and table.seeds=2 trains each row"),
    ],
)
def test_no_training_is_lost_to_another_of_its_name_or_seed(rows: dict[str, list[str]], said: str):
    with pytest.raises(ConfigError, match=said):
        TableConfig(against="first", seeds=2).members(rows, seed=0)
    assert TableConfig(against="first").members(rows, seed=0) == rows
