"""Sources: every kind is listed and read, wrong ones are refused in one line with what to do."""

import io
import os
import pickle
import re
import shutil
import struct
import subprocess
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import torchvision.datasets
from PIL import Image
from pyarrow import parquet

from platform.config.checks import ConfigError
from platform.config.data import StorageConfig
from platform.data.index import Index, read_index
from platform.packing.items import Item
from platform.packing.pack import pack
from platform.packing.preparation import divide, prepare
from platform.packing.sources import open_source, say_once
from tests.data.handmade import write_tar
from tests.data.servers import http_server, status
from tests.packing.packed import CLASSES, class_files, config, contents, read_split, stored_as_packed, write_files


@pytest.mark.parametrize("val_name", ["val", "test", "valid", "validation", "Test"])
def test_parts_of_a_source_are_kept(tmp_path: Path, small_jpegs: list[bytes], val_name: str) -> None:
    files = class_files(small_jpegs[:9], "train/") | class_files(small_jpegs[9:], f"{val_name}/")
    report = pack(config(tmp_path, write_files(tmp_path / "source", files), val_fraction=0.9))
    assert report.samples == {"train": 9, "val": 3}
    index = read_index(tmp_path / "shards")
    assert stored_as_packed(index, "train").keys() == set(small_jpegs[:9])
    assert stored_as_packed(index, "val") == {jpeg: CLASSES[i] for i, jpeg in enumerate(small_jpegs[9:])}


@pytest.mark.parametrize("kind", ["folder", "tar", "csv"])
def test_a_test_part_beside_validation_is_a_part_of_its_own(
    tmp_path: Path, small_jpegs: list[bytes], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    shares = {"train": small_jpegs[:6], "valid": small_jpegs[6:9], "test": small_jpegs[9:]}
    files = {name: jpeg for part, share in shares.items() for name, jpeg in class_files(share, f"{part}/").items()}
    source = write_files(tmp_path / "source", files)
    if kind == "tar":
        source = write_tar(tmp_path / "source.tar", files)
    if kind == "csv":
        rows = "".join(f"source/{name},{name.split('/')[1]},{name.split('/')[0]}\n" for name in files)
        source = tmp_path / "list.csv"
        source.write_text(f"path,label,split\n{rows}")
    report = pack(config(tmp_path, source))
    assert report.samples == {"train": 6, "val": 3, "test": 3}
    index = read_index(tmp_path / "shards")
    for split, share in zip(("train", "val", "test"), shares.values(), strict=True):
        assert stored_as_packed(index, split).keys() == set(share)
    assert "is used as validation" not in caplog.text


def test_a_test_part_alone_is_used_as_validation_and_said(
    tmp_path: Path, small_jpegs: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    say_once.cache_clear()
    files = class_files(small_jpegs[:9], "train/") | class_files(small_jpegs[9:], "test/")
    pack(config(tmp_path, write_files(tmp_path / "source", files)))
    assert [record.message for record in caplog.records] == ['the part "test" is used as validation: there is no other']


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


TOOL_MADE = (
    ".ipynb_checkpoints/x-checkpoint.jpg", "cat/.ipynb_checkpoints/x-checkpoint.jpg", "cat/._x.jpg",
    "__MACOSX/cat/x.jpg",
    "cat/@eaDir/x.jpg", ".git/x.jpg", "lost+found/x.jpg", "cat/.DS_Store", "cat/Thumbs.db", "desktop.ini", "cat/x.jpg~",
    "cat/.x.jpg.swp",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_what_tools_leave_is_passed_over_and_counted(
    tmp_path: Path, small_jpegs: list[bytes], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    say_once.cache_clear()
    files = class_files(small_jpegs) | dict.fromkeys(TOOL_MADE, small_jpegs[0])
    source = write_files(tmp_path / "source", files) if kind == "folder" else write_tar(tmp_path / "s.tar", files)
    report = pack(config(tmp_path, source))
    assert sum(report.samples.values()) == 12
    assert read_index(tmp_path / "shards").classes == list(CLASSES)
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("passed over in the source: 12 hidden and tool-made files: ")
    assert line.endswith(" ...")


@pytest.mark.parametrize("how", ["keep", "drop", "refuse"])
def test_equal_images_are_counted_named_and_kept_dropped_or_refused(
    tmp_path: Path, small_jpegs: list[bytes], how: str
) -> None:
    """One training image again in training, one under another label in validation."""
    train, val = class_files(small_jpegs[:9], "train/"), class_files(small_jpegs[9:], "val/")
    files = train | val | {"train/cat/again.jpg": small_jpegs[0], "val/dog/leaked.jpg": small_jpegs[1]}
    data = config(tmp_path, write_files(tmp_path / "source", files), duplicates=how)
    line = r"2 image\(s\) are equal to another, 1 of them to one of another part and "
    if how == "refuse":
        with pytest.raises(ConfigError, match=line):
            pack(data)
        assert not (tmp_path / "shards").exists()
        return
    report = pack(data)
    (said,) = report.duplicates
    assert re.match(line, said)
    assert "leaked.jpg (val)" in said
    assert report.samples == ({"train": 10, "val": 4} if how == "keep" else {"train": 8, "val": 4})
    index = read_index(tmp_path / "shards")
    assert index.packing["duplicates"] == how
    assert small_jpegs[1] in stored_as_packed(index, "val")
    assert (small_jpegs[1] in stored_as_packed(index, "train")) == (how == "keep")


def test_links_second_versions_and_second_archives_of_a_source_tar_are_read(
    tmp_path: Path, small_jpegs: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Made by GNU tar: a hard and a symbolic link inside it, one that leads outside, `tar -r` of a changed file, and
    another archive behind the end."""
    say_once.cache_clear()
    source = write_files(tmp_path / "source", class_files(small_jpegs[:9]))
    (source / "cat" / "hard.jpg").hardlink_to(sorted((source / "cat").iterdir())[0])
    (source / "dog").mkdir(exist_ok=True)
    (source / "dog" / "soft.jpg").symlink_to("../cat/hard.jpg")
    (source / "dog" / "outside.jpg").symlink_to("/etc/hostname")
    changed = sorted(path for path in (source / "dog").iterdir() if not path.is_symlink())[-1]
    tar, second = tmp_path / "a.tar", tmp_path / "b.tar"
    subprocess.run(["tar", "-C", source, "-cf", tar, "."], check=True)
    changed.write_bytes(small_jpegs[9])
    subprocess.run(["tar", "-C", source, "-rf", tar, f"./dog/{changed.name}"], check=True)
    more = write_files(tmp_path / "more", {"cat/second.jpg": small_jpegs[10]})
    subprocess.run(["tar", "-C", more, "-cf", second, "."], check=True)
    tar.write_bytes(tar.read_bytes() + second.read_bytes())
    opened = open_source(str(tar))
    (items,) = opened.parts().values()
    read = {item.name: opened.read(item) for item in items}
    assert read == {
        path.relative_to(root).as_posix(): path.read_bytes()
        for root in (source, more)
        for path in root.rglob("*.jpg")
        if path.name != "outside.jpg"
    }
    said = "\n".join(record.message for record in caplog.records)
    assert "1 links that lead to no member of the same tar: dog/outside.jpg -> /etc/hostname" in said
    assert "1 members written before another one of the same name, which counts" in said


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


def test_digits_are_read_as_scikit_learn_reads_them_without_its_import() -> None:
    from sklearn.datasets import load_digits

    theirs: Any = load_digits()
    source = open_source("sklearn:digits")
    items = source.parts()[None]
    assert [item.label for item in items] == [str(label) for label in theirs.target]
    for item, image_HW in zip(items, theirs.images, strict=True):
        image = Image.fromarray((image_HW * (255 / 16)).round().astype(np.uint8))
        expected = image.resize((32, 32), Image.Resampling.BICUBIC)
        assert np.array_equal(np.asarray(source.read(item)), np.asarray(expected))


@pytest.mark.parametrize("val_fraction", [0.1, 0.2, 0.5])
def test_the_held_out_part_is_of_every_class_alike_and_disjoint(tmp_path: Path, val_fraction: float) -> None:
    files = {f"{name}/{i:03d}.jpg": b"" for name, count in (("a", 100), ("b", 40), ("c", 11)) for i in range(count)}
    parts = divide(open_source(str(write_files(tmp_path / "source", files))).parts(), val_fraction, seed=3)
    names = {split: {item.name for item in items} for split, items in parts.items()}
    assert names["train"].isdisjoint(names["val"])
    assert names["train"] | names["val"] == set(files)
    counts = Counter(item.label for item in parts["val"])
    assert counts == {name: round(n * val_fraction) for name, n in (("a", 100), ("b", 40), ("c", 11))}
    again = divide(open_source(str(tmp_path / "source")).parts(), val_fraction, seed=4)
    assert {item.name for item in again["val"]} != names["val"]


def test_the_share_held_out_counts_as_it_was_typed() -> None:
    counts = {f"{n:03d}": n for n in (7, 40, 100, 200)}
    items = [Item(f"{name}-{i}", name) for name, count in counts.items() for i in range(count)]
    for val_fraction in (0.07, 0.145, 0.2, 0.575, 1 / 3):
        val = divide({None: items}, val_fraction, seed=0)["val"]
        exact = Fraction(str(val_fraction))
        assert Counter(item.label for item in val) == {
            name: share for name, n in counts.items() if (share := round(exact * n))
        }


def test_trained_classes_without_an_image_in_another_part_are_counted_and_named(
    tmp_path: Path, small_jpegs: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    files = class_files(small_jpegs[:9], "train/") | {"val/cat/0.jpg": small_jpegs[9]}
    data = config(tmp_path, write_files(tmp_path / "source", files | class_files(small_jpegs[9:], "test/")))
    prepare(data, 0, StorageConfig())  # as the plan does
    assert pack(data).samples == {"train": 9, "val": 1, "test": 3}
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'source'}: 2 of the 3 classes have no val image: dog, eel"
    ]


def write_fashion_mnist(root: Path, train: int, test: int) -> list[str]:
    """Torchvision's FashionMNIST of so many images, which are uniformly of the value 20 x their class; its classes."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", train), ("t10k", test)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = np.repeat(20 * labels, 28 * 28)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + images.tobytes())
    return [str(name) for name in torchvision.datasets.FashionMNIST.classes]


def test_a_torchvision_data_set_keeps_its_parts_and_class_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    say_once.cache_clear()
    classes = write_fashion_mnist(tmp_path / "root", train=40, test=20)
    assert classes != sorted(classes)
    report = pack(config(tmp_path, f"torchvision:FashionMNIST@{tmp_path / 'root'}", classes=10))
    assert report.samples == {"train": 40, "val": 20}
    assert 'the part "test" is used as validation' in caplog.text
    index = read_index(tmp_path / "shards")
    assert index.classes == classes
    for split in ("train", "val"):
        for sample in read_split(index, split):
            assert sample.label == round(np.asarray(Image.open(io.BytesIO(sample.image))).mean() / 20)


def test_a_torchvision_data_set_of_three_parts_keeps_all_three(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    shares = {"train": small_jpegs[:6], "valid": small_jpegs[6:9], "test": small_jpegs[9:]}
    for part, share in shares.items():
        write_files(tmp_path / "root" / "country211" / part, class_files(share))
    report = pack(config(tmp_path, f"torchvision:Country211@{tmp_path / 'root'}"))
    assert report.samples == {"train": 6, "val": 3, "test": 3}
    index = read_index(tmp_path / "shards")
    assert index.classes == list(CLASSES)
    assert list(index.splits) == ["train", "val", "test"]
    assert [Counter(sample.label for sample in read_split(index, split)) for split in index.splits] == [
        {0: 2, 1: 2, 2: 2}, {0: 1, 1: 1, 2: 1}, {0: 1, 1: 1, 2: 1},
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["VOCDetection", "FakeData", "Country211", "EMNIST"])
def test_a_torchvision_data_set_that_is_not_there_or_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"torchvision:{name} cannot be had .*; give a folder or tar") as caught:
        pack(config(tmp_path, f"torchvision:{name}@{tmp_path / 'root'}"))
    assert "\n" not in str(caught.value)


def test_an_unknown_torchvision_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"torchvision:Nothing, which torchvision.datasets does not have; check"):
        pack(config(tmp_path, "torchvision:Nothing"))


def test_classes_too_small_to_hold_an_image_out_are_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    say_once.cache_clear()
    files = {f"{name}/{i:03d}.jpg": b"" for name, count in (("a", 100), ("b", 2), ("c", 1)) for i in range(count)}
    data = config(tmp_path, write_files(tmp_path / "source", files))
    parts = prepare(data, 3, StorageConfig()).splits
    assert {item.label for item in parts["val"]} == {"a"}
    (line,) = [record.message for record in caplog.records]
    said = "2 of the 3 classes have no val image: b, c, too few to hold one out for data.val_fraction=0.2"
    assert line == f"{data.source}: {said}"


@pytest.mark.parametrize(
    ("classes", "cause"),
    [
        (
            ["dataset"],
            r"has 1 classes \(dataset\), data.classes is 3; set it to 1, or, if 'dataset' is a folder around",
        ),
        (["cat", "cat ", "cow", "dog"], r"has 4 classes \(cat, cat , cow \.\.\.\), .* the stray blanks .* 'cat '"),
    ],
)
def test_another_number_of_classes_is_refused_with_their_names_and_the_usual_cause(
    tmp_path: Path, small_jpegs: list[bytes], classes: list[str], cause: str
) -> None:
    files = {f"{name}/{i}.jpg": jpeg for name in classes for i, jpeg in enumerate(small_jpegs)}
    with pytest.raises(ConfigError, match=cause):
        pack(config(tmp_path, write_files(tmp_path / "source", files)))


@pytest.mark.parametrize("spec", [None, "absent", "absent.tar", "sklearn:iris"])
def test_a_missing_source_is_refused_with_what_may_be_given(tmp_path: Path, spec: str | None) -> None:
    with pytest.raises(
        ConfigError, match=r"data.source is .*give a folder, a tar, a .csv, .tsv or .parquet list, torchvision:NAME or"
    ):
        pack(config(tmp_path, spec if spec is None or ":" in spec else tmp_path / spec))


@pytest.mark.parametrize("files", [{}, {"a.txt": b""}, {"a.jpg": b"no class folder"}, {"cat/a.txt": b""}])
def test_a_source_without_images_is_refused_with_the_layout(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    for spec in (write_files(folder, files), write_tar(tmp_path / "source.tar", files)):
        with pytest.raises(
            ConfigError, match=r"no images in class folders; expected \[train\|val\|test/\]CLASS/NAME.jpg"
        ):
            pack(config(tmp_path, spec))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (
            "n01440764.tar",
            r"found 3 other files, e.g. n01440764.tar, an archive: unpack those, each into the folder of",
        ),
        ("train\\cat\\0.jpg", r"e.g. train\\cat\\0.jpg, with backslashes: unpack it by a program that takes them for"),
        ("cat/0.heic", r"found 3 other files, e.g. (cat/0.heic|1.jpg)$"),
    ],
)
def test_what_is_there_instead_of_images_is_named(tmp_path: Path, name: str, found: str) -> None:
    """ImageNet's training tar holds a tar of each class; some programs write Windows' separators into names."""
    files = {name: b"", "README.md": b"", "1.jpg": b""}
    with pytest.raises(ConfigError, match=found):
        open_source(str(write_tar(tmp_path / "source.tar", files))).parts()


@pytest.mark.parametrize("prefix", ["/", "../", "//../../"])
def test_members_with_their_whole_path_are_read_as_tar_extracts_them(
    tmp_path: Path, small_jpegs: list[bytes], prefix: str
) -> None:
    pack(config(tmp_path, write_tar(tmp_path / "s.tar", class_files(small_jpegs, prefix))))
    assert read_index(tmp_path / "shards").classes == list(CLASSES)


def test_a_pipe_in_place_of_an_image_is_unreadable_and_never_waited_for(tmp_path: Path, class_folder: Path) -> None:
    os.mkfifo(class_folder / "cat" / "pipe.jpg")
    assert pack(config(tmp_path, class_folder)).unreadable == [
        "cat/pipe.jpg: it is no file but a pipe, socket or device"
    ]
    names = [path.relative_to(tmp_path).as_posix() for path in sorted(class_folder.rglob("[0-9]*.jpg"))]
    columns = {"path": [*names, "/dev/zero"], "label": [*(name.split("/")[1] for name in names), "cat"]}
    data = config(tmp_path, write_list(tmp_path / "list.csv", columns))
    assert pack(data).unreadable == ["/dev/zero: it is no file but a pipe, socket or device"]


def test_a_class_name_of_another_encoding_is_refused(tmp_path: Path, class_folder: Path) -> None:
    """Latin-1, as archives of old Windows hold it; such an index could be written, but in no table or MLflow run."""
    folder = os.fsencode(class_folder) + b"/caf\xe9"
    Path(os.fsdecode(folder)).mkdir()
    Path(os.fsdecode(folder), "0.jpg").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"the class folder 'caf\\udce9' has a name that is no UTF-8; rename it"):
        pack(config(tmp_path, class_folder, classes=4))


def test_empty_folders_and_parts_of_two_names_are_said(
    tmp_path: Path, small_jpegs: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    say_once.cache_clear()
    files = class_files(small_jpegs[:6], "train/") | class_files(small_jpegs[6:9], "val/")
    source = write_files(tmp_path / "source", files | class_files(small_jpegs[9:], "validation/"))
    for name in ("train/fox", "train/.cache", "train/.git/refs"):
        (source / name).mkdir(parents=True)
    assert pack(config(tmp_path, source)).samples == {"train": 6, "val": 6}
    assert [record.message for record in caplog.records] == [
        "the folders val, validation are read as one part, val",
        "passed over in the source: 1 empty folders: train/fox",
    ]


def test_a_source_that_mixes_classes_and_parts_is_refused(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    files = class_files(small_jpegs) | class_files(small_jpegs, "train/")
    with pytest.raises(
        ConfigError,
        match=r"has train/ beside the class folders [a-z, ]+: move these into train/, or, if train/ holds no part",
    ):
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
    with pytest.raises(
        ConfigError, match=r"not.tar is torn or no tar .*; copy it again, or give a folder or a tar"
    ) as caught:
        pack(config(tmp_path, tmp_path / "not.tar"))
    assert "\n" not in str(caught.value)


LISTS = ("csv", "parquet")


def write_list(path: Path, columns: dict[str, list[Any]]) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pa.table(columns), path)
    else:
        rows = [",".join(columns), *(",".join(str(v) for v in row) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_packs_to_the_shards_of_its_folder(tmp_path: Path, class_folder: Path, kind: str) -> None:
    names = sorted(path.relative_to(tmp_path).as_posix() for path in class_folder.rglob("*.jpg"))
    columns = {"id": list(range(12)), "path": names, "label": [name.split("/")[1] for name in names]}
    listed = write_list(tmp_path / f"images.{kind}", columns)
    (tmp_path / "a").mkdir()
    pack(config(tmp_path, listed))
    pack(config(tmp_path / "a", class_folder))
    ours, theirs = contents(tmp_path / "shards"), contents(tmp_path / "a" / "shards")
    assert {k: v for k, v in ours.items() if k != "index.json"} == {
        k: v for k, v in theirs.items() if k != "index.json"
    }
    assert read_index(tmp_path / "shards").packing["source"] == f"images.{kind}"


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_may_name_splits_absolute_paths_addresses_and_what_lies_above(
    tmp_path: Path, small_jpegs: list[bytes], kind: str
) -> None:
    fsspec.filesystem("memory").pipe_file("memory://listed/a.jpg", small_jpegs[0])
    write_files(tmp_path, {"b.jpg": small_jpegs[1], "lists/c.jpg": small_jpegs[2], "lists/d.jpg": small_jpegs[3]})
    columns = {
        "split": ["train", "Train", "validation", "valid"],
        "path": ["memory://listed/a.jpg", "../b.jpg", str(tmp_path / "lists" / "c.jpg"), "d.jpg"],
        "label": ["01", "x", "x", "01"],
    }
    report = pack(config(tmp_path, write_list(tmp_path / "lists" / f"images.{kind}", columns), classes=2))
    index = read_index(tmp_path / "shards")
    assert report.samples == {"train": 2, "val": 2}
    assert index.classes == ["x", "01"] or index.classes == ["01", "x"]
    assert stored_as_packed(index, "train") == {small_jpegs[0]: "01", small_jpegs[1]: "x"}
    assert stored_as_packed(index, "val") == {small_jpegs[2]: "x", small_jpegs[3]: "01"}


def test_whole_numbers_are_labels_in_parquet(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    write_files(tmp_path, {f"{i}.jpg": small_jpegs[i] for i in range(12)})
    columns = {"path": [f"{i}.jpg" for i in range(12)], "label": [(i % 3) * 5 for i in range(12)]}
    pack(config(tmp_path, write_list(tmp_path / "images.parquet", columns)))
    assert read_index(tmp_path / "shards").classes == ["0", "5", "10"]


def test_a_list_at_an_address_names_files_beside_it(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    store = fsspec.filesystem("memory")
    for i in range(12):
        store.pipe_file(f"memory://list/images/{i}.jpg", small_jpegs[i])
    rows = "".join(f"images/{i}.jpg,{CLASSES[i % 3]}\n" for i in range(12))
    store.pipe_file("memory://list/images.csv", f"path,label\n{rows}".encode())
    assert sum(pack(config(tmp_path, "memory://list/images.csv")).samples.values()) == 12
    for path in ("../secret.jpg", "/etc/passwd"):
        store.pipe_file("memory://list/bad.csv", f"path,label\n{path},cat\n".encode())
        with pytest.raises(ConfigError, match=r"lists '.*', which is not read; a list at an address names files below"):
            pack(config(tmp_path, "memory://list/bad.csv"))


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"file": ["a"], "label": ["x"]}, r"has no column path, only file, label; name them path, label and"),
        ({"a": ["a"]}, r"has no column path and no column label, only a;"),
        ({"path": ["a.jpg"], "label": [""]}, r"has the label '' in row 1 \(a.jpg\); give a name or a whole number"),
        ({"path": ["a.jpg"], "label": ["  "]}, r"has the label '  ' in row 1 \(a.jpg\); give a name"),
        ({"path": [""], "label": ["x"]}, r"has the path '' in row 1"),
        ({"path": ["a\0.jpg"], "label": ["x"]}, r"has the path 'a\\x00.jpg' in row 1"),
        ({"path": ["a"], "label": ["x"], "split": ["dev"]}, r"names the split 'dev'; choose one of train, val"),
        ({"path": ["a"], "label": ["x"], "split": [""]}, r"has no split in row 1 \(a\)"),
        ({"path": ["reference://a"], "label": ["x"]}, r"lists 'reference://a', which is not read; addresses may begin"),
        ({"path": ["simplecache::s3://a"], "label": ["x"]}, r"lists 'simplecache::s3://a', which is not read"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, kind: str, columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_source(str(write_list(tmp_path / f"list.{kind}", columns))).parts()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", LISTS)
def test_what_is_no_list_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"list.{kind}").write_bytes(b"\x00\xff,\n1,2,3\n,,,,\n" * 9)
    with pytest.raises(
        ConfigError, match=rf"list.{kind} is no {'CSV' if kind == 'csv' else 'Parquet'} file \(.*; check"
    ):
        open_source(str(tmp_path / f"list.{kind}")).parts()


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_list_of_another_encoding_is_refused(tmp_path: Path, suffix: str) -> None:
    """Excel's "Unicode text" is UTF-16."""
    path = tmp_path / f"list.{suffix}"
    path.write_text("path\tlabel\na.jpg\tcat\n", encoding="utf-16")
    with pytest.raises(ConfigError, match=rf"list.{suffix} is no CSV file \(.*; check it: UTF-8"):
        open_source(str(path)).parts()


def test_a_missing_file_of_a_list_is_unreadable_not_fatal(tmp_path: Path, class_folder: Path) -> None:
    names = [path.relative_to(tmp_path).as_posix() for path in sorted(class_folder.rglob("*.jpg"))]
    columns = {"path": [*names, "gone.jpg"], "label": [*(name.split("/")[1] for name in names), "cat"]}
    report = pack(config(tmp_path, write_list(tmp_path / "list.csv", columns)))
    assert report.unreadable == ["gone.jpg: No such file or directory"]


def test_an_address_that_is_no_list_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data.source is s3://bucket/train; of addresses only lists"):
        open_source("s3://bucket/train")


def test_linked_class_folders_are_followed_and_a_circle_of_links_is_not(tmp_path: Path, class_folder: Path) -> None:
    subset = tmp_path / "subset"
    subset.mkdir()
    for name in CLASSES:
        (subset / name).symlink_to(class_folder / name)
    (class_folder / "cat" / "again").symlink_to(class_folder)
    assert sum(pack(config(tmp_path, subset)).samples.values()) == 12


def test_links_are_followed_alike_in_a_folder_and_in_its_tar(
    tmp_path: Path, class_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """To folders, through one another, in circles of one link and of two; those that lead back are counted."""
    say_once.cache_clear()
    links = {"emu": "cat", "cat/up": "..", "cat/more": "../dog/deep/", "dog/deep": "../eel", "dog/back": "../cat"}
    links |= {"eel/one.jpg": "../emu/00.jpg", "eel/other": "../emu/more/../dog"}
    for name, target in links.items():
        (class_folder / name).symlink_to(target)
    tar = tmp_path / "a.tar"
    subprocess.run(["tar", "-C", class_folder, "-cf", tar, "."], check=True)
    of_folder, of_tar = (open_source(str(path)) for path in (class_folder, tar))
    ((items,), (of_items,)) = of_folder.parts().values(), of_tar.parts().values()
    assert [(item.name, item.label) for item in of_items] == [(item.name, item.label) for item in items]
    assert [of_tar.read(item) for item in of_items] == [of_folder.read(item) for item in items]
    assert {"emu/00.jpg", "cat/more/one.jpg", "eel/one.jpg", "dog/back/00.jpg"} <= {item.name for item in items}
    of_one, of_other = (record.message for record in caplog.records)
    assert "links back to a folder on the way to them, not followed there: " in of_one
    assert "links back to a folder on the way to them, not followed there: " in of_other


@pytest.mark.parametrize("spec", ["folder", "tar", "sklearn:digits"])
def test_sources_and_items_are_small_and_picklable(tmp_path: Path, class_folder: Path, spec: str) -> None:
    if spec == "tar":
        spec = shutil.make_archive(str(tmp_path / "source"), "tar", class_folder)
    source = open_source(str(class_folder) if spec == "folder" else spec)
    items = [item for part in source.parts().values() for item in part]
    again, copied = pickle.loads(pickle.dumps((source, items)))  # noqa: S301  # our own
    assert copied == items
    assert len(pickle.dumps(source)) < 500
    assert len(pickle.dumps(items)) < 150 * len(items) + 200
    assert again.read(copied[3]) == source.read(items[3])
    assert again.stamp(copied[3]) == source.stamp(items[3])


def test_files_that_are_passed_over_are_counted_and_named(
    tmp_path: Path, class_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_files(class_folder, {"cat/x.jxl": b"1", "stray.jpg": b"2", "cat/.DS_Store": b"3", "README.txt": b"4"})
    both = [open_source(str(class_folder)).parts() for _ in range(2)]
    assert [len(parts[None]) for parts in both] == [12, 12]
    hidden, said = [record.getMessage() for record in caplog.records]
    assert hidden == "passed over in the source: 1 hidden and tool-made files: cat/.DS_Store"
    assert said.startswith("3 files are passed over")
    for name in ("cat/x.jxl", "stray.jpg", "README.txt"):
        assert name in said


def test_an_image_that_its_server_refuses_is_listed_as_unreadable(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    write_files(tmp_path / "web", {f"{i}.jpg": jpeg for i, jpeg in enumerate(small_jpegs)})
    with http_server(tmp_path / "web") as server:
        server.faults["3.jpg"] = [status(403)] * 9
        rows = [f"{server.url}/{i}.jpg,{CLASSES[i % 3]}" for i in range(12)] + [f"{server.url}/gone.jpg,cat"]
        (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
        report = pack(config(tmp_path, tmp_path / "list.csv"))
    assert sum(report.samples.values()) == 11
    assert len(report.unreadable) == 2
    assert any("HTTP 403" in line for line in report.unreadable)
