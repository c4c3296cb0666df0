"""Sources laid out otherwise than expected: refused in one line that names the cause, or read where it is plain."""

import os
from pathlib import Path
from typing import Any

import pytest

from platform.config.checks import ConfigError
from platform.data.index import read_index
from platform.packing.pack import pack
from platform.packing.sources import open_source
from tests.data.handmade import write_tar
from tests.packing.packed import CLASSES, class_files, config, stored_as_packed, write_files


@pytest.mark.parametrize("train", ["train/", "train/cat/"])
@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_images_directly_in_val_are_refused_as_such(
    tmp_path: Path, small_jpegs: list[bytes], train: str, kind: str
) -> None:
    """ImageNet's validation part as it comes out of its archive."""
    files = {f"{train}{i}.jpg": small_jpegs[i] for i in range(8)}
    files |= {f"val/ILSVRC2012_val_{i:08d}.JPEG": small_jpegs[i] for i in range(8, 12)}
    source = write_files(tmp_path / "s", files) if kind == "folder" else write_tar(tmp_path / "s.tar", files)
    folder = "train" if train == "train/" else "val"
    with pytest.raises(ConfigError, match=rf"image\(s\) lie directly in {folder}/, in no class folder, e.g. {folder}/"):
        pack(config(tmp_path, source))


def test_a_class_may_be_called_like_a_part(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    files = {f"{name}/{i}.jpg": small_jpegs[i] for name in ("control", "test") for i in range(5)}
    pack(config(tmp_path, write_files(tmp_path / "source", files), classes=2))
    assert read_index(tmp_path / "shards").classes == ["control", "test"]


@pytest.mark.parametrize(
    ("prefixes", "message"),
    [
        (["dataset/"], r"has 1 classes \(dataset\), data.classes is 3; the classes \(cat, dog, eel\) lie one folder "
                       r"deeper, in dataset: give data.source=.*/source/dataset$"),
        (["dataset/train/", "dataset/val/"], r"the parts \(train, val\) lie one folder deeper, in dataset: give .*"),
        (["dataset/train/", "dataset/val/", "docs/x"], r"the parts \(train, val\) lie one folder deeper"),
        (["train/images/", "val/images/"], r"lie one folder deeper, in train/images: move them up by one folder$"),
    ],
)  # fmt: skip
def test_a_folder_around_the_class_folders_is_named(
    tmp_path: Path, small_jpegs: list[bytes], prefixes: list[str], message: str
) -> None:
    files: dict[str, bytes] = {}
    for prefix in prefixes:
        files |= class_files(small_jpegs, prefix)
    with pytest.raises(ConfigError, match=message) as caught:
        pack(config(tmp_path, write_files(tmp_path / "source", files)))
    assert "\n" not in str(caught.value)


def test_parts_within_the_classes_are_named(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    files = {f"{name}/{part}/{i}.jpg": small_jpegs[i] for name in CLASSES for part in ("train", "test") for i in (0, 1)}
    with pytest.raises(ConfigError, match=r"the parts lie within the classes \(cat, dog, eel\): lay them out as"):
        pack(config(tmp_path, write_files(tmp_path / "source", files), classes=6))


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["training/cat", "training/dog", "Testing/cat", "Testing/dog"],
         r"folders Testing, training \(each holds cat, dog\) are parts, it seems, and no classes; name them train"),
        (["seg_train/cat", "seg_train/dog", "seg_dev/cat"], r"folders seg_dev, seg_train \(each holds cat\)"),
        (["Train Set", "Test Set"], r"folders Test Set, Train Set are parts"),
        (["train/cat", "train/dog", "eval/cat", "eval/dog"], r"the folders eval \(it holds cat, dog\) are parts"),
        (["cat/train", "cat/test", "dog/train", "dog/test"], r"the parts lie within the classes \(cat, dog\): lay"),
        (["cat/training", "cat/testing", "cat/ground_truth"], r"parts \(testing, training\) lie one folder deeper"),
        (["images", "masks"], r"the folders images, masks hold images and what belongs to them \(masks, boxes\), it"),
        (["train/images", "train/labels", "val/images", "val/labels"], r"the folders images, labels hold images and"),
        (["JPEGImages/a", "Ground_Truth/a"], r"the folders Ground_Truth, JPEGImages hold images and what belongs"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_folders_that_are_surely_no_classes_are_refused_though_their_number_fits(
    tmp_path: Path, small_jpegs: list[bytes], folders: list[str], message: str, kind: str
) -> None:
    files = {f"{folder}/{i}.jpg": small_jpegs[i] for folder in folders for i in range(3)}
    source = write_files(tmp_path / "s", files) if kind == "folder" else write_tar(tmp_path / "s.tar", files)
    with pytest.raises(ConfigError, match=message) as caught:
        pack(config(tmp_path, source, classes=2))
    assert "list the" in str(caught.value)
    assert "in a .csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "folders",
    [
        ["train", "bus", "test"],  # flat, and not all of them parts
        ["train_station", "test_tube"],
        ["training", "race"],
        ["vehicles/train", "vehicles/bus", "animals/dog"],
        ["cat/eval", "dog/eval"],
        ["images", "drawings"],
        ["train/cat", "train/test_tube", "val/cat", "val/test_tube"],
        ["testing/a", "control/a"],
        ["lesson/train", "lesson/test", "other/x"],
        ["training/s1", "eval/s1", "sleep/s2"],  # what somebody does, day by day
    ],
)
def test_classes_that_are_called_like_something_else_are_classes(
    tmp_path: Path, small_jpegs: list[bytes], folders: list[str]
) -> None:
    files = {f"{folder}/{i}.jpg": small_jpegs[i] for folder in folders for i in range(5)}
    names = sorted({folder.removeprefix("train/").removeprefix("val/").split("/")[0] for folder in folders})
    pack(config(tmp_path, write_files(tmp_path / "source", files), classes=len(names)))
    assert read_index(tmp_path / "shards").classes == names


def test_a_list_says_that_classes_are_called_like_parts(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    files = {f"{name}/deep/{i}.jpg": small_jpegs[i] for name in ("training", "testing") for i in range(5)}
    write_files(tmp_path, files)
    rows = [f"{name},{name.split('/')[0]}" for name in files]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    pack(config(tmp_path, tmp_path / "list.csv", classes=2))
    assert read_index(tmp_path / "shards").classes == ["testing", "training"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("seg_train", "seg_test", "seg_pred"), r"set it to 3, or, if seg_test, seg_train are parts, name them train"),
        (("cat", "cat ", "dog"), r"set it to 3, or take the stray blanks out of the labels 'cat '$"),
        (("cat", "Cat", "dog"), r"capitals or accents only: 'Cat' and 'cat'$"),
        (("caf\u00e9", "cafe\u0301", "dog"), r"capitals or accents only: 'caf"),
        ([f"c{i}" for i in range(90)], r"has 90 classes \(c0, c1, c10 \.\.\.\), data.classes is 2; set it to 90$"),
    ],
)  # fmt: skip
def test_labels_that_hardly_differ_are_named(tmp_path: Path, labels: list[str], message: str) -> None:
    rows = "".join(f"{label}/train/{i}.jpg,{label}\n" for label in labels for i in range(5))
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        pack(config(tmp_path, tmp_path / "list.csv", classes=2))


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,label\na.jpg,cat,dog\n")
    with pytest.raises(ConfigError, match="has 2 columns called label; leave one of them"):
        pack(config(tmp_path, tmp_path / "list.csv"))


@pytest.mark.parametrize(
    ("name", "separator", "header"),
    [
        ("images.csv", ";", "path;label"),
        ("images.CSV", ",", "path,label"),
        ("images.tsv", "\t", "path\tlabel"),
        ("images.TSV", ",", "path,label"),
        ("images.csv", "|", "id|path|label"),
        ("images.csv", "\t", '"path"\t"label"'),
        ("images.csv", ",", "\ufeff Path , Label "),
        ("images.csv", ";", "Path;Label;a,b"),
    ],
)
def test_lists_are_read_whatever_separates_their_columns(
    tmp_path: Path, small_jpegs: list[bytes], name: str, separator: str, header: str
) -> None:
    write_files(tmp_path, {f"{i}.jpg": jpeg for i, jpeg in enumerate(small_jpegs)})
    extra = {"id": "7", "a,b": "x"}
    columns = [column.strip('"\ufeff ').lower() for column in header.split(separator)]
    rows = [{"path": f"{i}.jpg", "label": CLASSES[i % 3]} | extra for i in range(12)]
    lines = [header, *(separator.join(row[column] for column in columns) for row in rows)]
    (tmp_path / name).write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    assert sum(pack(config(tmp_path, tmp_path / name)).samples.values()) == 12
    index = read_index(tmp_path / "shards")
    packed = stored_as_packed(index, "train") | stored_as_packed(index, "val")
    assert packed == {jpeg: CLASSES[i % 3] for i, jpeg in enumerate(small_jpegs)}


def test_what_is_neither_list_nor_tar_is_said_in_one_line_of_few_names(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg 0\n" * 300)
    with pytest.raises(
        ConfigError, match=r"is torn or no tar .* or a list of which the name ends in \.csv, \.tsv, \.parquet$"
    ):
        open_source(str(tmp_path / "list.txt")).parts()
    (tmp_path / "list.csv").write_text(",".join(f"c{i}" for i in range(500)) + "\n")
    with pytest.raises(
        ConfigError, match=r"no column path and no column label, only c0, c1, .* \.\.\.; name them"
    ) as caught:
        open_source(str(tmp_path / "list.csv")).parts()
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_a_path_that_a_list_names_is_taken_as_named(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    write_files(tmp_path, {f".hidden/._{i}.jpg": jpeg for i, jpeg in enumerate(small_jpegs)})
    rows = "".join(f".hidden/._{i}.jpg,{CLASSES[i % 3]}\n" for i in range(12))
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}")
    assert sum(pack(config(tmp_path, tmp_path / "list.csv")).samples.values()) == 12


def test_a_closed_folder_of_tools_is_passed_over_and_any_other_refused(
    tmp_path: Path, class_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lost+found` of a disk is closed to all but root, who may run this."""
    listed = os.scandir

    def scandir(path: Any = ".") -> Any:
        if Path(path).name in ("lost+found", "shut"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (class_folder / "lost+found").mkdir()
    assert len(open_source(str(class_folder)).parts()[None]) == 12
    (class_folder / "shut").mkdir()
    with pytest.raises(ConfigError, match=r"shut cannot be listed \(Permission denied\); mend its access rights"):
        open_source(str(class_folder)).parts()
