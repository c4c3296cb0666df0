"""A small source."""

from pathlib import Path

import pytest

from tests.packing.packed import class_files, write_files


@pytest.fixture
def class_folder(tmp_path: Path, small_jpegs: list[bytes]) -> Path:
    return write_files(tmp_path / "source", class_files(small_jpegs))
