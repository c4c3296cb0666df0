"""What a run was made with is known later, and how it differs from what is here."""

from dataclasses import replace
from pathlib import Path

import pytest

from platform.experiment.origin import FILE, Origin, changes, origin_here

THEN = Origin(
    command="python -m platform.launch +experiment=googlenet",
    began="2026-01-02 03:04:05 +0000",
    host="one",
    commit="abc",
    python="3.11.7",
    packages={"torch": "2.15.0", "numpy": "2.4.0", "gone": "1"},
    cpu="EPYC",
    gpus=[],
)


def test_it_is_written_and_read(tmp_path: Path):
    here = origin_here(["+experiment=googlenet", "name=a b"], {"train": "3 samples"})
    here.write(tmp_path)
    assert Origin.read(tmp_path) == here
    assert here.command == "python -m platform.launch +experiment=googlenet 'name=a b'"
    assert here.packages["torch"]
    assert here.cpu
    assert changes(here, replace(here, commit="x")) == [f"commit: {here.commit} -> x"]


def test_no_password_is_written():
    assert "hunter22" not in str(origin_here(["tracking.uri=http://me:hunter22@host:5000"], {}))


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"command": "x"}'])
def test_none_or_a_damaged_one_is_none(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / FILE).write_text(content)
    assert Origin.read(tmp_path) is None


def test_what_may_change_a_result_is_named():
    assert changes(THEN, replace(THEN, host="two", began="later", command="other")) == []
    now = replace(THEN, commit="def", python="3.12.1", cpu="Xeon", gpus=["H200"])
    assert changes(THEN, now) == [
        "commit: abc -> def",
        "Python: 3.11.7 -> 3.12.1",
        "CPU: EPYC -> Xeon",
        "GPUs: none -> H200",
    ]
    packages = {"torch": "2.16.0", "numpy": "2.4.0", "new": "3"}
    assert changes(THEN, replace(THEN, packages=packages)) == [
        "3 package(s): gone 1 -> none, new none -> 3, torch 2.15.0 -> 2.16.0"
    ]


def test_many_packages_are_counted():
    packages = {f"p{number}": "1" for number in range(9)}
    (line,) = changes(THEN, replace(THEN, packages=packages | THEN.packages))
    assert line.startswith("9 package(s): p0 none -> 1, ")
    assert line.endswith(" and 4 more")


def test_changes_without_a_commit_are_not_taken_for_none():
    dirty = replace(THEN, commit="abc-dirty")
    assert changes(dirty, dirty) == ["commit: abc-dirty both times, with changes that no commit has"]
