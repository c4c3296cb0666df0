"""From what and how shards were packed: a record in their index, with a digest of it and of the source's full path.

In: a config, and the record of shards that are there. Out: the record for an index; an error if the config asks for
other shards than there are. The digest tells two sources of one name apart without a path in the index.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from platform.config.checks import ConfigError
from platform.config.data import DataConfig

DIGEST = "sha256"
EQUAL = "equal_images"  # that were kept, if any
DROPPED = "dropped_images"  # where equal ones are, and be it none
MARKED = "restart_markers_of"  # how many JPEGs have them, and how many not and why, where they were asked for
UNUSED = "unused"  # settings that this source made no use of, if any
# Settings of `data` that change nothing of the shards' bytes; every other one, and those to come, does.
NOT_PACKED = (
    "name", "shards", "source", "classes", "image_size", "mean", "std", "mirror", "min_crop_area", "balance",
    "also", "max_corrupt",
)  # fmt: skip
# These change the order of the samples only (the seed also a division that is made when packing), and training goes on
# from the seed, too: several seeds on the same shards are everyday life. They are said, not refused.
SAID = ("samples_per_shard", "seed")


def settings(data: DataConfig) -> dict[str, Any]:
    """The settings of `data` that shards depend on. Keeping and refusing equal images make the same shards."""
    found = {
        field.name: getattr(data, field.name) for field in dataclasses.fields(data) if field.name not in NOT_PACKED
    }
    return found | {"duplicates": "drop" if data.duplicates == "drop" else "keep"}


def sealed(record: dict[str, Any], source: str | None) -> dict[str, Any]:
    """The record of a packing with its digest."""
    return {**record, DIGEST: _digest(record, source)}


def _digest(record: dict[str, Any], source: str | None) -> str:
    content = {key: value for key, value in record.items() if key != DIGEST}
    text = json.dumps([content, address(source)], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def address(source: str | None) -> str | None:
    """A source as an absolute path, links resolved; other kinds of sources as they are."""
    if source is None:
        return None
    if source.startswith("torchvision:"):
        name, at, root = source.partition("@")
        return f"{name}@{Path(root).resolve()}" if at else name
    return source if ":" in source else str(Path(source).resolve())


def refuse_others(record: dict[str, Any], data: DataConfig) -> None:
    """Refuse shards that are not what `data` would have packed. Without a source any shards will do.

    Raises:
        ConfigError: they were packed with other settings, or from another source of the same name.
    """
    if data.source is None or DIGEST not in record:  # others' shards, and indexes from before there were digests
        return
    without = {*SAID, *record.get(UNUSED, ()), *(() if _hinge_on_duplicates(record) else ("duplicates",))}
    packed, asked = _changed(record, {key: value for key, value in settings(data).items() if key not in without})
    if packed.get("shorter_side") and asked["shorter_side"] is None:  # as they are; the plan says how large that is
        del packed["shorter_side"], asked["shorter_side"]
    if packed.get("restart_markers") and not asked["restart_markers"]:  # the pixels are the same
        del packed["restart_markers"], asked["restart_markers"]
    if data.duplicates == "refuse" and record.get(EQUAL):
        raise ConfigError(
            f"data.duplicates is refuse, but the shards in {data.shards} hold {record[EQUAL]:,} image(s) equal to "
            "another; pack into another data.shards with data.duplicates=drop, or give data.duplicates=keep"
        )
    if "duplicates" in asked:
        asked["duplicates"] = data.duplicates
    if packed:
        raise ConfigError(
            f"the shards in {data.shards} were packed with {_values(packed)}, the config asks for "
            f"{_values(asked)}; pack into another data.shards, give the values "
            "packed with, or data.source=null to use them as they are"
        )
    if record[DIGEST] != _digest(record, data.source):
        raise ConfigError(
            f"data.source is {data.source} ({address(data.source)}), but the shards in {data.shards} were packed from "
            f"another {record.get('source')}; pack into another data.shards, or give data.source=null to use them as "
            "they are"
        )


def _hinge_on_duplicates(record: dict[str, Any]) -> bool:
    """Whether keeping and dropping equal images makes a difference; True if an earlier version did not record it."""
    if record.get("duplicates") == "drop":
        return record.get(DROPPED) != 0
    return "duplicates" not in record or EQUAL in record


def without_effect(record: dict[str, Any], data: DataConfig, seed: int) -> str | None:
    """A warning of one line about settings that make no difference to shards that are there already; None: there are
    none. These are the size and order of shards, and how images are packed where others made the shards."""
    if "samples_per_shard" not in record:
        return _without_effect_on_others(data)
    if data.source is None or DIGEST not in record:
        return None
    packed, asked = _changed(record, {"samples_per_shard": data.samples_per_shard, "seed": seed})
    if not packed:
        return None
    return (
        f"the shards in {data.shards} were packed with {_values(packed)} and stay so; {_values(asked)} of the config "
        "changes nothing of them (pack into another data.shards, or say data.source=null to use them as they are)"
    )


def _without_effect_on_others(data: DataConfig) -> str | None:
    asked: dict[str, Any] = {"value_range": data.value_range} if data.value_range else {}
    asked |= {"duplicates": "drop"} if data.duplicates == "drop" else {}
    asked |= {"restart_markers": True} if data.restart_markers else {}
    if not asked:
        return None
    return (
        f"the shards in {data.shards} were made by others and are used as they are: {_values(asked)} changes "
        "nothing of them (leave it out, or pack the images themselves anew into another data.shards)"
    )


def _changed(record: dict[str, Any], asked: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings that differ: (as packed, as asked for). A setting that the record lacks had its default."""
    defaults = settings(DataConfig()) | {"seed": 0}
    packed = {key: record.get(key, defaults[key]) for key in asked}
    changed = [key for key in asked if packed[key] != asked[key]]
    return {key: packed[key] for key in changed}, {key: asked[key] for key in changed}


def _values(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{'' if key == 'seed' else 'data.'}{key}={'null' if value is None else value}" for key, value in values.items()
    )
