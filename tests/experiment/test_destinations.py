"""Places that cannot be written to are found before anything starts, and trying them leaves nothing."""

import errno
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.pack import prepare_data
from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.data import DataConfig, StorageConfig
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig as Tracking
from platform.config.training import CheckpointConfig
from platform.experiment.destinations import require_copies, require_folder, require_places


@pytest.fixture
def fine(tmp_path: Path) -> Config:
    """One whose every place is below a folder that is not there yet."""
    new = tmp_path / "new"
    return Config(
        output_dir=str(new / "runs"),
        data=DataConfig(source="sklearn:digits", shards=str(new / "data" / "digits")),
        checkpoint=CheckpointConfig(copy_to=str(new / "copies")),
        tracking=Tracking(uri=f"sqlite:///{new / 'mlflow' / 'x.db'}"),
    )


def try_places(config: Config, *, packed: bool = False) -> None:
    require_places(Experiment(config, {"model": config}), packed=packed)


def test_what_is_made_to_try_a_place_goes_again(fine: Config, tmp_path: Path):
    try_places(fine)
    assert list(tmp_path.iterdir()) == []
    place = Path(fine.output_dir)
    place.mkdir(parents=True)
    (place / "theirs").touch()
    try_places(fine)
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "runs", "theirs"]


def test_launches_that_try_the_same_new_place_do_not_refuse_each_other(tmp_path: Path):
    with ThreadPoolExecutor(8) as pool:
        tried = [pool.submit(require_folder, "output_dir", tmp_path / "a" / "b" / "c") for _ in range(400)]
    assert [each.exception() for each in tried if each.exception()] == []


@pytest.mark.parametrize(
    ("section", "change", "said"),
    [
        ("output_dir", "/proc/runs", "output_dir: /proc/runs/googlenet-digits cannot be written to (No such file or"),
        ("output_dir", "FILE", "output_dir: FILE/googlenet-digits cannot be written to (FILE is no folder)"),
        ("data", {"shards": "/proc/shards/digits"}, "data.shards: /proc/shards cannot be written to (No such file"),
        ("checkpoint", {"copy_to": "/proc/nothing"}, "checkpoint.copy_to: /proc/nothing cannot be written to (No such"),
        (
            "checkpoint",
            {"copy_to": "FILE"},
            "checkpoint.copy_to: FILE cannot be written to (FILE is no folder); give another",
        ),
        (
            "tracking",
            {"uri": "sqlite:////proc/x.db"},
            "tracking.uri: /proc cannot be written to (No such file or direc",
        ),
        (
            "tracking",
            {"uri": "sqlite:////proc/a/x.db?timeout=5"},
            "tracking.uri: /proc/a cannot be written to (No such",
        ),
        ("tracking", {"uri": "sqlite:///FILE"}, "tracking.uri: FILE is no SQLite database; give another file"),
        ("tracking", {"uri": "sqlite:////tmp"}, "tracking.uri: /tmp cannot be written to (Is a directory); give anoth"),
    ],
)
def test_a_place_that_takes_nothing_is_named(fine: Config, tmp_path: Path, section: str, change: Any, said: str):
    (file := tmp_path / "file").write_text("something else")
    given = {key: value.replace("FILE", str(file)) for key, value in change.items()} if section != "output_dir" else {}
    changed = replace(getattr(fine, section), **given) if given else change.replace("FILE", str(file))
    with pytest.raises(ConfigError) as caught:
        try_places(replace(fine, **{section: changed}))
    assert said.replace("FILE", str(file)) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_cache_of_remote_shards_is_a_place_and_shards_that_are_there_are_none(fine: Config):
    unwritable = StorageConfig(cache="/proc/cache")
    try_places(replace(fine, storage=unwritable))
    remote = replace(fine, data=DataConfig(shards="s3://bucket/shards"), storage=unwritable)
    with pytest.raises(ConfigError, match=r"^storage\.cache: /proc/cache cannot be written to"):
        try_places(remote, packed=True)
    try_places(replace(remote, storage=StorageConfig(cache="memory")), packed=True)
    try_places(replace(fine, data=DataConfig(shards="/proc/shards/digits")), packed=True)


def test_a_cache_on_a_disk_without_locks_is_found_before_anything_starts(
    fine: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    storage = StorageConfig(cache=str(tmp_path / "cache"))
    remote = replace(fine, data=DataConfig(shards="http://127.0.0.1:9/shards"), storage=storage)
    try_places(remote, packed=True)
    monkeypatch.setattr(fcntl, "flock", none)
    said = rf"^storage\.cache: {tmp_path}/cache/\S+ is on a file system without locks .*storage\.cache=memory$"
    for attempt in (lambda: try_places(remote, packed=True), lambda: prepare_data(remote)):  # job=check, and a launch
        with pytest.raises(ConfigError, match=said):
            attempt()
    assert list(tmp_path.iterdir()) == []
    try_places(fine)
    on_nodes = replace(remote, cluster=ClusterConfig(address="auto"))
    try_places(on_nodes, packed=True)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite://", "sqlite:///:memory:", "postgresql://x/proc/y"])
def test_what_is_no_file_is_not_tried(fine: Config, uri: str):
    try_places(replace(fine, tracking=Tracking(uri=uri)))


def test_what_only_a_clusters_nodes_see_is_theirs(fine: Config):
    there = replace(fine, checkpoint=CheckpointConfig(copy_to="/proc/nothing"), cluster=ClusterConfig(address="auto"))
    require_copies(Experiment(there, {"model": there}))
    with pytest.raises(ConfigError, match=r"^checkpoint\.copy_to: /proc/nothing cannot"):
        require_copies(Experiment(replace(there, cluster=ClusterConfig()), {}))
