"""What `predict.images` may name: counted before it is read, in a fixed order, and nothing of it lost."""

import os
import pickle
from pathlib import Path

import pytest

from platform.config.checks import ConfigError
from platform.config.data import DataConfig, StorageConfig
from platform.data.index import Index
from platform.prediction.images import MOST_BYTES, Image, Images, find_images
from tests.data.servers import http_server, status

STORAGE = StorageConfig(cache="memory", attempts=1)


def found(*sources: object, split: str | None = None) -> Images:
    return find_images([str(source) for source in sources], split, STORAGE)


def read(images: Images) -> list[Image]:
    return [images.read(place) for place in range(len(images))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a/2.png", "a/1.png", "train/a/3.jpg", ".hidden.jpg", "a/Thumbs.db", "notes.txt"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "photos"


def test_a_folder_is_all_its_files_but_hidden_ones_in_the_order_of_their_names(folder: Path):
    images = found(folder)
    names = ["a/1.png", "a/2.png", "b.jpg", "notes.txt", "train/a/3.jpg"]
    assert [(image.name, image.data) for image in read(images)] == [(name, name.encode()) for name in names]
    assert [image.label for image in read(images)] == ["a", "a", None, None, "a"]
    assert images.left_out == [f"2 hidden file(s) and files of tools in {folder}"]


def test_a_link_that_leads_back_is_followed_once(folder: Path):
    (folder / "a" / "up").symlink_to(folder)
    (folder / "elsewhere").symlink_to(folder / "train")
    assert len(found(folder)) == 5


def test_files_patterns_and_lists_keep_the_order_they_are_given_in(folder: Path):
    images = found(folder / "b.jpg", folder / "a" / "*.png", folder / "**" / "3.jpg")
    assert [Path(image.name).name for image in read(images)] == ["b.jpg", "1.png", "2.png", "3.jpg"]
    assert {image.label for image in read(images)} == {None}  # only folders that are given have class folders


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path):
    (tmp_path / "a[1].jpg").write_bytes(b"x")
    assert [image.data for image in read(found(tmp_path / "a[1].jpg"))] == [b"x"]


def test_files_that_cannot_be_images_are_in_their_place_with_the_reason(tmp_path: Path):
    (tmp_path / "1.jpg").write_bytes(b"x")
    (tmp_path / "2.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "3.jpg")
    with open(tmp_path / "4.jpg", "wb") as file:
        file.truncate(MOST_BYTES + 1)
    (tmp_path / "caf\udce9.jpg").write_bytes(b"y")
    images = read(found(tmp_path))
    assert [image.error for image in images] == [
        None,
        "No such file or directory",
        "it is no file but a pipe, socket or device",
        f"it has {MOST_BYTES + 1:,} bytes, more than {MOST_BYTES:,}",
        None,
    ]
    assert images[4].name == "caf\ufffd.jpg"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "nowhere, which does not exist; give a file, a folder"),
        ("no*.jpg", "which no file matches; check the pattern"),
        ("empty", "empty, a folder without any image"),
        ("ftpx://host/x", "ftpx"),
    ],
)
def test_what_names_no_image_is_one_line(source: str, said: str, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=said.replace("*", r"\*")) as error:
        found(source if "://" in source else tmp_path / source)
    assert "\n" not in str(error.value)


def test_nothing_given_says_what_may_be():
    with pytest.raises(ConfigError, match=r"predict\.images is not set; give a file"):
        found()


def test_shards_are_their_splits_with_labels(digits_data: DataConfig, digits: Index):
    everything, val = found(digits_data.shards), found(digits_data.shards, split="val")
    assert len(everything) == 1797
    assert len(val) == digits.split("val").samples
    first, sample = val.read(0), digits.split("val").read(0)
    assert (first.data, first.label, first.split) == (bytes(sample.image), digits.classes[sample.label], "val")
    assert first.name == f"val-000000.tar#{sample.key}"
    with pytest.raises(ConfigError, match="has no 'test' shards, only"):
        found(digits_data.shards, split="test")


def test_a_single_shard_is_read_by_the_index_beside_it(digits_data: DataConfig, tmp_path: Path):
    one = found(Path(digits_data.shards) / "train-000001.tar")
    assert {image.name.partition("#")[0] for image in read(one)} == {"train-000001.tar"}
    assert len(found(Path(digits_data.shards) / "train-*.tar")) == len(found(digits_data.shards, split="train"))
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"a folder of 1 tar files without index\.json; have one made: job=pack"):
        found(tmp_path)


def test_a_part_of_what_has_none_is_refused(folder: Path):
    with pytest.raises(ConfigError, match=r"predict\.split is val, but only shards have parts"):
        found(folder, split="val")


def test_another_process_reads_the_same(folder: Path, digits_data: DataConfig):
    images = found(folder, digits_data.shards)
    copy = pickle.loads(pickle.dumps(images))  # noqa: S301  # ours, as Ray does it
    for place in (0, 4, 5, len(images) - 1):
        assert copy.read(place) == images.read(place)


def test_the_digest_tells_other_images_apart(folder: Path):
    before = found(folder).digest()
    assert found(folder).digest() == before
    (folder / "b.jpg").write_bytes(b"another")
    changed = found(folder).digest()
    (folder / "c.jpg").write_bytes(b"one more")
    assert len({before, changed, found(folder).digest()}) == 3


def test_urls_are_files_or_shards(folder: Path, digits_data: DataConfig, tmp_path: Path):
    (tmp_path / "shards").symlink_to(digits_data.shards)
    with http_server(tmp_path) as server:
        server.faults["photos/a/1.png"] = [status(403)]
        names = ("b.jpg", "a/1.png", "gone.jpg", "notes.txt")
        images = read(found(*(f"{server.url}/photos/{name}" for name in names)))
        assert [image.data for image in images] == [b"b.jpg", None, None, b"notes.txt"]
        assert images[0].name == f"{server.url}/photos/b.jpg"
        assert "HTTP 403" in (images[1].error or "")
        assert (images[2].error or "").startswith("does not exist")
        val = found(f"{server.url}/shards", split="val")
        assert val.read(3) == found(digits_data.shards, split="val").read(3)
        first = {image.name.partition("#")[0] for image in read(found(f"{server.url}/shards/val-000000.tar"))}
        assert first == {"val-000000.tar"}


def test_a_url_gives_no_more_than_an_image_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("platform.prediction.images.MOST_BYTES", 1000)
    (tmp_path / "a.jpg").write_bytes(bytes(1001))
    (tmp_path / "b.jpg").write_bytes(bytes(1000))
    with http_server(tmp_path) as server:
        images = read(found(f"{server.url}/a.jpg", f"{server.url}/b.jpg"))
    assert images[0].error == "has more than 1,000 bytes"
    assert images[1].data == bytes(1000)
