"""A source that was changed after it was packed is said, and only such a one."""

import os
from pathlib import Path

import pytest

from platform.config.data import DataConfig
from platform.packing.freshness import changed_since
from platform.packing.pack import pack
from tests.data.handmade import write_tar
from tests.packing.packed import class_files, config, write_files


def packed_yesterday(data: DataConfig) -> None:
    pack(data)
    index = Path(data.shards) / "index.json"
    for path in (index, *Path(data.source or "").rglob("*"), Path(data.source or "")):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - (86_000 if path == index else 86_400)))


@pytest.mark.parametrize("parts", [("",), ("train/", "val/")])
def test_a_new_image_or_class_is_said_with_its_folder(
    tmp_path: Path, small_jpegs: list[bytes], parts: tuple[str, ...]
) -> None:
    files = {name: jpeg for part in parts for name, jpeg in class_files(small_jpegs, part).items()}
    source = write_files(tmp_path / "source", files)
    data = config(tmp_path, source)
    packed_yesterday(data)
    assert changed_since(data) is None
    write_files(source, {f"{parts[0]}cat/new.jpg": small_jpegs[0]})
    assert str(changed_since(data)).startswith(f"{source}/{parts[0]}cat was changed after the shards in {data.shards} ")
    packed_yesterday(data)
    write_files(source, {f"{parts[0]}fox/new.jpg": small_jpegs[0]})
    assert str(changed_since(data)).startswith(f"{source}{'/' + parts[0][:-1] if parts[0] else ''} was changed after")


def test_a_file_is_looked_at_and_what_is_gone_or_elsewhere_is_not(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    source = write_tar(tmp_path / "source.tar", class_files(small_jpegs))
    data = config(tmp_path, source)
    packed_yesterday(data)
    assert changed_since(data) is None
    os.utime(source)
    assert str(changed_since(data)).startswith(f"{source} was changed after")
    source.unlink()
    assert changed_since(data) is None
    for elsewhere in (None, "sklearn:digits", "https://host/list.csv"):
        assert changed_since(config(tmp_path, elsewhere)) is None
