"""Data sets of torchvision: which of their splits are which part, without downloading any."""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torchvision.datasets

from platform.config.checks import ConfigError
from platform.data.index import read_index
from platform.packing import datasets
from platform.packing.datasets import WITHOUT_PARTS, TorchvisionSource
from platform.packing.items import say_once
from platform.packing.pack import pack
from tests.packing.packed import config, read_split, write_files

Tags = dict[str | None, str]
TRAIN_TEST: Tags = {"train": "train", "test": "test"}
THREE: Tags = {"train": "train", "val": "val", "test": "test"}
BY_TRAIN: Tags = {"train": "train", "test": "val"}  # train=True and train=False
SPLITS: dict[str, Tags] = {
    "CIFAR10": BY_TRAIN, "CIFAR100": BY_TRAIN, "MNIST": BY_TRAIN, "FashionMNIST": BY_TRAIN, "KMNIST": BY_TRAIN,
    "QMNIST": BY_TRAIN, "USPS": BY_TRAIN,
    "CLEVRClassification": THREE, "DTD": THREE, "FGVCAircraft": THREE, "Flowers102": THREE, "RenderedSST2": THREE,
    "Country211": {"train": "train", "val": "valid", "test": "test"},
    "FER2013": TRAIN_TEST, "Food101": TRAIN_TEST, "GTSRB": TRAIN_TEST, "LFWPeople": TRAIN_TEST, "STL10": TRAIN_TEST,
    "StanfordCars": TRAIN_TEST, "SVHN": TRAIN_TEST,
    "ImageNet": {"train": "train", "val": "val"}, "Imagenette": {"train": "train", "val": "val"},
    "OxfordIIITPet": {"train": "trainval", "test": "test"},
    "Places365": {"train": "train-standard", "val": "val", "test": "test"},
    "Caltech101": {None: "all"}, "Caltech256": {None: "all"}, "EuroSAT": {None: "all"}, "SEMEION": {None: "all"},
    "SUN397": {None: "all"},
}  # fmt: skip


class Labelled(list[Any]):
    """What a downloaded part would be: its labels."""

    targets = (0, 1)


@pytest.fixture
def as_if_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchvision checks a split by itself; where it then misses the files, they are taken to be there."""
    load = datasets._load

    def loaded(name: str, root: str, tag: str, download: bool) -> Any:
        try:
            return load(name, root, tag, download)
        except (RuntimeError, OSError):
            return Labelled()

    monkeypatch.setattr(datasets, "_load", loaded)


@pytest.mark.parametrize("name", SPLITS)
def test_the_splits_of_each_data_set_of_classes_are_parts(tmp_path: Path, name: str, as_if_downloaded: None) -> None:
    """Of FGVCAircraft `trainval` is left, which is train and val once more."""
    tags = {part: items[0].where[0] for part, items in TorchvisionSource(name, str(tmp_path)).parts().items()}
    assert tags == SPLITS[name]


def test_every_data_set_that_takes_train_or_split_is_known_here() -> None:
    """A new release of torchvision may bring some."""
    others = {
        "CREStereo", "CelebA", "Cityscapes", "EMNIST", "ETH3DStereo", "FlyingChairs", "FlyingThings3D", "HD1K",
        "HMDB51",
        "InStereo2k", "Kinetics", "Kitti", "Kitti2012Stereo", "Kitti2015Stereo", "KittiFlow", "LFWPairs",
        "Middlebury2014Stereo", "MovingMNIST", "PCAM", "PhotoTour", "Sintel", "UCF101", "WIDERFace",
    }  # fmt: skip
    take = {
        name
        for name in torchvision.datasets.__all__
        if {"train", "split"} & inspect.signature(getattr(torchvision.datasets, name)).parameters.keys()
    }
    assert take <= SPLITS.keys() | others
    assert set(WITHOUT_PARTS) == {name for name, tags in SPLITS.items() if None in tags}


def write_pets(root: Path, jpegs: list[bytes]) -> None:
    """Torchvision's OxfordIIITPet: eight images of two classes for training and validation, four for testing."""
    folder = root / "oxford-iiit-pet"
    names = [f"{'Abyssinian' if i % 2 else 'great_pyrenees'}_{i}" for i in range(12)]
    write_files(folder / "images", {f"{name}.jpg": jpeg for name, jpeg in zip(names, jpegs, strict=True)})
    lines = [f"{name} {1 if i % 2 else 2} 1 1\n" for i, name in enumerate(names)]
    texts = {"trainval.txt": "".join(lines[:8]), "test.txt": "".join(lines[8:])}
    write_files(folder / "annotations", {name: text.encode() for name, text in texts.items()})


def test_a_part_for_training_and_validation_is_trained(
    tmp_path: Path, small_jpegs: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Its test part is then validation, as of any source without another."""
    say_once.cache_clear()
    write_pets(tmp_path / "root", small_jpegs)
    report = pack(config(tmp_path, f"torchvision:OxfordIIITPet@{tmp_path / 'root'}", classes=2))
    assert report.samples == {"train": 8, "val": 4}
    assert 'the part "test" is used as validation' in caplog.text
    index = read_index(tmp_path / "shards")
    assert index.classes == ["Abyssinian", "Great Pyrenees"]
    assert sorted(sample.label for sample in read_split(index, "val")) == [0, 0, 1, 1]


def test_a_data_set_without_parts_is_divided(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    files = {f"{name}/{i}.jpg": small_jpegs[i] for name in ("Forest", "River") for i in range(5)}
    write_files(tmp_path / "root" / "eurosat" / "2750", files)
    report = pack(config(tmp_path, f"torchvision:EuroSAT@{tmp_path / 'root'}", classes=2))
    assert report.samples == {"train": 8, "val": 2}
    assert read_index(tmp_path / "shards").classes == ["Forest", "River"]


def test_a_part_without_labels_is_left_out_and_said(
    tmp_path: Path, small_jpegs: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """The test parts of CLEVR, Places365 and, of some of its files, FER2013 are such."""
    say_once.cache_clear()
    folder = tmp_path / "root" / "clevr" / "CLEVR_v1.0"
    for part in ("train", "val", "test"):
        write_files(folder / "images" / part, {f"{i}.png": small_jpegs[i] for i in range(10)})
        scenes = [{"image_filename": f"{i}.png", "objects": [{}] * (i % 2)} for i in range(10)]
        if part != "test":
            write_files(folder / "scenes", {f"CLEVR_{part}_scenes.json": json.dumps({"scenes": scenes}).encode()})
    source = TorchvisionSource("CLEVRClassification", str(tmp_path / "root"))
    assert {part: len(items) for part, items in source.parts().items()} == {"train": 10, "val": 10}
    (said,) = [record.message for record in caplog.records]
    assert said == "the test part of torchvision:CLEVRClassification has no labels and is left out"
    shutil.rmtree(folder / "images" / "val")
    datasets._load.cache_clear()
    report = pack(config(tmp_path, f"torchvision:CLEVRClassification@{tmp_path / 'root'}", classes=2))
    assert report.samples == {"train": 8, "val": 2}


@pytest.mark.parametrize(
    "name", ["VOCDetection", "CocoDetection", "LSUN", "FakeData", "Omniglot", "SBU", "INaturalist"]
)
def test_a_data_set_of_another_kind_is_refused_before_anything_is_downloaded(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"torchvision:{name} cannot be had \(it has no parts for training and"):
        TorchvisionSource(name, str(tmp_path / "root"), download=True).parts()
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("name", ["ImageNet", "FER2013"])
def test_a_data_set_that_torchvision_does_not_download_is_asked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"torchvision does not download it; give torchvision:{name}@ROOT, where it"):
        TorchvisionSource(name, str(tmp_path / "root"), download=True).parts()
