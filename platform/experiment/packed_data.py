"""The images of an experiment: whether they are packed, their index, and how many a source holds that will be.

In: a config. Out: the index, checked against the config; numbers of images.
"""

import contextlib
import functools
import logging
import os
from pathlib import Path

from platform.config.checks import ConfigError, require
from platform.config.sections import Config
from platform.data.cache import ShardError
from platform.data.index import INDEX_NAME, Index, has_index, read_index
from platform.data.sets import read_sets, require_same_classes
from platform.data.store_errors import StorageError
from platform.data.urls import is_remote
from platform.packing import preparation, recipe
from platform.packing.freshness import changed_since
from platform.packing.restart_markers import Marked, require_program
from platform.packing.sources import source_name

log = logging.getLogger("platform")


def is_packed(config: Config) -> bool:
    """Whether there are shards with an index at `data.shards`.

    Raises:
        ConfigError: the store does not answer.
    """
    try:
        return has_index(config.data.shards, config.storage)
    except StorageError as error:
        raise ConfigError(f"data.shards: {error}") from error


def open_data(config: Config) -> Index:
    """Read the index of the packed shards, and check it against the config.

    Raises:
        ConfigError: shards missing or torn, or of another number of classes.
    """
    try:
        index = read_sets(config.data, config.storage)
        for split in ("train", "val"):
            index.split(split)
    except ShardError as error:
        raise ConfigError(str(error)) from error
    for said in require_same_classes(index):
        say_once(said)
    packed_from, wanted = index.packing.get("source"), source_name(config.data.source)
    require(
        None in (packed_from, wanted) or packed_from == wanted,
        f"data.source is {wanted}, but the shards in {config.data.shards} were packed from {packed_from}; "
        "give another data.shards, or data.source=null to use them as they are",
    )
    shrunk_to, asked = index.packing.get("shorter_side"), config.data.shorter_side
    require(
        asked in (None, shrunk_to),
        f"data.shorter_side is {asked}, the shards in {config.data.shards} hold images "
        f"{f'shrunk to {shrunk_to} px' if shrunk_to else 'as they were'}; pack them again into another data.shards, or "
        "use them with data.shorter_side=null",
    )
    recipe.refuse_others(index.packing, config.data)
    if said := recipe.without_effect(index.packing, config.data, config.seed):
        say_once(said)
    if said := changed_since(config.data):
        say_once(said)
    found = len(index.classes)
    again = "" if wanted is None else ", or pack the source into another data.shards if it has that many now"
    classes = config.data.classes
    require(
        found in (0, classes),
        f"data.classes is {classes}, the shards in {config.data.shards} have {found}; set it to that{again}",
    )
    return index


@functools.cache
def say_once(message: str) -> None:
    """Warn once a process: the index is opened for the plan, and again for the training."""
    log.warning(message)


def further_sets(config: Config, index: Index | None) -> dict[str, int]:
    """Training images of each set of `data.also`, which are packed even where the first set is not yet.

    Raises:
        ConfigError: there is none, or its shards are missing or torn.
    """
    found = {}
    for name, each in config.data.others.items():
        try:
            also = index.also[name] if index else read_index(each.shards, config.storage)
            found[name] = also.split("train").samples
        except ShardError as error:
            raise ConfigError(f"data.also.{name}: {error}") from error
    return found


def contents(index: Index) -> tuple[dict[str, int], int | None]:
    """Images of each split, and the pixels that larger ones were shrunk to (None: not shrunk)."""
    return {name: split.samples for name, split in index.splits.items()}, index.packing.get("shorter_side")


def restart_markers(config: Config, index: Index | None) -> str:
    """What became of the JPEGs that were packed with restart markers, or that they will be; "": none were asked for."""
    if index is None:
        return "restart markers: written when packed" if config.data.restart_markers else ""
    with contextlib.suppress(TypeError, ValueError, AttributeError, ArithmeticError):  # an index of others
        return Marked.of(index.packing[recipe.MARKED]).line() if recipe.MARKED in index.packing else ""
    return ""


def source_contents(config: Config) -> tuple[dict[str, int], int | None]:
    """What `_contents` says, of a source that will be packed."""
    _refuse_other_files(config)
    if config.data.source is None:
        raise ConfigError(
            f"no {INDEX_NAME} in data.shards={config.data.shards} and no data.source to pack; "
            "give one of them (job=pack data.source=PATH)"
        )
    if config.data.restart_markers:
        require_program()
    try:
        counts = preparation.counts(config.data, config.seed, config.storage)
    except StorageError as error:
        raise ConfigError(f"data.source: {error}") from error
    return counts, config.data.shorter_side


def _refuse_other_files(config: Config) -> None:
    """Refuse a folder with files and no index: shards that others made, or what packing would not overwrite."""
    folder = Path(config.data.shards)
    if is_remote(config.data.shards) or not folder.exists():
        return
    require(folder.is_dir(), f"data.shards: {folder} is a file; choose a folder")
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError as error:
        raise ConfigError(f"data.shards: {folder} cannot be read ({error.strerror}); check its rights") from error
    tars = sum(name.endswith(".tar") for name in names)
    remedy = f"have one made with job=pack pack.action=index data.source=null data.shards={folder}"
    require(not tars, f"data.shards: {folder} holds {tars} tar file(s) and no {INDEX_NAME}; {remedy}")
    require(
        not names,
        f"data.shards: {folder} holds {''.join(names[:1])} and no {INDEX_NAME}; choose an empty folder, or the shards'",
    )
