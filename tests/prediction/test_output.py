"""The same rows as CSV, JSON lines and Parquet; a place that cannot be written is said before anything is done."""

import csv
import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from platform.config.checks import ConfigError
from platform.config.data import StorageConfig
from platform.data.storage import Storage
from platform.prediction.output import require_output, write_output

SCHEMA = pa.schema([("image", pa.string()), ("probability", pa.float32()), ("label_rank", pa.int32())])
ROWS = [
    {"image": 'a, "b"\n.jpg', "probability": 0.1, "label_rank": 1},
    {"image": "ö.jpg", "probability": None, "label_rank": None},
]
TABLES = [pa.Table.from_pylist([row], SCHEMA) for row in ROWS]
STORAGE = Storage(StorageConfig())


def test_the_extension_chooses_the_format(tmp_path: Path):
    for name in ("x.csv", "x.jsonl", "new/x.PARQUET"):
        write_output(str(tmp_path / name), SCHEMA, TABLES, STORAGE)
    with open(tmp_path / "x.csv", newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {"image": 'a, "b"\n.jpg', "probability": "0.1", "label_rank": "1"},
            {"image": "ö.jpg", "probability": "", "label_rank": ""},
        ]
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ROWS
    assert parquet.read_table(tmp_path / "new" / "x.PARQUET").equals(pa.concat_tables(TABLES))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "x.csv", "x.jsonl"]


def test_a_url_gets_it_too():
    write_output("memory://out/x.jsonl", SCHEMA, TABLES, STORAGE)
    assert len(fsspec.filesystem("memory").cat("/out/x.jsonl").splitlines()) == 2


def test_what_breaks_off_leaves_the_file_of_before(tmp_path: Path):
    (tmp_path / "x.csv").write_text("before")

    def torn():
        yield TABLES[0]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_output(str(tmp_path / "x.csv"), SCHEMA, torn(), STORAGE)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.csv", "before")]


def test_places_that_cannot_be_written_are_one_line(tmp_path: Path):
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(ConfigError, match=r"predict\.output is .*x\.csv, a folder; give a file in it"):
        require_output("predict.output", str(tmp_path / "x.csv"))
    with pytest.raises(ConfigError, match=r"predict\.output: /proc/new cannot be written to"):
        require_output("predict.output", "/proc/new/x.csv")
    with pytest.raises(ConfigError, match="which cannot be written to; give a file, or s3://"):
        require_output("predict.output", "http://host/x.csv")
    require_output("predict.output", str(tmp_path / "new" / "x.csv"))
    assert not (tmp_path / "new").exists()
