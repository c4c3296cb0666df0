"""Packing: every kind of source, the same bytes each time, nothing half done, wrong sources refused; stock readers."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
import webdataset
from PIL import Image

from platform.config import ConfigError, DataConfig
from platform.data.cache import ShardError
from platform.data.index import Index, Sample, read_index
from platform.data.pack import divide, pack, source, verify
from tests.data.handmade import write_tar

CLASSES = ("cat", "dog", "eel")


def config(tmp_path: Path, spec: str | Path | None, **changes: Any) -> DataConfig:
    settings: dict[str, Any] = {"classes": 3, "samples_per_shard": 4} | changes
    return DataConfig(shards=str(tmp_path / "shards"), source=None if spec is None else str(spec), **settings)


def class_files(jpegs: list[bytes], prefix: str = "") -> dict[str, bytes]:
    """Four images of each class: path -> bytes."""
    return {f"{prefix}{CLASSES[i % 3]}/{i:02d}.jpg": jpeg for i, jpeg in enumerate(jpegs)}


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def read_split(index: Index, name: str) -> list[Sample]:
    reader = index.split(name)
    return [reader.read(i) for i in range(index.split(name).samples)]


def contents(folder: Path) -> dict[str, str]:
    """File name -> checksum."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def stored_as_packed(index: Index, split: str) -> dict[memoryview, str]:
    return {sample.image: index.classes[sample.label] for sample in read_split(index, split)}


@pytest.fixture
def class_folder(tmp_path: Path, small_jpegs: list[bytes]) -> Path:
    return write_files(tmp_path / "source", class_files(small_jpegs))


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
    assert [shard.samples for shard in index.split("train").shards] == [4, 4, 1]


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


@pytest.mark.parametrize("val_name", ["val", "test", "valid", "validation", "Test"])
def test_parts_of_a_source_are_kept(tmp_path: Path, small_jpegs: list[bytes], val_name: str) -> None:
    files = class_files(small_jpegs[:9], "train/") | class_files(small_jpegs[9:], f"{val_name}/")
    report = pack(config(tmp_path, write_files(tmp_path / "source", files), val_fraction=0.9))
    assert report.samples == {"train": 9, "val": 3}
    index = read_index(tmp_path / "shards")
    assert stored_as_packed(index, "train").keys() == set(small_jpegs[:9])
    assert stored_as_packed(index, "val") == {jpeg: CLASSES[i] for i, jpeg in enumerate(small_jpegs[9:])}


def test_images_lie_anywhere_below_their_class_and_other_files_are_passed_over(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    files = {f"{name}/deep/er/{i}.JPEG": small_jpegs[3 * i + j] for j, name in enumerate(CLASSES) for i in range(4)}
    files |= {"README.md": b"text", "cat/notes.txt": b"text", "loose.jpg": b"no class", "empty/.keep": b""}
    report = pack(config(tmp_path, write_files(tmp_path / "source", files)))
    assert sum(report.samples.values()) == 12
    assert read_index(tmp_path / "shards").classes == list(CLASSES)


@pytest.mark.parametrize("prefix", ["", "./"])
def test_a_tar_of_classes_packs_to_the_same_shards_as_its_folder(
    tmp_path: Path, class_folder: Path, small_jpegs: list[bytes], prefix: str
) -> None:
    (tmp_path / "a").mkdir()
    tar = write_tar(tmp_path / "source.tar", dict(reversed(class_files(small_jpegs, prefix).items())))
    pack(config(tmp_path, class_folder))
    pack(config(tmp_path / "a", tar))
    ours, theirs = contents(tmp_path / "a" / "shards"), contents(tmp_path / "shards")
    assert {k: v for k, v in ours.items() if k != "index.json"} == {
        k: v for k, v in theirs.items() if k != "index.json"
    }


@pytest.mark.parametrize("prefix", ["", "./"])
def test_a_tar_with_parts_keeps_them(tmp_path: Path, small_jpegs: list[bytes], prefix: str) -> None:
    files = class_files(small_jpegs[:9], f"{prefix}train/") | class_files(small_jpegs[9:], f"{prefix}test/")
    assert pack(config(tmp_path, write_tar(tmp_path / "s.tar", files))).samples == {"train": 9, "val": 3}


def test_digits_are_all_there_stratified_and_legible(digits: Index) -> None:
    from sklearn.datasets import load_digits

    digits_set: Any = load_digits()
    target = digits_set.target
    train, val = read_split(digits, "train"), read_split(digits, "val")
    assert digits.classes == [str(i) for i in range(10)]
    labels, held_out = Counter(s.label for s in train + val), Counter(s.label for s in val)
    assert labels == Counter(target.tolist())
    assert held_out == {label: round(0.2 * count) for label, count in labels.items()}
    images = digits_set.images * (255 / 16)
    for sample in val[::20]:
        image = Image.open(io.BytesIO(sample.image))
        assert (image.size, image.mode) == ((32, 32), "L")
        small = np.asarray(image.resize((8, 8), Image.Resampling.BOX))
        nearest = np.abs(images - small).sum((1, 2)).argmin()
        assert target[nearest] == sample.label


@pytest.mark.parametrize("val_fraction", [0.1, 0.2, 0.5])
def test_the_held_out_part_is_of_every_class_alike_and_disjoint(tmp_path: Path, val_fraction: float) -> None:
    files = {f"{name}/{i:03d}.jpg": b"" for name, count in (("a", 100), ("b", 40), ("c", 11)) for i in range(count)}
    parts = divide(source(str(write_files(tmp_path / "source", files))), val_fraction, seed=3)
    names = {split: {item.name for item in items} for split, items in parts.items()}
    assert names["train"].isdisjoint(names["val"])
    assert names["train"] | names["val"] == set(files)
    counts = Counter(item.label for item in parts["val"])
    assert counts == {name: round(n * val_fraction) for name, n in (("a", 100), ("b", 40), ("c", 11))}
    again = divide(source(str(tmp_path / "source")), val_fraction, seed=4)
    assert {item.name for item in again["val"]} != names["val"]


class TinySet:
    """A data set as torchvision's: images and integer labels, training and test part."""

    classes = ("zebra", "ant", "cow")

    def __init__(self, root: str, train: bool, download: bool) -> None:
        assert root == "somewhere"
        assert not download
        self.targets = [0, 1, 2] * (4 if train else 2)
        self._value = 0 if train else 100

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        return Image.new("L", (8, 8), self._value + i), self.targets[i]


def test_a_torchvision_data_set_keeps_its_parts_and_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "TinySet", TinySet, raising=False)
    report = pack(config(tmp_path, "torchvision:TinySet@somewhere"))
    assert report.samples == {"train": 12, "val": 6}
    index = read_index(tmp_path / "shards")
    assert index.classes == ["ant", "cow", "zebra"]
    for split, first in (("train", 0), ("val", 100)):
        for image, label in stored_as_packed(index, split).items():
            value = round(np.asarray(Image.open(io.BytesIO(image))).mean())
            assert label == TinySet.classes[(value - first) % 3]


def test_an_unknown_torchvision_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"torchvision:Nothing, which torchvision.datasets does not have; check"):
        pack(config(tmp_path, "torchvision:Nothing"))


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


def test_numbered_classes_are_in_the_order_of_their_numbers_whatever_the_hash_seed(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    names = ["10", "9", "2", "01", "1", "001"]
    files = {f"{name}/{i}.jpg": small_jpegs[i] for name in names for i in range(2)}
    write_files(tmp_path / "source", files)
    program = (
        "import sys; from platform.data.pack import pack; from platform.config import DataConfig;"
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


def one_image(file_format: str, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, file_format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "kept"), [("PNG", True), ("WEBP", True), ("BMP", False), ("GIF", False), ("TIFF", False)]
)
def test_formats_that_are_decoded_are_kept_and_others_become_jpeg(
    tmp_path: Path, class_folder: Path, name: str, kept: bool
) -> None:
    content = one_image(name)
    write_files(class_folder, {f"fox/{i}.{name.lower()}": content for i in range(2)})
    pack(config(tmp_path, class_folder, classes=4, val_fraction=0.5, jpeg_quality=97))
    index = read_index(tmp_path / "shards")
    (sample,) = [s for s in read_split(index, "train") if index.classes[s.label] == "fox"]
    assert (sample.image == content) == kept
    image = Image.open(io.BytesIO(sample.image))
    assert image.format == (name if kept else "JPEG")
    original = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(float)
    assert np.abs(np.asarray(image.convert("RGB")) - original).mean() < 4


def test_the_suffix_does_not_decide_about_the_format(tmp_path: Path, class_folder: Path) -> None:
    write_files(class_folder, {f"fox/{i}.jpg": one_image("PNG") for i in range(2)})
    pack(config(tmp_path, class_folder, classes=4, val_fraction=0.5))
    assert Counter(Path(name).suffix for name in member_names(tmp_path / "shards")) == {
        ".cls": 14,
        ".jpg": 12,
        ".png": 2,
    }


def member_names(folder: Path) -> list[str]:
    names: list[str] = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            names += tar.getnames()
    return names


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
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_another_number_of_classes_is_refused(tmp_path: Path, class_folder: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{class_folder} has 3 classes, data.classes is 10; set it"):
        pack(config(tmp_path, class_folder, classes=10))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("spec", [None, "absent", "absent.tar", "sklearn:iris"])
def test_a_missing_source_is_refused_with_what_may_be_given(tmp_path: Path, spec: str | None) -> None:
    with pytest.raises(ConfigError, match=r"data.source is .*give a folder, a tar, torchvision:NAME or sklearn:digits"):
        pack(config(tmp_path, spec if spec is None or ":" in spec else tmp_path / spec))


@pytest.mark.parametrize("files", [{}, {"a.txt": b""}, {"a.jpg": b"no class folder"}, {"cat/a.txt": b""}])
def test_a_source_without_images_is_refused_with_the_layout(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    for spec in (write_files(folder, files), write_tar(tmp_path / "source.tar", files)):
        with pytest.raises(ConfigError, match=r"no images in class folders; expected \[train\|val/\]CLASS/NAME.jpg"):
            pack(config(tmp_path, spec))


def test_a_source_that_mixes_classes_and_parts_is_refused(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    files = class_files(small_jpegs) | class_files(small_jpegs, "train/")
    with pytest.raises(ConfigError, match=r"mixes class folders with the parts train; use one"):
        pack(config(tmp_path, write_files(tmp_path / "source", files)))


@pytest.mark.parametrize(("part", "missing"), [("train", "val"), ("val", "train")])
def test_a_source_of_one_part_is_refused(tmp_path: Path, small_jpegs: list[bytes], part: str, missing: str) -> None:
    files = class_files(small_jpegs, f"{part}/")
    with pytest.raises(ConfigError, match=rf"no {missing} part, only {part}; add the folder"):
        pack(config(tmp_path, write_files(tmp_path / "source", files)))


def test_compressed_and_foreign_archives_are_refused(tmp_path: Path, class_folder: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", class_folder)
    with pytest.raises(ConfigError, match=r"packed.tar.gz is compressed, .*; decompress it first"):
        pack(config(tmp_path, archive))
    (tmp_path / "not.tar").write_bytes(b"not a tar" * 200)
    with pytest.raises(ConfigError, match=r"not.tar is no tar .*; give a folder or a tar") as caught:
        pack(config(tmp_path, tmp_path / "not.tar"))
    assert "\n" not in str(caught.value)


def interrupt_at(count: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == count:
            raise KeyboardInterrupt

    return progress


def test_progress_counts_to_the_total(tmp_path: Path, class_folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    pack(config(tmp_path, class_folder), progress=lambda done, total: calls.append((done, total)))
    assert [total for _, total in calls] == [12] * 12
    assert [done for done, _ in calls] == list(range(12))


@pytest.mark.parametrize("count", [0, 6, 11])
def test_an_interrupted_packing_leaves_nothing(tmp_path: Path, class_folder: Path, count: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(config(tmp_path, class_folder), progress=interrupt_at(count))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_interrupted_packing_leaves_earlier_shards_as_they_were(tmp_path: Path, class_folder: Path) -> None:
    pack(config(tmp_path, class_folder))
    before = contents(tmp_path / "shards")
    with pytest.raises(KeyboardInterrupt):
        pack(config(tmp_path, class_folder), seed=1, progress=interrupt_at(8))
    assert contents(tmp_path / "shards") == before
    assert {path.name for path in tmp_path.iterdir()} == {"source", "shards"}


def test_what_a_killed_packing_of_the_same_process_id_left_is_no_obstacle(tmp_path: Path, class_folder: Path) -> None:
    """In a container every run has process id 1."""
    for kind in ("packing", "replaced"):
        write_files(tmp_path / f"shards.{kind}-{os.getpid()}", {"train-000000.tar": b"half"})
    for seed in (0, 1):
        pack(config(tmp_path, class_folder), seed=seed)
        assert verify(tmp_path / "shards").packing["seed"] == seed


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
    assert verify(tmp_path / "shards").split("train").samples == 10 - 1


def test_the_index_says_how_it_was_packed(tmp_path: Path, class_folder: Path) -> None:
    pack(config(tmp_path, class_folder, jpeg_quality=80), seed=5)
    content = json.loads((tmp_path / "shards" / "index.json").read_text())
    assert content["__kind__"] == "wids-shard-index-v1"
    packing = {"source": "source", "seed": 5, "val_fraction": 0.2, "jpeg_quality": 80}
    assert content["packing"] == read_index(tmp_path / "shards").packing == packing
    assert all(set(entry) >= {"url", "nsamples", "filesize", "md5sum", "split"} for entry in content["shardlist"])


def test_stock_webdataset_reads_the_shards(digits: Index) -> None:
    for split in ("train", "val"):
        urls = [shard.url for shard in digits.split(split).shards]
        dataset = webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("jpg", "cls")  # pyright: ignore[reportAttributeAccessIssue]
        theirs = [(np.asarray(image), label) for image, label in dataset]
        ours = read_split(digits, split)
        assert [label for _, label in theirs] == [sample.label for sample in ours]
        for (pixels, _), sample in zip(theirs[::50], ours[::50], strict=True):
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(sample.image)).convert("RGB")))


def test_verify_accepts_what_was_packed_and_finds_one_flipped_bit(tmp_path: Path, class_folder: Path) -> None:
    pack(config(tmp_path, class_folder))
    folder = tmp_path / "shards"
    assert verify(folder).classes == list(CLASSES)
    path = folder / "train-000001.tar"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    read_index(folder)  # the size is right
    with pytest.raises(ConfigError, match=rf"shard {path} has the checksum .*, its index says .*; copy it again"):
        verify(folder)


def test_verify_finds_a_missing_shard(tmp_path: Path, class_folder: Path) -> None:
    pack(config(tmp_path, class_folder))
    (tmp_path / "shards" / "val-000000.tar").unlink()
    with pytest.raises(ShardError, match=r"val-000000.tar is missing"):
        verify(tmp_path / "shards")
