"""An index for shards that others made: stock webdataset's and img2dataset's; wrong ones refused with what to do."""

import io
import json
import re
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.config.checks import ConfigError
from platform.config.data import DataConfig, StorageConfig
from platform.data.index import read_index
from platform.packing import recipe
from platform.packing.adopt import _Found, _held_out_less, index_shards
from platform.packing.shard_splits import divide_by_name
from platform.packing.verify import verify
from tests.data.handmade import write_index, write_tar
from tests.packing.packed import read_split

STORAGE = StorageConfig(attempts=2)


def stock_shards(folder: Path, jpegs: list[bytes], names: list[str], labels: list[Any]) -> DataConfig:
    """Shards as webdataset's TarWriter makes them: images and labels dealt to `names`."""
    folder.mkdir(exist_ok=True)
    share = len(jpegs) // len(names)
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with webdataset.TarWriter(str(folder / name)) as writer:  # pyright: ignore[reportAttributeAccessIssue]
            for i in range(number * share, (number + 1) * share):
                writer.write({"__key__": f"sample{i:04d}", "jpg": jpegs[i], "cls": labels[i]})
    return DataConfig(shards=str(folder), source=None, classes=3)


def img2dataset_shards(folder: Path, jpegs: list[bytes], shards: int) -> DataConfig:
    """Image, caption and metadata, as img2dataset lays them out."""
    folder.mkdir()
    share = len(jpegs) // shards
    for number in range(shards):
        members = {}
        for i in range(number * share, (number + 1) * share):
            key = f"{number:05d}{i:04d}"
            members[f"{key}.jpg"] = jpegs[i]
            members[f"{key}.txt"] = ("cat", "dog", "eel")[i % 3].encode()
            about = {"caption": "a picture", "url": f"http://x/{i}", "label": ("10", "9", "x")[i % 3], "number": i % 3}
            members[f"{key}.json"] = json.dumps(about).encode()
        write_tar(folder / f"{number:05d}.tar", members)
        (folder / f"{number:05d}_stats.json").write_text("{}")
    return DataConfig(shards=str(folder), source=None, classes=3)


def test_stock_shards_are_indexed_by_their_names(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    names = ["set-train-000000.tar", "set-train-000001.tar", "val/000000.tar"]
    data = stock_shards(tmp_path / "shards", small_jpegs, names, [i % 3 for i in range(12)])
    made = index_shards(data, STORAGE, "cls")
    assert (made.samples, made.shards) == ({"train": 8, "val": 4}, {"train": 2, "val": 1})
    index = read_index(data.shards)
    assert index.classes == []
    train, val = read_split(index, "train"), read_split(index, "val")
    assert [(s.image, s.label) for s in train + val] == [(jpeg, i % 3) for i, jpeg in enumerate(small_jpegs)]
    assert verify(data).bad == []


def test_equal_images_of_others_shards_are_counted_and_named_or_refused(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    names = ["x-train-0.tar", "x-train-1.tar", "x-val.tar"]
    leaked = small_jpegs[:8] + small_jpegs[:1] + small_jpegs[9:]
    data = stock_shards(tmp_path / "s", leaked, names, [0, 1, 2, 0, 1, 2, 0, 1, 0, 0, 1, 2])
    line = (
        "1 image(s) are equal to another, 1 of them to one of another part and 0 to one of another label: "
        "x-train-0.tar/sample0000 (train) = x-val.tar/sample0008 (val)"
    )
    with pytest.raises(ConfigError, match=re.escape(f"{line}; give data.duplicates=keep")):
        index_shards(replace(data, duplicates="refuse"), STORAGE, "cls")
    for setting in ({"duplicates": "drop"}, {"value_range": [0, 4095]}):
        with pytest.raises(ConfigError, match=f"data.{next(iter(setting))} is .*, but indexing changes no shard"):
            index_shards(replace(data, **setting), STORAGE, "cls")
    assert index_shards(data, STORAGE, "cls").warnings == [line]
    assert read_index(data.shards).packing[recipe.EQUAL] == 1


def test_a_part_whose_shards_are_all_empty_is_refused(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    data = stock_shards(tmp_path / "s", small_jpegs, ["x-train-0.tar"], [0, 1, 2] * 4)
    write_tar(tmp_path / "s" / "x-val-0.tar", {"._a.jpg": b"Mac OS"})
    with pytest.raises(
        ConfigError,
        match=r"no shard of the val part has a sample: x-val-0\.tar; left out: 1 hid.*: \._a\.jpg.*; take them away",
    ):
        index_shards(data, STORAGE, "cls")
    assert not (tmp_path / "s" / "index.json").exists()


@pytest.mark.parametrize(("share", "held_out"), [(0.07, 7), (0.065, 7), (0.29, 29), (0.001, 1), (0.999, 99)])
def test_the_share_held_out_counts_as_it_was_typed(share: float, held_out: int) -> None:
    names = [f"{i:03d}.tar" for i in range(100)]
    splits, rule = divide_by_name(names, share)
    assert [name for name in names if splits[name] == "val"] == names[-held_out:]
    assert f"the last {held_out} of 100 shards" in rule


def test_a_test_part_of_others_shards_is_indexed_apart(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    names = ["x-train-0.tar", "x-train-1.tar", "x-val.tar", "x-test.tar"]
    made = index_shards(stock_shards(tmp_path / "s", small_jpegs, names, [0, 1, 2] * 4), STORAGE, "cls")
    assert made.samples == {"train": 6, "val": 3, "test": 3}
    index = read_index(tmp_path / "s")
    assert [sample.image for sample in read_split(index, "val")] == small_jpegs[6:9]
    assert [sample.image for sample in read_split(index, "test")] == small_jpegs[9:]


def test_without_names_the_last_shards_are_held_out(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    data = stock_shards(tmp_path / "s", small_jpegs, [f"{i:03d}.tar" for i in range(6)], ["b", "a", "c"] * 4)
    made = index_shards(replace(data, val_fraction=0.2), STORAGE, "cls")
    assert made.shards == {"train": 4, "val": 2}
    assert "the last 2 of 6 shards" in made.rule
    index = read_index(data.shards)
    assert index.classes == ["a", "b", "c"]
    assert [s.label for s in read_split(index, "train")] == [1, 0, 2, 1, 0, 2, 1, 0]


@pytest.mark.parametrize(
    ("label", "classes", "first"),
    [("txt", ["cat", "dog", "eel"], [0, 1, 2]), ("json:number", [], [0, 1, 2])],
)
def test_shards_of_img2dataset(
    tmp_path: Path, small_jpegs: list[bytes], label: str, classes: list[str], first: list[int]
) -> None:
    data = img2dataset_shards(tmp_path / "s", small_jpegs, 3)
    index_shards(data, STORAGE, label)
    index = read_index(data.shards)
    assert index.classes == classes
    assert index.packing["label"] == label
    samples = read_split(index, "train")
    assert [sample.image for sample in samples] == small_jpegs[:8]
    assert [sample.label for sample in samples[:3]] == first
    assert verify(data).bad == []


def test_remote_shards_are_indexed_where_they_are_or_here(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    data = stock_shards(tmp_path / "s", small_jpegs, ["train-0.tar", "val-0.tar"], [i % 3 for i in range(12)])
    store = fsspec.filesystem("memory")
    for path in Path(data.shards).glob("*.tar"):
        store.pipe_file(f"memory://others/{path.name}", path.read_bytes())
    here = replace(data, source="memory://others", shards=str(tmp_path / "index"))
    index_shards(here, STORAGE, "cls")
    index = read_index(here.shards, replace(STORAGE, cache=str(tmp_path / "cache")))
    assert [shard.url for shard in index.split("train").shards] == ["memory://others/train-0.tar"]
    assert [sample.image for sample in read_split(index, "train")] == small_jpegs[:6]
    assert index.packing["source"] == "memory://others"
    assert verify(here).bad == []
    index_shards(replace(data, shards="memory://others"), STORAGE, "cls")
    there = read_index("memory://others", replace(STORAGE, cache=str(tmp_path / "cache")))
    assert [sample.image for sample in read_split(there, "val")] == small_jpegs[6:]


@pytest.mark.parametrize(
    ("names", "val"),
    [
        (["train/0.tar", "val/0.tar"], ["val/0.tar"]),
        (["a_train_1.tar", "a_valid_1.tar"], ["a_valid_1.tar"]),
        (["TRAIN001.tar", "Validation001.tar"], ["Validation001.tar"]),
        (["train-1.tar", "test-1.tar"], ["test-1.tar"]),
        (["constrained-1.tar", "evaluated-2.tar"], ["evaluated-2.tar"]),  # no words: the last is held out
        (["train-1.tar", "train-2.tar"], ["train-2.tar"]),
        (["test/train-1.tar", "test/val-1.tar"], ["test/val-1.tar"]),
    ],
)
def test_the_split_is_a_word_of_the_name(names: list[str], val: list[str]) -> None:
    splits, _ = divide_by_name(names, 0.2)
    assert [name for name in names if splits[name] == "val"] == val


def test_a_share_of_the_shards_is_what_was_typed() -> None:
    splits, _ = divide_by_name([f"{number:03d}.tar" for number in range(100)], 0.07)
    assert list(splits.values()).count("val") == 7


def test_a_test_part_is_apart_where_there_is_validation_and_else_said_to_be_it() -> None:
    splits, rule = divide_by_name(["x-train.tar", "x-val.tar", "x-test.tar"], 0.2)
    assert splits == {"x-train.tar": "train", "x-val.tar": "val", "x-test.tar": "test"}
    assert rule == "as the shards' names say"
    splits, rule = divide_by_name(["train/0.tar", "test/0.tar"], 0.2)
    assert splits == {"train/0.tar": "train", "test/0.tar": "val"}
    assert rule == 'as the shards\' names say; the part "test" is used as validation: there is no other'


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.tar"], r"a.tar is the only shard, which leaves none to hold out as val; give at least two"),
        (
            ["train-1.tar", "val-1.tar", "b.tar"],
            r"some shards' names say train, val or test, that of b.tar does not; rename",
        ),
        (["val-1.tar", "val-2.tar"], r"all shards are val by their names, e.g. val-1.tar; put the train shards"),
    ],
)
def test_names_that_do_not_tell_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        divide_by_name(names, 0.2)


@pytest.mark.parametrize(
    "names",
    [
        ["training-000.tar", "training-001.tar", "testing-000.tar"],
        ["training/000.tar", "training/001.tar", "evaluation/000.tar"],
        ["x-trainset-0.tar", "x-trainset-1.tar", "x-testset-7.TAR"],
        ["train_data/training-0.tar", "train_data/testing-0.tar"],
        ["000.tar", "001.tar", "holdout-002.tar"],
        ["training/cats-0.tar", "testing/dogs-0.tar"],
    ],
)
def test_shards_called_like_parts_are_refused_before_the_last_are_held_out(names: list[str]) -> None:
    with pytest.raises(
        ConfigError, match=r"called as if they were parts.*; rename them, .* say (test|train) and "
    ) as e:
        divide_by_name(names, 0.2)
    assert names[-1] in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "name",
    [
        "training-{}.tar",
        "training/{}.tar",
        "constrain-{}.tar",
        "contesting-trainings-{}.tar",
        "devices/{}.tar",
        "{}.tar",
    ],
)
def test_shards_that_are_all_called_alike_are_no_parts(name: str) -> None:
    names = [name.format(f"{number:03d}") for number in range(100)]
    assert [shard for shard, split in divide_by_name(names, 0.02)[0].items() if split == "val"] == names[-2:]


def test_a_collection_called_dev_beside_others_is_no_part() -> None:
    splits, _ = divide_by_name(["coco-0.tar", "coco-1.tar", "openimages-dev-0.tar"], 0.2)
    assert list(splits.values()) == ["train", "train", "val"]


def refused(data: DataConfig, message: str, label: str = "cls", image: str = "") -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        index_shards(data, STORAGE, label, image=image)
    assert "\n" not in str(caught.value)
    assert not (Path(data.shards) / "index.json").exists()


def test_samples_that_lack_something_are_refused_with_their_number_and_the_first(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    members = {f"{i}.jpg": small_jpegs[0] for i in range(5)} | {"5.cls": b"1", "6.jpg": b"x", "6.cls": b"0"}
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", members)
    data = DataConfig(shards=str(tmp_path), classes=3)
    refused(
        data, r"12 of 14 samples have no image .* or no label in cls: 0 of 0.tar \(jpg\); .* \.\.\.; give pack.label"
    )
    refused(data, r"14 of 14 samples", "json:label")


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 1, 2, 3], 3, r"the labels are 0 to 3, data.classes is 3; labels are 0 to data.classes - 1"),
        ([-1, 0, 1, 2], 3, r"the labels are -1 to 2, data.classes is 3"),
        (["a", "b", "a", "b"], 3, r"the shards have 2 classes, e.g. a, b; data.classes is 3: set it to that, or pack"),
        (["a", "1", "a", "b"], 3, r"some labels are numbers \('1'\) and others names \('a'\); use one kind"),
    ],
)
def test_other_labels_than_the_classes_are_refused(
    tmp_path: Path, small_jpegs: list[bytes], labels: list[Any], classes: int, message: str
) -> None:
    for number, label in enumerate(labels):
        write_tar(tmp_path / f"{number}.tar", {"0.jpg": small_jpegs[0], "0.cls": str(label).encode()})
    refused(DataConfig(shards=str(tmp_path), classes=classes), message)


def test_classes_without_an_image_are_said_and_labels_from_one_on(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    data = stock_shards(tmp_path / "s", small_jpegs, ["train-0.tar", "val-0.tar"], [1, 2, 3] * 4)
    remedy = r"set it to 4 \(class 0 then has no image: these begin at 1\), or pack.label"
    refused(data, f"the labels are 1 to 3, data.classes is 3; labels are 0 to data.classes - 1: {remedy}")
    assert index_shards(replace(data, classes=4), STORAGE, "cls").warnings == [
        "1 of 4 classes have no image in any part: 0; the labels begin at 1, those of data.classes classes at 0"
    ]
    data = stock_shards(tmp_path / "m", small_jpegs, ["train-0.tar", "val-0.tar"], ["01", 1, 2] * 4)
    assert index_shards(replace(data, classes=1000), STORAGE, "cls").warnings[0].startswith("998 of 1000 classes")
    data = stock_shards(tmp_path / "n", small_jpegs, ["train-0.tar", "val-0.tar"], [0, 1, 5] * 4)
    assert index_shards(replace(data, classes=1000), STORAGE, "cls").warnings == [
        "997 of 1000 classes have no image in any part: 2, 3, 4 ..."
    ]


def test_captions_are_no_classes(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    members: dict[str, bytes] = {}
    for i, jpeg in enumerate(small_jpegs):
        members |= {f"{i}.jpg": jpeg, f"{i}.txt": f"picture number {i:02d}".encode()}
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", members)
    data = DataConfig(shards=str(tmp_path), classes=3)
    refused(data, r"shard \d.tar alone has 12 different labels in txt, e.g. 'picture number 00'; data.classes", "txt")


def test_what_is_no_folder_of_shards_is_refused(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    data = stock_shards(tmp_path / "s", small_jpegs, ["train-0.tar", "val-0.tar"], [i % 3 for i in range(12)])
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(replace(data, shards=str(empty)), r"there are no .tar files in .*empty; check the address")
    refused(replace(data, source="sklearn:digits"), r"data.source is sklearn:digits, no folder or URL of tar files")
    refused(replace(data, source=str(empty)), r"whose index belongs beside its shards; give data.source=null data.sh")
    refused(replace(data, source="s3://a", shards="s3://b"), r"an index lies beside its shards or on this machine")
    content = bytearray((tmp_path / "s" / "val-0.tar").read_bytes())
    (tmp_path / "s" / "val-0.tar").write_bytes(content[:700])
    refused(data, r"shard .*val-0.tar is torn or no tar \(.*\); copy it again")


def test_an_index_that_is_there_is_not_replaced(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    data = stock_shards(tmp_path / "s", small_jpegs, ["train-0.tar", "val-0.tar"], [i % 3 for i in range(12)])
    index_shards(data, STORAGE, "cls")
    with pytest.raises(ConfigError, match=r"has an index.json already; remove it to index the shards anew"):
        index_shards(data, STORAGE, "cls")


def test_hidden_tar_files_are_no_shards_and_are_said(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    """Of a notebook, of a Mac, of a trash; in a folder and in a store."""
    names = ["0.tar", "1.TAR", "2.tar"]
    data = stock_shards(tmp_path / "s", small_jpegs, names, [0, 1, 2] * 4)
    hidden = [".ipynb_checkpoints/1-checkpoint.tar", "._2.tar", "x/.trash/2.tar.gz", "__MACOSX/0.tar"]
    store = fsspec.filesystem("memory")
    for name in hidden:
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / name).write_bytes((tmp_path / "s" / "2.tar").read_bytes())
    for name in [*names, *hidden]:
        store.pipe_file(f"memory://hidden/{name}", (tmp_path / "s" / name).read_bytes())
    for shards in (data.shards, "memory://hidden"):
        made = index_shards(replace(data, shards=shards), STORAGE, "cls")
        assert made.shards == {"train": 2, "val": 1}
        assert made.left_out == [
            "4 hidden and tool-made tar files, which are taken for no shards: ._2.tar, "
            ".ipynb_checkpoints/1-checkpoint.tar, __MACOSX/0.tar ..."
        ]
    assert [sample.image for sample in read_split(read_index(data.shards), "train")] == small_jpegs[:8]
    only = tmp_path / "only"
    only.mkdir()
    write_tar(only / "._0.tar", {"0.jpg": small_jpegs[0], "0.cls": b"0"})
    refused(replace(data, shards=str(only)), r"no .tar files in .*only \(only 1 hidden .*: \._0\.tar\); check the addr")


@pytest.mark.parametrize("name", ["002.tar.gz", "val/2.tgz", "2.TAR.ZST"])
def test_compressed_shards_are_refused_and_not_passed_over(tmp_path: Path, small_jpegs: list[bytes], name: str) -> None:
    data = stock_shards(tmp_path / "s", small_jpegs, ["0.tar", "1.tar"], [0, 1, 2] * 4)
    (tmp_path / "s" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "s" / name).write_bytes(b"compressed")
    refused(data, rf"holds 1 compressed shard\(s\), {re.escape(name)}: decompress them first \((gunzip|unzstd)\), as")
    for number in range(2):
        (tmp_path / "s" / f"{number}.tar").unlink()
    refused(data, r"holds 1 compressed shard")


def test_nothing_in_a_shard_is_executed(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    """Members that stock readers would unpickle are passed over."""
    marker = tmp_path / "executed"
    pickled = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    for name in ("train-0.tar", "val-0.tar"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for member, content in {"0.jpg": small_jpegs[0], "0.cls": b"1", "0.pyd": pickled, "0.pkl": pickled}.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        (tmp_path / name).write_bytes(buffer.getvalue())
    data = DataConfig(shards=str(tmp_path), classes=3)
    index_shards(data, STORAGE, "cls")
    assert verify(data).bad == []
    assert not marker.exists()


def test_a_rare_class_that_the_last_shards_happen_to_have_is_told_from_sorted_shards(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    labels = [number % 2 for number in range(60)]
    labels[45] = 2  # of sixty images in twenty shards: in the sixteenth
    data = stock_shards(tmp_path / "s", small_jpegs * 5, [f"{i:03d}.tar" for i in range(20)], labels)
    fewer = (
        r"1 of the 3 classes of the val part have no training image: 2; give data\.val_fraction=(\S+), which holds out"
    )
    with pytest.raises(ConfigError, match=rf"{fewer} the last 4 of 20 shards, or name those") as error:
        index_shards(replace(data, val_fraction=0.3), STORAGE, "cls")
    found = re.search(fewer, str(error.value))
    assert found
    assert index_shards(replace(data, val_fraction=float(found[1])), STORAGE, "cls").shards == {"train": 16, "val": 4}

    labels[45], labels[-1] = 0, 2
    last = stock_shards(tmp_path / "l", small_jpegs * 5, [f"{i:03d}.tar" for i in range(20)], labels)
    refused(last, "no training image: 2; its few images are in the last shard: name those for validation yourself")


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(2, 10_000), st.data())
def test_the_share_that_is_named_holds_out_as_many_shards(shards: int, draw: st.DataObject) -> None:
    first = draw.draw(st.integers(0, shards - 2))
    found = _Found()
    found.add("val", first, Counter(["rare"]), [], b"")
    share = re.search(r"val_fraction=(\S+), which holds out the last (\d+) of", _held_out_less(found, {"rare"}, shards))
    assert share
    splits, _ = divide_by_name([f"{number:05d}.tar" for number in range(shards)], float(share[1]))
    assert Counter(splits.values())["val"] == int(share[2]) == shards - first - 1


def test_class_sorted_shards_are_refused_with_the_classes_that_would_not_be_trained(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    labels = sorted(list(range(30)) * 4)
    data = stock_shards(tmp_path / "s", small_jpegs * 10, [f"{i:03d}.tar" for i in range(30)], labels)
    refused(
        replace(data, classes=30, val_fraction=0.2),
        r"6 of the 6 classes of the val part have no training image: 24, 25, 26 \.\.\.; the shards seem to be sort",
    )
    named = stock_shards(tmp_path / "n", small_jpegs, ["train-0.tar", "val-0.tar"], ["a", "b"] * 3 + ["c"] * 6)
    refused(named, r"1 of the 1 classes of the val part have no training image: c; give those classes training images")


def test_sorted_shards_whose_last_class_is_trained_too_are_refused(tmp_path: Path) -> None:
    """Two classes of 200 images in 8 shards: validation would be one shard of dogs, of which there are others."""
    for number in range(8):
        members = {}
        for i in range(50):
            members |= {f"{number}-{i}.jpg": b"x", f"{number}-{i}.cls": b"cat" if number < 4 else b"dog"}
        write_tar(tmp_path / f"{number}.tar", members)
    data = DataConfig(shards=str(tmp_path), classes=2, val_fraction=0.1)
    refused(
        data, r"the last shards would be the val part, but 1 of the 2 classes have none of its 50 images: cat; the sh"
    )


def test_trained_classes_without_a_validation_image_are_said(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    labels = ["a", "b", "c"] * 2 + ["a", "b"] * 3
    data = stock_shards(tmp_path / "s", small_jpegs, ["train-0.tar", "val-0.tar"], labels)
    assert index_shards(data, STORAGE, "cls").warnings == ["1 of the 3 classes have no val image: c"]


def test_shards_as_tools_leave_them_are_indexed_and_what_is_left_out_is_counted(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    """Dotted keys, labels deep in JSON, `./`, `__info__`, `.DS_Store`, links; an image named by `pack.image`."""
    for number, folder in enumerate(("train", "val")):
        (tmp_path / folder).mkdir()
        with tarfile.open(tmp_path / folder / "0.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            members: dict[str, bytes] = {"__info__": b"{}", "./.DS_Store": b"", "./._0.input.jpg": b"?"}
            for i in range(3):
                about = json.dumps({"a": {"b": i}}).encode()
                members |= {
                    f"./{i}.input.jpg": small_jpegs[3 * number + i],
                    f"./{i}.mask.png": b"",
                    f"./{i}.json": about,
                }
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            for name, target in (("./3.input.jpg", "0.input.jpg"), ("./3.json", "2.json"), ("./x.jpg", "/etc/hosts")):
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, target
                tar.addfile(link)
    data = DataConfig(shards=str(tmp_path), source=None, classes=3)
    refused(
        data,
        r"8 of 8 samples have no image .*; give pack.image=(input.jpg|mask.png) or .*, or mend the shards$",
        "json:a.b",
    )
    made = index_shards(data, STORAGE, "json:a.b", image="input.jpg")
    assert made.left_out == [
        "4 hidden and tool-made files: .DS_Store of train/0.tar, ._0.input.jpg of train/0.tar, "
        ".DS_Store of val/0.tar ...",
        "2 links that lead to no member of the same tar: x.jpg -> /etc/hosts of train/0.tar, "
        "x.jpg -> /etc/hosts of val/0.tar",
        "2 members called __NAME__: __info__ of train/0.tar, __info__ of val/0.tar",
    ]
    index = read_index(tmp_path)
    assert index.packing == {"source": None, "label": "json:a.b", "image": "input.jpg", recipe.EQUAL: 2}
    for part, jpegs in (("train", small_jpegs[:3]), ("val", small_jpegs[3:6])):
        samples = read_split(index, part)
        assert [sample.key for sample in samples] == ["0", "1", "2", "3"]
        assert [sample.image for sample in samples] == [*jpegs, jpegs[0]]
        assert [sample.label for sample in samples] == [0, 1, 2, 2]
    found = verify(data)
    assert (found.bad, found.left_out) == ([], made.left_out)


def test_of_two_images_the_one_that_is_meant_has_to_be_said(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", {"0.jpg": small_jpegs[0], "0.png": small_jpegs[1], "0.cls": b"0"})
    data = DataConfig(shards=str(tmp_path), classes=3)
    refused(data, r"sample 0 of \d.tar has the images jpg and png; say which one with pack.image=jpg")
    index_shards(data, STORAGE, "cls", image="png")
    assert read_split(read_index(tmp_path), "train")[0].image == small_jpegs[1]


def test_joined_shards_are_indexed_whole_and_an_index_of_their_first_half_is_not(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    data = stock_shards(tmp_path / "s", small_jpegs, ["train-0.tar", "train-1.tar", "val-0.tar"], [0, 1, 2] * 4)
    first, second = Path(data.shards, "train-0.tar"), Path(data.shards, "train-1.tar")
    first.write_bytes(first.read_bytes() + second.read_bytes())
    second.unlink()
    write_index(Path(data.shards), {"train-0.tar": 4, "val-0.tar": 4}, classes=[])
    assert any("train-0.tar holds 8 samples, its index says 4" in line for line in verify(data).bad)
    Path(data.shards, "index.json").unlink()
    assert index_shards(data, STORAGE, "cls").samples == {"train": 8, "val": 4}
    assert [sample.image for sample in read_split(read_index(data.shards), "train")] == small_jpegs[:8]
    first.write_bytes(first.read_bytes() + b"torn")
    Path(data.shards, "index.json").unlink()
    refused(data, r"train-0.tar is torn or no tar \(what follows its end, at byte \d+, is no tar\); copy it again")


def test_what_is_whole_and_not_read_is_not_called_torn(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    """Joined shards with the same keys, two members of a sample that differ in capitals: no copy would be better."""
    write_tar(tmp_path / "0.tar", {"0.jpg": small_jpegs[0], "0.cls": b"0"})
    first = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "1.tar").write_bytes(first + first)
    data = DataConfig(shards=str(tmp_path), classes=2)
    refused(
        data, r"shard \S+1\.tar is not read: it is several tars .* two hold a 0\.jpg; make a shard of each, or [^;]*$"
    )
    write_tar(tmp_path / "1.tar", {"0.jpg": small_jpegs[0], "0.JPG": small_jpegs[1], "0.cls": b"0"})
    refused(data, r"shard \S+1\.tar is not read: it has two members 0\.JPG, of which one would be lost; rename one$")
