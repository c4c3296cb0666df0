"""What is said of samples without an image or label: what would do, and never what was given already."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from platform.config.checks import ConfigError
from platform.config.data import DataConfig, StorageConfig
from platform.packing.adopt import index_shards
from tests.data.handmade import write_tar


def shards(folder: Path, members: dict[str, bytes]) -> DataConfig:
    for number in range(2):
        write_tar(folder / f"{number}.tar", members)
    return DataConfig(shards=str(folder), source=None, classes=2)


def said(data: DataConfig, label: str = "cls", image: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        index_shards(data, StorageConfig(), label, image=image)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_remedy_is_what_was_done_already(tmp_path: Path) -> None:
    data = shards(tmp_path, {"0.a.jpg": b"a", "0.b.jpg": b"b", "1.a.jpg": b"a", "1.b.jpg": b"b"})
    assert said(data).endswith(
        "; give pack.image=a.jpg or b.jpg, or give pack.label=txt or json:FIELD, or mend the shards"
    )
    assert said(data, image="b.jpg").endswith(
        "0 of 1.tar (a.jpg, b.jpg) ...; give pack.label=txt or json:FIELD, or mend the shards"
    )


def test_what_an_image_is_called_otherwise_is_named_where_labels_are_there(tmp_path: Path) -> None:
    data = shards(tmp_path, {"0.jpg": b"a", "0.cls": b"0", "1.b.jpg": b"b", "1.cls": b"1"})
    assert said(data).endswith(
        ": 1 of 0.tar (b.jpg, cls); 1 of 1.tar (b.jpg, cls); give pack.image=b.jpg, or mend the shards"
    )
    assert said(data, image="b.jpg").endswith("; give pack.image=jpg, or mend the shards")


@pytest.mark.parametrize(
    ("content", "label", "remedy"),
    [
        ({"m": {"b": [1], "c": 1}, "x": 3}, "json:m", "give pack.label=json:m.c, or"),
        ({"url": "u", "ok": True, "deep": {"class": 3}}, "cls", "give pack.label=json:deep.class or json:url, or"),
        ({f"f{i}": i for i in range(9)}, "cls", "json:f3 or json:f4 ..., or"),
        ({"a\nb": 1}, "cls", "give pack.label=txt or json:FIELD, or"),
        ([1], "json:0.x", "give pack.label=cls, txt or json:FIELD, or"),
    ],
)
def test_the_fields_that_hold_a_word_or_number_are_named(tmp_path: Path, content: Any, label: str, remedy: str) -> None:
    data = shards(tmp_path, {"0.jpg": b"a", "0.json": json.dumps(content).encode()})
    assert remedy in said(data, label)


def test_json_that_is_none_or_endless_is_passed_over(tmp_path: Path) -> None:
    data = shards(tmp_path, {"0.jpg": b"", "0.json": b"{", "1.jpg": b"", "1.json": b"[" * 200_000})
    assert "give pack.label=txt or json:FIELD" in said(data)


def test_what_was_left_out_is_said_where_it_may_be_the_cause(tmp_path: Path) -> None:
    """Labels that are links out of the shard."""
    data = shards(tmp_path, {"0.jpg": b"a"})
    with tarfile.open(tmp_path / "0.tar", "a") as tar:
        link = tarfile.TarInfo("0.cls")
        link.type, link.linkname = tarfile.SYMTYPE, "/labels/0.cls"
        tar.addfile(link)
    assert "; left out: 1 links that lead to no member of the same tar: 0.cls -> /labels/0.cls of 0.tar; give" in said(
        data
    )
