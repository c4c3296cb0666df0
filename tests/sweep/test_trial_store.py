"""The store of a sweep on disk."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from platform.config.checks import ConfigError
from platform.sweep.trial_store import (
    CHANGES,
    FAILED,
    FILE,
    FINISHED,
    STATES,
    STOPPED,
    Trial,
    TrialStore,
    lane_of,
    name_of,
)


def trial(point: int = 0, seed: int = 0, **changes: Any) -> Trial:
    overrides = ["optim.lr=0.1", f"seed={seed}"]
    return Trial(**{"name": name_of(point, seed), "point": point, "values": {"optim.lr": 0.1}, "seed": seed,
                    "overrides": overrides} | changes)  # fmt: skip


def test_no_store_is_an_empty_one(tmp_path: Path):
    assert TrialStore.read(tmp_path) == TrialStore()


def test_what_is_written_is_read(tmp_path: Path):
    values = {"optim.lr": 1e-05, "schedule": "cosine", "sampling.area": [0.08, 1.0], "a": None, "b": True, "c": "\n'é"}
    changes = [[2.0, "optim.lr", 0.08]]
    store = TrialStore({"seed": 0, "data": {"name": "digits"}}, {"schedule": "googlenet"}, "0123abc",
                [trial(values=values, changes=changes), trial(0, 1, state=FINISHED), trial(1, state=FAILED, reason="x"),
                 trial(2, state=STOPPED)])  # fmt: skip
    store.write(tmp_path)
    assert TrialStore.read(tmp_path) == store
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert store.points == 3
    assert [each.seed for each in store.of_point(0)] == [0, 1]
    assert store.trial("p001-s0").reason == "x"


def test_names_and_lanes_differ():
    trials = [(point, seed) for point in (0, 7, 999, 1000, 12345) for seed in (0, 1, 999)]
    names = [name_of(*each) for each in trials]
    assert names[0] == "p000-s0"
    assert len({lane_of(name) for name in names}) == len(set(names)) == len(trials)


def of(*trials: dict[str, Any]) -> str:
    return json.dumps({"trials": list(trials)})


GOOD = asdict(trial())


def test_the_damaged_stores_below_are_whole_but_for_their_damage(tmp_path: Path):
    (tmp_path / FILE).write_text(of(GOOD, asdict(trial(1))))
    assert TrialStore.read(tmp_path).points == 2
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
def test_a_damaged_store_says_so_in_one_line(tmp_path: Path, content: str | bytes):
    (tmp_path / FILE).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(
        ConfigError, match=r"trials\.json is damaged \(.*\); bring it back, or give fresh=true"
    ) as error:
        TrialStore.read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_store_is_its_file_and_what_changed_since(tmp_path: Path):
    store = TrialStore(trials=[trial(0), trial(1)])
    store.write(tmp_path)
    store.trials[0].state = FINISHED
    store.note(tmp_path, store.trials[0])
    store.trials.append(trial(2))
    store.note(tmp_path, store.trials[2])
    assert TrialStore.read(tmp_path) == store
    lines = (tmp_path / CHANGES).read_text()
    store.trials[2].state, store.trials[2].changes = STOPPED, [[1.0, "optim.lr", 0.3]]
    store.note(tmp_path, store.trials[2])
    assert TrialStore.read(tmp_path) == store
    store.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert TrialStore.read(tmp_path) == store
    (tmp_path / CHANGES).write_text(lines + '{"name": "p003')  # killed before they went, and in a line
    assert [each.state for each in TrialStore.read(tmp_path).trials] == [FINISHED, "waiting", "waiting"]


@pytest.mark.parametrize("damage", ["3\n", "{}\n", "{\n", json.dumps(GOOD | {"name": "../x"}) + "\n"])
def test_a_damaged_change_of_the_store_is_one_line(tmp_path: Path, damage: str):
    TrialStore(trials=[trial(0)]).write(tmp_path)
    (tmp_path / CHANGES).write_text(damage)
    with pytest.raises(ConfigError, match=r"trials\.json is damaged \(.*\); bring it back, or give fresh=true"):
        TrialStore.read(tmp_path)


def test_changes_without_their_store_are_not_an_empty_store(tmp_path: Path):
    TrialStore(trials=[trial(0)]).note(tmp_path, trial(0))
    with pytest.raises(ConfigError, match=r"trials\.json is missing, though trials\.jsonl is there"):
        TrialStore.read(tmp_path)
