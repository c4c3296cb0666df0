"""Indexes shards that others made, by stock webdataset or img2dataset. The shards stay as and where they are.

In: a folder or URL of tar files, each of which is read once. Out: `index.json` in `data.shards`, with counts, checksums
and the label rule: beside the shards, or on this machine with their URLs in it.
"""

import hashlib
import itertools
import json
import math
import re
import sys
import tarfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platform.config.checks import ConfigError
from platform.config.sections import DataConfig, StorageConfig
from platform.data.cache import Bytes
from platform.data.index import INDEX_NAME, KIND, has_index
from platform.data.order import steps_of
from platform.data.reader import SampleRule
from platform.data.storage import Storage, is_remote, join
from platform.data.tar import LeftOut, samples_of, what_is_wrong
from platform.packing import duplicates, recipe
from platform.packing.foldernames import shards_like_parts
from platform.packing.items import SPLIT_NAMES, TEST_AS_VAL, Item, natural
from platform.packing.lacking import Lacking, refuse_lacking
from platform.packing.parts import few, may_be_chance, refuse_untrained, sorted_by_class, without_image
from platform.packing.sources import source_name
from platform.packing.tarfiles import tar_files
from platform.packing.verify import each, whole

# As a word of its own: "imagenet-train-000001.tar", "val/0001.tar", "train0001.tar"; not "training" or "constrain".
SPLIT_WORD = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_NAMES)})(?![a-z])")
NAMED = 3  # classes
BY_NAME = "as the shards' names say"
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


@dataclass(frozen=True)
class _Shard:
    """A tar file that was read."""

    name: str  # below its folder
    bytes: int
    md5: str
    samples: int
    lacking: Lacking
    left_out: LeftOut


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
        lambda file: _read(
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
    classes = _classes(set[str]().union(*found.labels.values()), data)
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
        adopted.warnings += _numbers_without_image(set().union(*found.labels.values()), data.classes)
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


def divide_by_name(names: list[str], val_fraction: float) -> tuple[dict[str, str], str]:
    """(shard -> train, val or test; the rule in words): by a word in its path, else the last shards are val.

    Raises:
        ConfigError: only some names have such a word, or there is no shard to hold out.
    """
    said = {name: SPLIT_NAMES[words[-1]] if (words := SPLIT_WORD.findall(name.lower())) else None for name in names}
    rule = BY_NAME
    if "test" in said.values() and "val" not in said.values():
        said = {name: "val" if split == "test" else split for name, split in said.items()}
        rule += f"; {TEST_AS_VAL}"
    if None not in said.values() and {"train", "val"} <= set(said.values()):
        return {name: split or "train" for name, split in said.items()}, rule
    if None in said.values() and len(set(said.values())) > 1:
        silent = next(name for name, split in said.items() if split is None)
        raise ConfigError(
            f"some shards' names say train, val or test, that of {silent} does not; rename it or move it away"
        )
    if "train" not in said.values() and None not in said.values():
        raise ConfigError(
            f"all shards are {said[names[0]]} by their names, e.g. {names[0]}; put the train shards beside them"
        )
    _refuse_like_parts(names)
    if len(names) < 2:
        raise ConfigError(f"{names[0]} is the only shard, which leaves none to hold out as val; give at least two")
    held_out = min(math.ceil(steps_of(val_fraction, len(names))), len(names) - 1)
    val = set(names[-held_out:])
    rule = f"no name says val: the last {held_out} of {len(names)} shards are (data.val_fraction={val_fraction:g})"
    return {name: "val" if name in val else "train" for name in names}, rule


def _refuse_like_parts(names: list[str]) -> None:
    """Refuse shards in training/ and testing/: the last ones would be held out, and test images might be trained on."""
    if like := shards_like_parts(names):
        named = "; ".join(f"{few(of_part)} ({part})" for part, of_part in sorted(like.items()))
        raise ConfigError(
            f"the shards are called as if they were parts of the data: {named}; rename them, or their folders, so that "
            f"they say {' and '.join(sorted(like))}"
        )


def _read(
    base: str,
    name: str,
    size: int,
    store: Storage,
    rule: SampleRule,
    classes: int,
    tell: Callable[[Counter[str], list[Item], bytes], None],
) -> _Shard:
    left_out, labels, lacking = LeftOut(), Counter[str](), Lacking()
    items, digests = list[Item](), list[bytes]()
    with whole(join(base, name), size, store) as content:
        try:
            samples = samples_of(content, left_out)
        except (ValueError, tarfile.TarError) as error:
            raise ConfigError(f"shard {join(base, name)} {what_is_wrong(error, 'copy it again')}") from error
        for key, parts in samples.items():
            value, image = _label(content, parts, rule), rule.image(parts)
            if value is None or image is None:
                lacking.add(f"{key} of {name}", content, parts, image=image is not None, label=value is not None)
                continue
            _refuse_two_images(key, name, parts, rule)
            labels[value] += 1
            offset, length = image
            items.append(Item(f"{name}/{key}", sys.intern(value)))
            digests.append(duplicates.digest_of(content[offset : offset + length]))
        if len(labels) > classes:  # captions, perhaps, of which there is no end
            raise ConfigError(
                f"shard {name} alone has {len(labels)} different labels in {rule.spec}, e.g. {min(labels)[:40]!r}; "
                f"data.classes is {classes}: set it to their number, or pack.label to where the class is"
            )
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    tell(labels, items, b"".join(digests))
    return _Shard(name, size, digest, len(samples), lacking, left_out)


def _refuse_two_images(key: str, shard: str, parts: dict[str, tuple[int, int]], rule: SampleRule) -> None:
    """Refuse samples with two images, such as a photograph and its mask: which one is meant cannot be told."""
    there = [extension for extension in rule.images if extension in parts]
    if len(there) > 1:
        raise ConfigError(
            f"sample {key} of {shard} has the images {' and '.join(there)}; say which one with pack.image={there[0]}"
        )


def _label(content: Bytes, parts: dict[str, tuple[int, int]], rule: SampleRule) -> str | None:
    if rule.extension not in parts:
        return None
    offset, size = parts[rule.extension]
    try:
        return rule.value(content[offset : offset + size]) or None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None


def _refuse_parts(found: _Found, shards: int, *, by_name: bool) -> None:
    """Refuse parts whose classes are not those that are trained.

    Raises:
        ConfigError: a class is held out completely, or the shards held out are not a random sample of all.
    """
    counts = {part: _by_number(of_part) for part, of_part in found.labels.items()}
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
    first = max((place for label, place in found.first.items() if _number(label) in classes), default=0)
    fewer = shards - first - 1
    if not fewer:
        return f"its few images are in the last shard: {NAME_THEM}"
    digits = next(digits for digits in itertools.count(1) if shards < 10**digits)
    fraction = fewer * 10**digits // shards / 10**digits  # rounded down: the share of a shard counts as one
    return f"give data.val_fraction={fraction:g}, which holds out the last {fewer} of {shards} shards, or {NAME_THEM}"


def _by_number(labels: Counter[str]) -> Counter[str]:
    """Images by class, with `01` and `1` as one class."""
    counts: Counter[str] = Counter()
    for label, count in labels.items():
        counts[_number(label)] += count
    return counts


def _number(label: str) -> str:
    return str(int(label)) if label.isdecimal() else label


def _classes(labels: set[str], data: DataConfig) -> list[str]:
    """The names of the classes; empty if the labels are numbers.

    Raises:
        ConfigError: the labels do not fit `data.classes`.
    """
    numbers = {label for label in labels if label.removeprefix("-").isdecimal()}
    if numbers and numbers != labels:
        raise ConfigError(
            f"some labels are numbers ({min(numbers)!r}) and others names ({min(labels - numbers)!r}); use one kind"
        )
    if not numbers:
        if len(labels) != data.classes:
            raise ConfigError(
                f"the shards have {len(labels)} classes, e.g. {', '.join(sorted(labels)[:NAMED])}; data.classes is "
                f"{data.classes}: set it to that, or pack.label to where the class is"
            )
        return sorted(labels, key=natural)
    longest = max(numbers, key=len)
    if len(longest) > 10:
        raise ConfigError(f"a label is {longest[:20]}..., beyond any number of classes; check pack.label")
    low, high = min(map(int, numbers)), max(map(int, numbers))
    if low < 0 or high >= data.classes:
        remedy = f"set it to {high + 1}" if low >= 0 else "write labels from 0 on"
        if low == 1:
            remedy += " (class 0 then has no image: these begin at 1)"
        raise ConfigError(
            f"the labels are {low} to {high}, data.classes is {data.classes}; labels are 0 to data.classes - 1: "
            f"{remedy}, or pack.label to where the class is"
        )
    return []


def _numbers_without_image(labels: set[str], classes: int) -> list[str]:
    """A line if some classes have no image: there are fewer classes, or they are counted from 1."""
    absent = set(range(classes)) - set(map(int, labels))
    if not absent:
        return []
    begin = "; the labels begin at 1, those of data.classes classes at 0" if absent & {0, 1} == {0} else ""
    return [f"{len(absent)} of {classes} classes have no image in any part: {few(map(str, absent))}{begin}"]
