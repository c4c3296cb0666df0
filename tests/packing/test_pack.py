"""Packing: the same bytes each time whoever packs, even shards, nothing half done; stock readers."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from platform.config.checks import ConfigError
from platform.config.data import DataConfig, StorageConfig
from platform.data.index import Index, read_index
from platform.packing import pack as packing
from platform.packing import recipe
from platform.packing.pack import pack
from platform.packing.preparation import even_parts
from platform.packing.target import RemoteTarget
from tests.packing.packed import (
    CLASSES,
    class_files,
    config,
    contents,
    one_image,
    read_split,
    stored_as_packed,
    write_files,
)


def test_a_folder_of_classes_is_divided_and_its_jpeg_bytes_are_kept(
    tmp_path: Path, class_folder: Path, small_jpegs: list[bytes]
) -> None:
    report = pack(config(tmp_path, class_folder, val_fraction=0.25))
    index = read_index(tmp_path / "shards")
    assert index.classes == list(CLASSES)
    assert report.samples == {"train": 9, "val": 3}
    assert report.unreadable == []
    train, val = stored_as_packed(index, "train"), stored_as_packed(index, "val")
    assert train.keys().isdisjoint(val.keys())
    assert train | val == {jpeg: CLASSES[i % 3] for i, jpeg in enumerate(small_jpegs)}
    assert Counter(val.values()) == {"cat": 1, "dog": 1, "eel": 1}
    assert [shard.samples for shard in index.split("train").shards] == [3, 3, 3]


def test_classes_are_mixed_within_the_shards(tmp_path: Path, class_folder: Path) -> None:
    pack(config(tmp_path, class_folder))
    labels = [sample.label for sample in read_split(read_index(tmp_path / "shards"), "train")]
    assert labels != sorted(labels)


def test_real_photographs_are_packed_byte_by_byte(shared_data: Path, tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    with tarfile.open(shared_data / "photos.tar") as tar:
        for number, member in enumerate(tar.getmembers()[::25]):
            file = tar.extractfile(member)
            assert file is not None
            files[f"{CLASSES[number % 3]}/{member.name}"] = file.read()
    pack(config(tmp_path, write_files(tmp_path / "source", files)))
    index = read_index(tmp_path / "shards")
    packed = stored_as_packed(index, "train") | stored_as_packed(index, "val")
    assert packed == {content: name.partition("/")[0] for name, content in files.items()}


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, class_folder: Path, digits_data: DataConfig) -> None:
    for name in ("a", "b", "c"):
        pack(config(tmp_path / name, class_folder), seed=1 if name == "c" else 0)
    a, b, c = (contents(tmp_path / name / "shards") for name in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert all(a[name] != c[name] for name in a)
    pack(replace(digits_data, shards=str(tmp_path / "digits")))
    assert contents(tmp_path / "digits") == contents(Path(digits_data.shards))


def test_times_and_modes_of_the_files_do_not_enter(tmp_path: Path, class_folder: Path) -> None:
    pack(config(tmp_path, class_folder))
    before = contents(tmp_path / "shards")
    for path in class_folder.rglob("*.jpg"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    pack(config(tmp_path, class_folder))
    assert contents(tmp_path / "shards") == before


@pytest.mark.slow
def test_numbered_classes_are_in_the_order_of_their_numbers_whatever_the_hash_seed(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    names = ["10", "9", "2", "01", "1", "001"]
    files = {f"{name}/{i}.jpg": small_jpegs[i] for name in names for i in range(2)}
    write_files(tmp_path / "source", files)
    program = (
        "import sys; from platform.packing.pack import pack; from platform.config.sections import DataConfig;"
        "pack(DataConfig(shards=sys.argv[1], source=sys.argv[2], classes=6, val_fraction=0.5))"
    )
    orders = set()
    for seed in ("1", "2"):
        folder = tmp_path / f"shards-{seed}"
        command = [sys.executable, "-c", program, str(folder), str(tmp_path / "source")]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
        orders.add(tuple(read_index(folder).classes))
    assert orders == {("001", "01", "1", "2", "9", "10")}


def test_names_with_digits_that_are_no_numbers_are_classes_too(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    files = {f"{name}/{i}.jpg": small_jpegs[i] for name in ("m", "m²", "²") for i in range(2)}
    pack(config(tmp_path, write_files(tmp_path / "source", files), val_fraction=0.5))
    assert sorted(read_index(tmp_path / "shards").classes) == ["m", "m²", "²"]


def broken_png() -> bytes:
    """Its second chunk of pixels has an impossible name, at which Pillow raises SyntaxError."""
    content = bytearray(one_image("PNG"))
    content[content.index(b"IDAT", content.index(b"IDAT") + 4)] = 0
    return bytes(content)


def unreadable(jpegs: list[bytes]) -> dict[str, bytes]:
    return {
        "cat/empty.jpg": b"",
        "dog/torn.jpg": jpegs[0][:500],
        "eel/broken.png": broken_png(),
        "eel/junk.jpg": b"x" * 99,
    }


def test_unreadable_images_are_left_out_and_listed(
    tmp_path: Path, class_folder: Path, small_jpegs: list[bytes]
) -> None:
    write_files(class_folder, unreadable(small_jpegs))
    report = pack(config(tmp_path, class_folder, max_corrupt=4))
    assert {line.partition(": ")[0] for line in report.unreadable} == unreadable(small_jpegs).keys()
    assert all(line.partition(": ")[2] for line in report.unreadable)
    assert sum(report.samples.values()) == 12
    index = read_index(tmp_path / "shards")
    assert (stored_as_packed(index, "train") | stored_as_packed(index, "val")).keys() == set(small_jpegs)


def test_too_many_unreadable_images_stop_the_packing(
    tmp_path: Path, class_folder: Path, small_jpegs: list[bytes]
) -> None:
    write_files(class_folder, unreadable(small_jpegs))
    with pytest.raises(ConfigError, match=r"4 unreadable images, more than data.max_corrupt=3; the last: .*raise"):
        pack(config(tmp_path, class_folder, max_corrupt=3))
    assert not (tmp_path / "shards").exists()
    report = pack(config(tmp_path, class_folder, max_corrupt=4))  # the same command with the limit raised
    assert len(report.unreadable) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"source", "shards"}


def test_a_shard_without_a_readable_image_is_left_out(tmp_path: Path, class_folder: Path) -> None:
    write_files(tmp_path / "more", {f"train/{name}/{i}.jpg": b"" for name in CLASSES for i in range(2)})
    for part in ("train", "val"):
        (tmp_path / "more" / part).mkdir(exist_ok=True)
        for name in CLASSES:
            (tmp_path / "more" / part / name).mkdir(exist_ok=True)
            content = next((class_folder / name).glob("*.jpg")).read_bytes()
            (tmp_path / "more" / part / name / "x.jpg").write_bytes(content)
    report = pack(config(tmp_path, tmp_path / "more", samples_per_shard=1))
    index = read_index(tmp_path / "shards")
    assert report.samples == {"train": 3, "val": 3}
    assert len(report.unreadable) == 6
    assert index.packing["unreadable"] == 6
    assert [shard.samples for shard in index.split("train").shards] == [1, 1, 1]
    assert len(list((tmp_path / "shards").glob("*.tar"))) == 6


def test_a_part_without_a_readable_image_is_refused(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    files = class_files(small_jpegs[:9], "train/") | {f"val/{name}/x.jpg": b"" for name in CLASSES}
    with pytest.raises(ConfigError, match=r"no image of the val part can be read, e.g. val/\w+/x.jpg: .*; mend them"):
        pack(config(tmp_path, write_files(tmp_path / "source", files)))


def test_another_number_of_classes_is_refused(tmp_path: Path, class_folder: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{class_folder} has 3 classes \(.*\), data.classes is 10; set it to 3"):
        pack(config(tmp_path, class_folder, classes=10))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_progress_counts_to_the_total(tmp_path: Path, class_folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    pack(config(tmp_path, class_folder), progress=lambda done, total: calls.append((done, total)))
    assert [total for _, total in calls] == [12] * 4
    done = [done for done, _ in calls]
    assert done == sorted(done)
    assert done[-1] == 12


@given(st.integers(1, 10_000), st.integers(1, 500))
def test_shards_are_as_few_as_can_be_and_of_one_size_give_or_take_one(count: int, limit: int) -> None:
    parts = even_parts(count, limit)
    sizes = [stop - start for start, stop in parts]
    assert len(parts) == -(-count // limit)
    assert max(sizes) <= limit
    assert max(sizes) - min(sizes) <= 1
    assert [start for start, _ in parts] == [0, *(stop for _, stop in parts[:-1])]
    assert parts[-1][1] == count


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_any_number_of_threads_gives_the_same_bytes(tmp_path: Path, digits_data: DataConfig, threads: int) -> None:
    data = replace(digits_data, shards=str(tmp_path / "digits"))
    pack(data, run=lambda tasks: packing.in_threads(tasks, threads))
    assert contents(tmp_path / "digits") == contents(Path(digits_data.shards))


def test_tasks_run_in_any_order_give_the_same_bytes(tmp_path: Path, class_folder: Path) -> None:
    pack(config(tmp_path, class_folder))
    (tmp_path / "b").mkdir()
    pack(config(tmp_path / "b", class_folder), run=lambda tasks: packing.in_threads(reversed(list(tasks)), 1))
    assert contents(tmp_path / "b" / "shards") == contents(tmp_path / "shards")


def test_packing_again_replaces_the_shards_and_leaves_no_others(tmp_path: Path, class_folder: Path) -> None:
    pack(config(tmp_path, class_folder, samples_per_shard=1))
    pack(config(tmp_path, class_folder, samples_per_shard=100))
    assert contents(tmp_path / "shards").keys() == {"index.json", "train-000000.tar", "val-000000.tar"}
    assert {path.name for path in tmp_path.iterdir()} == {"source", "shards"}


def test_a_folder_of_other_files_is_not_replaced(tmp_path: Path, class_folder: Path) -> None:
    write_files(tmp_path / "shards", {"thesis.tex": b"years"})
    with pytest.raises(ConfigError, match=r"shards holds other files and no index.json; choose an empty folder"):
        pack(config(tmp_path, class_folder))
    assert (tmp_path / "shards" / "thesis.tex").read_bytes() == b"years"
    assert {path.name for path in tmp_path.iterdir()} == {"source", "shards"}


def test_an_empty_folder_is_packed_into(tmp_path: Path, class_folder: Path) -> None:
    (tmp_path / "shards").mkdir()
    pack(config(tmp_path, class_folder))
    assert read_index(tmp_path / "shards").split("train").samples == 10 - 1


def test_the_index_says_how_it_was_packed(tmp_path: Path, class_folder: Path) -> None:
    pack(config(tmp_path, class_folder, jpeg_quality=80), seed=5)
    content = json.loads((tmp_path / "shards" / "index.json").read_text())
    assert content["__kind__"] == "wids-shard-index-v1"
    packing = {
        "source": "source",
        "seed": 5,
        "val_fraction": 0.2,
        "jpeg_quality": 80,
        "samples_per_shard": 4,
        "shorter_side": None,
        "restart_markers": False,
        "value_range": None,
        "duplicates": "keep",
        "unused": ["jpeg_quality", "value_range"],  # small JPEGs
    }
    digest = content["packing"].pop(recipe.DIGEST)
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert str(tmp_path) not in json.dumps(content)
    assert content["packing"] | {recipe.DIGEST: digest} == read_index(tmp_path / "shards").packing
    assert content["packing"] == packing
    assert all(set(entry) >= {"url", "nsamples", "filesize", "md5sum", "split"} for entry in content["shardlist"])


def test_members_say_nothing_of_who_packed_them_and_when(tmp_path: Path, class_folder: Path) -> None:
    pack(config(tmp_path, class_folder))
    for path in (tmp_path / "shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        assert {(each.mtime, each.uid, each.gid, each.uname, each.gname, each.mode) for each in members} == {
            (0, 0, 0, "", "", 0o644)
        }
        assert [each.name for each in members] == sorted(each.name for each in members)


@pytest.mark.slow
def test_stock_webdataset_reads_the_shards(digits: Index) -> None:
    for split in ("train", "val"):
        urls = [shard.url for shard in digits.split(split).shards]
        dataset = webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("jpg", "cls")  # pyright: ignore[reportAttributeAccessIssue]
        theirs = [(np.asarray(image), label) for image, label in dataset]
        ours = read_split(digits, split)
        assert [label for _, label in theirs] == [sample.label for sample in ours]
        for (pixels, _), sample in zip(theirs[::50], ours[::50], strict=True):
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(sample.image)).convert("RGB")))


def test_larger_images_are_shrunk_when_asked_and_the_index_says_so(tmp_path: Path, photos: list[bytes]) -> None:
    files = {f"{name}/{i}.jpg": photos[i % 2] for i in range(4) for name in CLASSES}
    pack(config(tmp_path, write_files(tmp_path / "source", files), shorter_side=128))
    index = read_index(tmp_path / "shards")
    assert index.packing["shorter_side"] == 128
    for sample in read_split(index, "train"):
        assert Image.open(io.BytesIO(sample.image)).size == (192, 128)
    assert sum(shard.bytes for shard in index.split("train").shards) < sum(map(len, photos)) * 4


REMOTE = StorageConfig(attempts=2)


def remote_config(source: Path, url: str, samples_per_shard: int = 4) -> DataConfig:
    return DataConfig(shards=url, source=str(source), classes=3, samples_per_shard=samples_per_shard)


def test_shards_are_packed_to_a_url_with_the_bytes_of_a_folder(tmp_path: Path, class_folder: Path) -> None:
    url = "memory://packed-to-a-url"
    pack(config(tmp_path, class_folder))
    report = pack(remote_config(class_folder, url), storage=REMOTE)
    assert report.samples == {"train": 9, "val": 3}
    store = fsspec.filesystem("memory")
    found = {name.rpartition("/")[2]: store.cat_file(name) for name in store.find(url)}
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()}
    index = read_index(url, REMOTE)
    assert len(read_split(index, "train")) == 9
    with pytest.raises(ConfigError, match=rf"{url} has an index.json already; choose another folder or remove it"):
        pack(remote_config(class_folder, url), storage=REMOTE)


def test_a_packing_to_a_url_goes_on_where_it_was_interrupted(tmp_path: Path, class_folder: Path) -> None:
    url = "memory://interrupted-url"
    store = fsspec.filesystem("memory")

    def interrupt(done: int, total: int) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(remote_config(class_folder, url), progress=interrupt, storage=REMOTE)
    assert not store.exists(f"{url}/index.json")
    before = {name: store.created(name) for name in store.find(url) if name.endswith(".tar")}
    assert before
    report = pack(remote_config(class_folder, url), storage=REMOTE)
    assert report.reused == len(before)
    assert {name: store.created(name) for name in before} == before
    assert {name.rpartition("/")[2] for name in store.find(url)} == {
        "index.json", "train-000000.tar", "train-000001.tar", "train-000002.tar", "val-000000.tar",
    }  # fmt: skip


def test_shards_of_an_abandoned_packing_to_a_url_go_and_other_files_stay(class_folder: Path) -> None:
    url = "memory://abandoned-url"
    store = fsspec.filesystem("memory")
    store.pipe_file(f"{url}/notes.tar", b"mine")

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(remote_config(class_folder, url, samples_per_shard=1), progress=interrupt, storage=REMOTE)
    pack(remote_config(class_folder, url, samples_per_shard=9), storage=REMOTE)
    assert {name.rpartition("/")[2] for name in store.find(url)} == {
        "index.json", "notes.tar", "train-000000.tar", "val-000000.tar",
    }  # fmt: skip


def test_a_web_server_is_no_target(class_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.shards is http://x/y, which can only be read; give a folder"):
        pack(remote_config(class_folder, "http://x/y"), storage=REMOTE)


def test_a_target_made_of_a_file_url_is_a_folder(tmp_path: Path, class_folder: Path) -> None:
    pack(remote_config(class_folder, f"file://{tmp_path}/deep/shards"), storage=REMOTE)
    pack(config(tmp_path, class_folder))
    assert contents(tmp_path / "deep" / "shards") == contents(tmp_path / "shards")
    assert RemoteTarget(f"file://{tmp_path}/deep/shards", REMOTE).finished("train-000000.tar") is None


@pytest.mark.parametrize("index", ["{}", "not even JSON"])
def test_a_folder_with_any_index_json_and_other_files_is_not_replaced(
    tmp_path: Path, class_folder: Path, index: str
) -> None:
    project = write_files(tmp_path / "shards", {"index.json": index.encode(), "precious.txt": b"years"})
    with pytest.raises(ConfigError, match=r"holds other files and no index.json; choose an empty folder"):
        pack(config(tmp_path, class_folder))
    assert (project / "precious.txt").read_bytes() == b"years"


def test_files_beside_the_shards_and_shards_of_others_are_not_replaced(tmp_path: Path, class_folder: Path) -> None:
    pack(config(tmp_path, class_folder))
    before = contents(tmp_path / "shards")
    write_files(tmp_path / "shards", {"notes.txt": b"mine"})
    with pytest.raises(ConfigError, match=r"holds notes.txt, (which is )?no shard of its index"):
        pack(config(tmp_path, class_folder))
    (tmp_path / "shards" / "notes.txt").unlink()
    index = tmp_path / "shards" / "index.json"
    content = json.loads(index.read_text())
    index.write_text(json.dumps(content | {"packing": {"label": "cls"}}))  # as pack.action=index writes it
    with pytest.raises(ConfigError, match=r"holds shards that were not packed here"):
        pack(config(tmp_path, class_folder))
    index.write_text(json.dumps(content, indent=1) + "\n")
    assert contents(tmp_path / "shards") == before


def test_the_source_is_never_replaced(tmp_path: Path, class_folder: Path) -> None:
    write_files(class_folder, {"index.json": b"{}"})
    with pytest.raises(ConfigError, match=r"choose an empty folder"):
        pack(replace(config(tmp_path, class_folder), shards=str(class_folder)))
    assert len(list(class_folder.rglob("*.jpg"))) == 12


def test_a_link_is_followed_to_its_folder(tmp_path: Path, class_folder: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "shards").symlink_to(tmp_path / "big")
    pack(config(tmp_path, class_folder))
    assert (tmp_path / "shards").is_symlink()
    assert (tmp_path / "big" / "index.json").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"source", "shards", "big"}


def test_a_mount_point_is_refused(tmp_path: Path, class_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"/proc is a mount point, which cannot be swapped; give a folder in it"):
        pack(replace(config(tmp_path, class_folder), shards="/proc"))


def test_unindexed_shards_at_a_url_are_not_written_over(tmp_path: Path, class_folder: Path) -> None:
    theirs = write_files(tmp_path / "theirs", {"train-000000.tar": b"theirs"})
    with pytest.raises(ConfigError, match=r"holds train-000000.tar, which was not packed here; choose another folder"):
        pack(replace(config(tmp_path, class_folder), shards=f"file://{theirs}"))
    assert (theirs / "train-000000.tar").read_bytes() == b"theirs"
