"""Scores that are kept: computed once, and again when what they were made from is another."""

import json
import logging
import os
import shutil
from pathlib import Path

import pytest

from platform.config.checks import ConfigError
from platform.evaluation import kept
from platform.evaluation.ensemble import score
from platform.evaluation.images import read_images
from platform.evaluation.kept import kept_scores
from platform.evaluation.probabilities import MemberProbabilities
from platform.evaluation.seal import SEAL
from tests.counting import cost_of
from tests.evaluation.test_ensemble import COUNTS, member

Members = dict[str, Path]


@pytest.fixture
def members(tmp_path: Path) -> Members:
    for number in range(3):
        member(tmp_path, number, corrupt=(2, 5))
    return {str(number): tmp_path / str(number) for number in range(3)}


def test_what_is_finished_is_scored_once_whatever_its_size(tmp_path: Path, members: Members):
    direct = score({name: MemberProbabilities(folder) for name, folder in members.items()}, COUNTS)
    said: list[str] = []
    file, images = tmp_path / "scores.json", tmp_path / "images.npz"
    assert kept_scores(members, COUNTS, file, said.append, images) == direct
    assert said == ["scoring 3 member(s) with up to 144 view(s) ..."]
    cost = cost_of(lambda: said.append(repr(kept_scores(members, COUNTS, file, said.append, images))), tmp_path)
    assert said[1:] == [repr(direct)]
    assert set(cost.opened) == {"scores.json", "images.npz", *(f"{name}/{SEAL}" for name in members)}
    assert cost.bytes_written == 0


def rewritten(members: Members) -> Members:
    """Evaluated again: as many bytes, others."""
    member(members["1"].parent, 7)
    shutil.copytree(members["1"].parent / "7", members["1"], dirs_exist_ok=True)
    shutil.rmtree(members["1"].parent / "7")
    return members


def fewer(members: Members) -> Members:
    return {name: members[name] for name in ("0", "1")}


@pytest.mark.parametrize("change", [rewritten, fewer])
def test_other_probabilities_are_scored_anew(tmp_path: Path, members: Members, change):
    file = tmp_path / "scores.json"
    before = kept_scores(members, COUNTS, file)
    members = change(members)
    direct = score({name: MemberProbabilities(folder) for name, folder in members.items()}, COUNTS)
    assert kept_scores(members, COUNTS, file) == direct != before


def test_other_views_and_other_rules_are_scored_anew(tmp_path: Path, members: Members, monkeypatch: pytest.MonkeyPatch):
    file, said = tmp_path / "scores.json", []
    kept_scores(members, [1], file, said.append)
    assert list(kept_scores(members, [1, 10], file, said.append).ensemble) == [1, 10]
    monkeypatch.setattr(kept, "RULES", kept.RULES + 1)
    kept_scores(members, [1, 10], file, said.append)
    assert len(said) == 3


def test_images_are_kept_beside_the_scores_and_made_anew_with_them(tmp_path: Path, members: Members):
    file, images, said = tmp_path / "scores.json", tmp_path / "images.npz", []
    kept_scores(members, COUNTS, file, said.append)  # of a launch that kept none
    kept_scores(members, COUNTS, file, said.append, images)
    first = read_images(images)
    assert first is not None
    assert first.names == list(members)
    kept_scores(fewer(members), COUNTS, file, said.append, images)
    second = read_images(images)
    assert second is not None
    assert second.names == ["0", "1"]
    images.write_bytes(b"PK torn")
    kept_scores(fewer(members), COUNTS, file, said.append, images)
    assert read_images(images) is not None
    assert len(said) == 4


@pytest.mark.parametrize("damage", ["", "[]", "3", "{}", "torn", "a score of text", "[" * 100_000])
def test_damaged_scores_are_computed_again_and_said(
    tmp_path: Path, members: Members, damage: str, caplog: pytest.LogCaptureFixture
):
    file = tmp_path / "scores.json"
    first = kept_scores(members, COUNTS, file)
    content = json.loads(file.read_text())
    if damage == "torn":
        damage = file.read_text()[:-20]
    elif damage == "a score of text":
        content["scores"]["ensemble"]["1"]["top1"] = "all"
        damage = json.dumps(content)
    file.write_text(damage)
    with caplog.at_level(logging.WARNING, "platform"):
        assert kept_scores(members, COUNTS, file) == first
    assert "scores.json is damaged" in caplog.text
    assert len(caplog.records) == 1
    assert kept_scores(members, COUNTS, file) == first
    assert len(caplog.records) == 1


@pytest.mark.parametrize("damage", ["cut off", "gone", "no zip"])
def test_damaged_probabilities_are_one_line_that_names_the_member(tmp_path: Path, members: Members, damage: str):
    file = tmp_path / "scores.json"
    kept_scores(members, COUNTS, file)
    if damage == "cut off":
        os.truncate(members["1"] / "part-0000.npy", 5000)
    elif damage == "gone":
        (members["1"] / "part-0000.npy").unlink()
    else:
        (members["1"] / "part-0000-labels.npz").write_bytes(b"PK nonsense")
    with pytest.raises(
        ConfigError, match=r"probabilities of 1 in .*1 cannot be read .*; evaluate again with job"
    ) as error:
        kept_scores(members, COUNTS, file)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_members_that_do_not_go_together_are_one_line(tmp_path: Path, members: Members):
    with pytest.raises(ConfigError, match=r"no scores of 0, 1, 2: 0 was not evaluated like this: .*job=evaluate"):
        kept_scores(members, [1, 145], tmp_path / "scores.json")


def test_a_disk_without_room_costs_the_next_launch_a_scoring(
    tmp_path: Path, members: Members, caplog: pytest.LogCaptureFixture
):
    nowhere = tmp_path / "no such folder" / "scores.json"
    with caplog.at_level(logging.WARNING, "platform"):
        assert kept_scores(members, COUNTS, nowhere).samples == 41
    assert "cannot be written" in caplog.text
