"""Shards are not taken for what another source or other settings would have made."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from platform.config.checks import ConfigError
from platform.config.data import DataConfig, StorageConfig
from platform.config.sections import Config
from platform.data.index import read_index
from platform.experiment.packed_data import open_data, say_once
from platform.packing import recipe
from platform.packing.adopt import index_shards
from platform.packing.pack import pack
from tests.data.handmade import write_tar
from tests.packing.packed import class_files, config, one_image, write_files
from tests.packing.test_resume import interrupt_at


def refused(data: DataConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_data(Config(data=data))
    assert "\n" not in str(caught.value)


def test_another_folder_of_the_same_name_is_another_source(
    tmp_path: Path, small_jpegs: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data/ten", "other/ten"):
        write_files(tmp_path / name, class_files(small_jpegs))
    data = config(tmp_path, tmp_path / "data/ten")
    pack(data)
    refused(
        replace(data, source=str(tmp_path / "other/ten")),
        r"data.source is .*/other/ten .*, but the shards in .* were packed from another ten; pack into another data.sh",
    )
    (tmp_path / "link").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    for same in ("ten", "../data/ten/", str(tmp_path / "link" / "ten")):
        open_data(Config(data=replace(data, source=same)))
    open_data(Config(data=replace(data, source=None)))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "val_fraction",
            0.5,
            r"packed with data.val_fraction=0.2, the config asks for data.val_fraction=0.5; pack into",
        ),
        ("jpeg_quality", 50, r"with data.jpeg_quality=95, the config asks for data.jpeg_quality=50"),
        ("shorter_side", 64, r"data.shorter_side is 64, the shards in .* hold images as they were"),
    ],
)
def test_changed_settings_that_had_no_effect_are_said(
    tmp_path: Path, class_folder: Path, key: str, value: float, said: str
) -> None:
    write_files(class_folder, {"cat/z.bmp": one_image("BMP")})  # which shards do not hold
    data = config(tmp_path, class_folder)
    pack(data)
    changed = replace(data, **{key: value})
    refused(changed, said)
    if key != "shorter_side":  # which is asked of shards as they are, too
        open_data(Config(data=replace(changed, source=None)))
    content = json.loads((tmp_path / "shards" / "index.json").read_text())
    del content["packing"][recipe.DIGEST]  # as it was before there were digests
    (tmp_path / "shards" / "index.json").write_text(json.dumps(content))
    open_data(Config(data=data))


def test_settings_that_make_no_difference_to_the_source_may_change(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    files = class_files(small_jpegs[:6], "train/") | class_files(small_jpegs[6:], "val/")
    data = config(tmp_path, write_files(tmp_path / "source", files))
    pack(data)
    open_data(Config(data=replace(data, val_fraction=0.5)))  # the parts are the source's own
    for how in ("keep", "drop", "refuse"):  # there are no equal images
        open_data(Config(data=replace(data, duplicates=how)))
    open_data(Config(data=replace(data, jpeg_quality=50, value_range=[0, 4095])))  # small JPEGs, kept as they are

    dropped = replace(data, shards=str(tmp_path / "dropped"), duplicates="drop")
    pack(dropped)
    open_data(Config(data=replace(dropped, duplicates="keep")))
    write_files(tmp_path / "source", {"train/cat/again.jpg": small_jpegs[0]})
    fewer = replace(dropped, shards=str(tmp_path / "fewer"))
    pack(fewer)
    assert read_index(fewer.shards).packing[recipe.DROPPED] == 1
    refused(replace(fewer, duplicates="keep"), "with data.duplicates=drop, the config asks for data.duplicates=keep")


OTHERS = {"jpeg_quality": 50, "value_range": [0, 4095], "duplicates": "drop"}


@pytest.mark.parametrize(
    ("files", "used"),
    [
        ({"cat/deep.png": one_image("PNG", "I;16")}, "value_range"),
        ({"cat/deep.tif": one_image("TIFF", "F")}, "value_range"),  # unreadable without it
        ({"cat/plain.bmp": one_image("BMP")}, "jpeg_quality"),
        ({"cat/a.png": one_image("PNG"), "cat/b.png": one_image("PNG")}, "duplicates"),
    ],
)
def test_a_setting_that_mattered_for_one_image_does_not(
    tmp_path: Path, class_folder: Path, files: dict[str, bytes], used: str
) -> None:
    data = config(tmp_path, write_files(class_folder, files))
    pack(data)
    record = read_index(data.shards).packing
    assert used not in record.get(recipe.UNUSED, [])
    with pytest.raises(ConfigError, match=f"were packed with data.{used}="):
        recipe.refuse_others(record, replace(data, **{used: OTHERS[used]}))


def test_shards_of_which_an_earlier_version_did_not_count_the_encoded_images_may_depend_on_their_quality(
    tmp_path: Path, class_folder: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(config(tmp_path, class_folder), progress=interrupt_at(12))
    for path in (tmp_path / "shards.packing" / ".packing").glob("*.json"):
        path.write_text(
            json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "encoded"})
        )
    report = pack(config(tmp_path, class_folder))
    assert report.reused == report.shards
    assert read_index(tmp_path / "shards").packing[recipe.UNUSED] == ["value_range"]


def test_another_seed_or_size_of_shards_is_said_once(
    tmp_path: Path, class_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Several seeds on the same shards are everyday life."""
    data = config(tmp_path, class_folder)
    pack(data, seed=3)
    say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        open_data(Config(data=data, seed=3))
        open_data(Config(data=replace(data, source=None), seed=4))
        assert caplog.text == ""
        for _ in range(2):
            open_data(Config(data=replace(data, samples_per_shard=5), seed=4))
    assert (
        caplog.text.count(
            "packed with data.samples_per_shard=4, seed=3 and stay so; data.samples_per_shard=5, seed=4 of"
        )
        == 1
    )


def test_settings_for_images_of_shards_that_others_made_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, small_jpegs: list[bytes]
) -> None:
    for name in ("train-0.tar", "val-0.tar"):
        write_tar(
            tmp_path / name,
            {
                f"{i}.{end}": small_jpegs[i] if end == "jpg" else b"%d" % (i % 2)
                for i in range(4)
                for end in ("jpg", "cls")
            },
        )
    data = DataConfig(shards=str(tmp_path), source=None, classes=2)
    index_shards(data, StorageConfig(), "cls")
    open_data(Config(data=data))
    assert "changes nothing" not in caplog.text
    open_data(Config(data=replace(data, value_range=[0, 4095])))
    said = f"the shards in {tmp_path} were made by others and are used as they are: data.value_range=[0, 4095] changes"
    assert said in caplog.text


def test_every_setting_that_is_not_named_otherwise_is_part_of_the_digest() -> None:
    """So is one that comes later: it has to be added to NOT_PACKED to be left out."""
    assert set(recipe.settings(DataConfig())) >= {"val_fraction", "samples_per_shard", "shorter_side", "jpeg_quality"}
    assert not set(recipe.settings(DataConfig())) & {"name", "shards", "source", "classes", "image_size", "mean"}


def test_sources_have_one_address_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe.address("torchvision:CIFAR10@data/../x") == f"torchvision:CIFAR10@{tmp_path.resolve()}/x"
    for spec in ("torchvision:CIFAR10", "sklearn:digits", "s3://bucket/list.csv"):
        assert recipe.address(spec) == spec


def test_validation_classes_without_training_images_are_refused_at_packing(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    files = {f"train/{name}/{i}.jpg": small_jpegs[i] for name in ("cat", "dog") for i in range(4)}
    files |= {f"val/{name}/9.jpg": small_jpegs[9] for name in ("cat", "eel")}
    data = config(tmp_path, write_files(tmp_path / "source", files))
    with pytest.raises(ConfigError, match=r"1 of the 2 classes of the val part have no training image: eel; add train"):
        pack(data)
    assert not (tmp_path / "shards").exists()
