"""Finished blocks: another process goes on with them, but never with those of other work."""

from dataclasses import replace
from pathlib import Path

import pytest

from platform.config.checks import ConfigError
from platform.config.data import StorageConfig
from platform.data.storage import Storage
from platform.export.description import Description
from platform.prediction.parts import Columns, InFolder, InMemory, Work
from platform.prediction.rows import Opinion, Row

MODEL = Description(["cat", "dog"], ["a", "b"], 32, [0.5] * 3, [0.5] * 3, True, 1)
WORK = Work(images=4, images_digest="i", model="runs/x", model_digest="m", views=10, top_k=2, block=2)
CAT, DOG = Opinion("cat", 0.75), Opinion("dog", 0.25)
ROWS = [
    Row("1.jpg", "", [CAT, DOG], [CAT, DOG], 0.5, "cat", 1, None),
    Row("2.jpg", "val", [], [], None, None, None, "torn"),
]


def parts(folder: Path, work: Work = WORK) -> InFolder:
    found = InFolder(str(folder / "x.csv.parts"), Columns(MODEL, 2), Storage(StorageConfig()))
    found.open(work)
    return found


def test_what_one_process_writes_another_reads(tmp_path: Path):
    parts(tmp_path).write(3, ROWS)
    again = parts(tmp_path)
    assert again.finished() == {3}
    assert again.columns.rows(again.table(3)) == ROWS
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_in_memory_they_are_the_same():
    kept = InMemory(Columns(MODEL, 2))
    kept.write(0, ROWS)
    assert kept.finished() == {0}
    assert kept.columns.rows(kept.table(0)) == ROWS


def test_blocks_of_other_work_are_refused_with_the_difference(tmp_path: Path):
    parts(tmp_path)
    with pytest.raises(
        ConfigError, match=r"holds blocks of other work \(images: 4 -> 5; views: 10 -> 1\); give another"
    ):
        parts(tmp_path, replace(WORK, images=5, views=1))
    parts(tmp_path, replace(WORK, model="the same files elsewhere"))


def test_what_is_damaged_is_one_line(tmp_path: Path):
    found = parts(tmp_path)
    (tmp_path / "x.csv.parts" / "000001.parquet").write_bytes(b"torn")
    with pytest.raises(ConfigError, match=r"000001\.parquet is damaged; remove it and give the command again"):
        found.table(1)
    (tmp_path / "x.csv.parts" / "about.json").write_text("{")
    with pytest.raises(ConfigError, match=r"about\.json is damaged"):
        parts(tmp_path)
