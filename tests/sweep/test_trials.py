"""The book of a sweep on disk."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from platform.config.checks import ConfigError
from platform.sweep.trials import CHANGES, FAILED, FILE, FINISHED, STATES, STOPPED, Book, Trial, lane_of, name_of


def trial(point: int = 0, seed: int = 0, **changes: Any) -> Trial:
    words = ["optim.lr=0.1", f"seed={seed}"]
    return Trial(**{"name": name_of(point, seed), "point": point, "values": {"optim.lr": 0.1}, "seed": seed,
                    "overrides": words} | changes)  # fmt: skip


def test_no_book_is_an_empty_one(tmp_path: Path):
    assert Book.read(tmp_path) == Book()


def test_what_is_written_is_read(tmp_path: Path):
    values = {"optim.lr": 1e-05, "schedule": "cosine", "sampling.area": [0.08, 1.0], "a": None, "b": True, "c": "\n'é"}
    changes = [[2.0, "optim.lr", 0.08]]
    book = Book({"seed": 0, "data": {"name": "digits"}}, {"schedule": "googlenet"}, "0123abc",
                [trial(values=values, changes=changes), trial(0, 1, state=FINISHED), trial(1, state=FAILED, reason="x"),
                 trial(2, state=STOPPED)])  # fmt: skip
    book.write(tmp_path)
    assert Book.read(tmp_path) == book
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert book.points == 3
    assert [each.seed for each in book.of_point(0)] == [0, 1]
    assert book.trial("p001-s0").reason == "x"


def test_names_and_lanes_differ():
    trials = [(point, seed) for point in (0, 7, 999, 1000, 12345) for seed in (0, 1, 999)]
    names = [name_of(*each) for each in trials]
    assert names[0] == "p000-s0"
    assert len({lane_of(name) for name in names}) == len(set(names)) == len(trials)


def of(*trials: dict[str, Any]) -> str:
    return json.dumps({"trials": list(trials)})


GOOD = asdict(trial())


def test_the_damaged_books_below_are_whole_but_for_their_damage(tmp_path: Path):
    (tmp_path / FILE).write_text(of(GOOD, asdict(trial(1))))
    assert Book.read(tmp_path).points == 2
    assert all(asdict(trial(state=state)) for state in STATES)


@pytest.mark.parametrize(
    "content",
    [
        "",
        of(GOOD)[:-10],
        "[]",
        "{}",
        "3",
        "null",
        b"\xff\xfe",
        "[" * 100_000,
        json.dumps({"trials": None}),
        json.dumps({"trials": [1]}),
        json.dumps({"trials": [], "colour": 1}),
        of({"name": "p000-s0"}),
        of(GOOD | {"colour": 1}),
        of(GOOD | {"name": "../../elsewhere"}),
        of(GOOD | {"point": "0"}),
        of(GOOD | {"seed": None}),
        of(GOOD | {"state": "asleep"}),
        of(GOOD | {"state": []}),
        of(GOOD | {"values": ["optim.lr"]}),
        of(GOOD, GOOD),
        of(asdict(trial(1))),
    ],
)
def test_a_damaged_book_says_so_in_one_line(tmp_path: Path, content: str | bytes):
    (tmp_path / FILE).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(
        ConfigError, match=r"trials\.json is damaged \(.*\); bring it back, or give fresh=true"
    ) as error:
        Book.read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_book_is_its_file_and_what_changed_since(tmp_path: Path):
    book = Book(trials=[trial(0), trial(1)])
    book.write(tmp_path)
    book.trials[0].state = FINISHED
    book.note(tmp_path, book.trials[0])
    book.trials.append(trial(2))
    book.note(tmp_path, book.trials[2])
    assert Book.read(tmp_path) == book
    lines = (tmp_path / CHANGES).read_text()
    book.trials[2].state, book.trials[2].changes = STOPPED, [[1.0, "optim.lr", 0.3]]
    book.note(tmp_path, book.trials[2])
    assert Book.read(tmp_path) == book
    book.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert Book.read(tmp_path) == book
    (tmp_path / CHANGES).write_text(lines + '{"name": "p003')  # killed before they went, and in a line
    assert [each.state for each in Book.read(tmp_path).trials] == [FINISHED, "waiting", "waiting"]


@pytest.mark.parametrize("damage", ["3\n", "{}\n", "{\n", json.dumps(GOOD | {"name": "../x"}) + "\n"])
def test_a_damaged_change_of_the_book_is_one_line(tmp_path: Path, damage: str):
    Book(trials=[trial(0)]).write(tmp_path)
    (tmp_path / CHANGES).write_text(damage)
    with pytest.raises(ConfigError, match=r"trials\.json is damaged \(.*\); bring it back, or give fresh=true"):
        Book.read(tmp_path)


def test_changes_without_their_book_are_not_an_empty_book(tmp_path: Path):
    Book(trials=[trial(0)]).note(tmp_path, trial(0))
    with pytest.raises(ConfigError, match=r"trials\.json is missing, though trials\.jsonl is there"):
        Book.read(tmp_path)
