"""Indexes shards that others made, by stock webdataset or img2dataset. The shards stay as and where they are.

In: a folder or URL of tar files, each of which is read once. Out: `index.json` in `data.shards`, with counts, checksums
and the label rule: beside the shards, or on this machine with their URLs in it.
"""

import itertools
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platform.config.checks import ConfigError
from platform.config.data import DataConfig, StorageConfig
from platform.data.index import has_index
from platform.data.index_file import INDEX_NAME, KIND
from platform.data.reader import SampleRule
from platform.data.storage import Storage
from platform.data.tar import LeftOut
from platform.data.urls import is_remote, join
from platform.packing import duplicates, recipe
from platform.packing.foreign_shard import read_shard
from platform.packing.items import Item
from platform.packing.lacking import Lacking, refuse_lacking
from platform.packing.parts import few, may_be_chance, refuse_untrained, sorted_by_class, without_image
from platform.packing.shard_labels import by_number, class_names, number, numbers_without_image
from platform.packing.shard_splits import BY_NAME, divide_by_name
from platform.packing.sources import source_name
from platform.packing.tarfiles import tar_files
from platform.packing.verify import each

NAME_THEM = (
    "name those for validation yourself, some of each class (folders train/ and val/, or these words in the names)"
)


@dataclass
class Adopted:
    """A summary of the index."""

    url: str  # of the index
    rule: str  # by which shards were divided into train, val and test
    samples: dict[str, int] = field(default_factory=Counter)  # by split
    shards: dict[str, int] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)  # a line for each kind of member that belongs to no sample
    warnings: list[str] = field(default_factory=list)  # about equal images, and parts without images of some classes


class _Found:
    """What all shards together hold, added up by the threads that read them."""

    def __init__(self) -> None:
        self.labels: dict[str, Counter[str]] = defaultdict(Counter)  # by part
        self.first: dict[str, int] = {}  # label -> position of the first shard that has it
        self.items: dict[str, list[Item]] = defaultdict(list)  # by part
        self.digests: dict[str, bytearray] = defaultdict(bytearray)  # of the items' images, one after the other
        self._lock = threading.Lock()

    def add(self, part: str, place: int, labels: Counter[str], items: list[Item], digests: bytes) -> None:
        with self._lock:
            self.labels[part] += labels
            self.first |= {label: min(place, self.first.get(label, place)) for label in labels}
            self.items[part] += items
            self.digests[part] += digests

    def equal_images(self) -> duplicates.Duplicates:
        return duplicates.find({part: (items, bytes(self.digests[part])) for part, items in self.items.items()})


def index_shards(
    data: DataConfig,
    storage: StorageConfig,
    label: str,
    progress: Callable[[int, int], object] | None = None,
    image: str = "",
) -> Adopted:
    """Write the index of the tar files in `data.source`, or in `data.shards` where there is no source.

    Args:
        data: where the shards are and their index goes, how many classes there are, and which share of the shards is
            held out if their names do not say.
        storage: how stores are reached; `threads` shards are read at a time.
        label: where the label of a sample is, as in `pack.label`.
        progress: is called with the shards done and all shards.
        image: extension of the image, as in `pack.image`; empty: any known one.

    Raises:
        ConfigError: there are no shards, samples lack an image or label, labels do not fit `data.classes`, or a part
            has classes without training images.
        StorageError: a store does not answer.
    """
    _refuse_repacking(data)
    store = Storage(storage)
    base = _base(data)
    if has_index(data.shards, storage):
        raise ConfigError(f"data.shards {data.shards} has an {INDEX_NAME} already; remove it to index the shards anew")
    left_out = LeftOut()
    files = tar_files(base, store, left_out)
    if not files:
        but = "".join(f" (only {line})" for line in left_out.lines())
        raise ConfigError(f"there are no .tar files in {base}{but}; check the address")
    splits, rule = divide_by_name([name for name, _ in files], data.val_fraction)
    sample, found = SampleRule.of(label, image=image), _Found()
    places = {name: place for place, (name, _) in enumerate(files)}
    shards = each(
        files,
        lambda file: read_shard(
            base, *file, store, sample, data.classes, lambda *seen: found.add(splits[file[0]], places[file[0]], *seen)
        ),
        store,
        base,
        progress,
    )
    lacking = Lacking()
    for shard in shards:
        left_out.add_all(shard.left_out, shard.name)
        lacking.add_all(shard.lacking)
    refuse_lacking(lacking, sum(shard.samples for shard in shards), sample, left_out.lines())
    shards = [shard for shard in shards if shard.samples]
    for part in sorted(set(splits.values()) - {splits[shard.name] for shard in shards}):
        named = few([name for name in splits if splits[name] == part])
        besides = "".join(f"; left out: {line}" for line in left_out.lines())
        raise ConfigError(
            f"no shard of the {part} part has a sample: {named}{besides}; take them away, or copy them again"
        )
    equal = found.equal_images()
    if equal.count and data.duplicates == "refuse":
        raise ConfigError(f"{equal.lines()[0]}; give data.duplicates=keep, or pack the images anew with drop")
    classes = class_names(set[str]().union(*found.labels.values()), data)
    _refuse_parts(found, len(files), by_name=rule.startswith(BY_NAME))
    address = join(base, "") if base != data.shards else ""
    entries = [
        {
            "url": address + shard.name,
            "nsamples": shard.samples,
            "filesize": shard.bytes,
            "md5sum": shard.md5,
            "split": splits[shard.name],
        }
        for shard in shards
    ]
    packing: dict[str, Any] = {"source": source_name(data.source), "label": label}
    packing |= {"image": image} if image else {}
    packing |= {recipe.EQUAL: equal.count} if equal.count else {}
    content = {
        "__kind__": KIND, "wids_version": 1, "name": data.name, "classes": classes, "packing": packing,
        "shardlist": entries,
    }  # fmt: skip
    store.write(join(data.shards, INDEX_NAME), f"{json.dumps(content, indent=1)}\n".encode())
    adopted = Adopted(join(data.shards, INDEX_NAME), rule, left_out=left_out.lines())
    adopted.warnings = equal.lines() + without_image(found.labels)
    if not classes:
        adopted.warnings += numbers_without_image(set().union(*found.labels.values()), data.classes)
    for shard in shards:
        adopted.samples[splits[shard.name]] += shard.samples
        adopted.shards[splits[shard.name]] += 1
    return adopted


def _refuse_repacking(data: DataConfig) -> None:
    """Refuse settings that would change images: shards that others made are used as they are.

    Raises:
        ConfigError: names the setting.
    """
    asked = {"duplicates": "drop"} if data.duplicates == "drop" else {}
    asked |= {"value_range": data.value_range} if data.value_range else {}
    asked |= {"restart_markers": True} if data.restart_markers else {}
    for name, value in asked.items():
        raise ConfigError(
            f"data.{name} is {value}, but indexing changes no shard; leave it out, or pack the images themselves anew"
        )


def _base(data: DataConfig) -> str:
    """The folder or URL of the tar files.

    Raises:
        ConfigError: an index in `data.shards` could not name them.
    """
    if data.source is None:
        return data.shards
    if is_remote(data.source):
        if is_remote(data.shards) and data.source.rstrip("/") != data.shards.rstrip("/"):
            raise ConfigError(
                f"data.source is {data.source} and data.shards is {data.shards}; an index lies beside its shards or on "
                "this machine: give a folder here as data.shards, or data.source=null"
            )
        return data.shards if is_remote(data.shards) else data.source
    if not Path(data.source).is_dir():
        raise ConfigError(
            f"data.source is {data.source}, no folder or URL of tar files; give one, or data.source=null to index "
            "those in data.shards"
        )
    if is_remote(data.shards) or Path(data.source).resolve() != Path(data.shards).resolve():
        raise ConfigError(
            f"data.source is the folder {data.source}, whose index belongs beside its shards; give data.source=null "
            f"data.shards={data.source}"
        )
    return data.shards


def _refuse_parts(found: _Found, shards: int, *, by_name: bool) -> None:
    """Refuse parts whose classes are not those that are trained.

    Raises:
        ConfigError: a class is held out completely, or the shards held out are not a random sample of all.
    """
    counts = {part: by_number(of_part) for part, of_part in found.labels.items()}
    if by_name:
        refuse_untrained(counts, "give those classes training images, or take them out of that part")
        return
    if may_be_chance(counts, "val"):
        refuse_untrained(counts, _held_out_less(found, counts["val"].keys() - counts["train"].keys(), shards))
    remedy = (
        f"the shards seem to be sorted by class: {NAME_THEM}, or unpack all into class folders and pack those with "
    )
    remedy += "the classes mixed: job=pack data.source=FOLDER"
    refuse_untrained(counts, remedy)
    if shown := sorted_by_class(counts, "val"):
        raise ConfigError(f"the last shards would be the val part, but {shown}; {remedy}")


def _held_out_less(found: _Found, classes: Set[str], shards: int) -> str:
    """The remedy for classes with so few images that all of them happen to be in the last shards."""
    first = max((place for label, place in found.first.items() if number(label) in classes), default=0)
    fewer = shards - first - 1
    if not fewer:
        return f"its few images are in the last shard: {NAME_THEM}"
    digits = next(digits for digits in itertools.count(1) if shards < 10**digits)
    fraction = fewer * 10**digits // shards / 10**digits  # rounded down: the share of a shard counts as one
    return f"give data.val_fraction={fraction:g}, which holds out the last {fewer} of {shards} shards, or {NAME_THEM}"
