"""`index.json`, the file: its form, its entries as tables, and whether it is still the one that was read.

In: a folder or URL. Out: the shards of each part of the data set, none of which is looked at.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from platform.data.cache import ShardError, ShardFile
from platform.data.reader import SampleRule
from platform.data.shard_table import ShardTable
from platform.data.storage import Storage
from platform.data.store_errors import NoSuchFile, StorageError
from platform.data.urls import is_remote, join
from platform.redaction import sealed

INDEX_NAME = "index.json"
KIND = "wids-shard-index-v1"
LARGEST = 2**50  # bytes or samples of a shard; beyond it somebody means harm


@dataclass(frozen=True)
class Entries:
    """The content of an index file; the shards themselves are not looked at. Small: about 90 bytes a shard."""

    url: str  # of its folder
    splits: dict[str, ShardTable]
    classes: list[str]
    packing: dict[str, Any]
    label: SampleRule
    checksum: str  # of the file, SHA-256
    has_secrets: bool  # in the addresses of its shards: whoever opens those must have read the file

    @property
    def shards(self) -> list[ShardFile]:
        """Those of all parts."""
        return [shard for table in self.splits.values() for shard in table]

    @property
    def digests(self) -> dict[str, str]:
        """Of each part, that of its shards' names, checksums and numbers of samples."""
        return {name: table.digest for name, table in self.splits.items()}


def read_entries(url: str, source: Storage) -> Entries:
    """Read `index.json` at `url` without looking at the shards.

    Raises:
        ShardError: no index, or one of another kind.
    """
    path = join(url, INDEX_NAME)
    try:
        text = source.read(path)
        content = json.loads(text)
        _check_form(content)
        addresses = [_address(url, entry["url"]) for entry in content["shardlist"]]
        shards = [_shard(address, entry) for address, entry in zip(addresses, content["shardlist"], strict=True)]
        of_split: dict[str, list[ShardFile]] = {}
        for entry, shard in zip(content["shardlist"], shards, strict=True):
            of_split.setdefault(str(entry.get("split", "train")), []).append(shard)
        classes = [str(name) for name in content.get("classes", [])]
        packing = dict(content.get("packing") or {})
        if len({shard.url for shard in shards}) < len(shards):
            raise ValueError("it names a shard twice")
        tables = {name: ShardTable(some) for name, some in of_split.items()}
    except NoSuchFile as error:
        raise ShardError(
            f"no {INDEX_NAME} in {url}; pack the data there with job=pack data.source=PATH, "
            "or index shards that are there already with job=pack pack.action=index"
        ) from error
    except StorageError as error:
        raise ShardError(str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ShardError(
            f"{path} is not a shard index ({_what(error)}); pack the data again, or, of shards that others made, move "
            f"it away and have one made: job=pack pack.action=index data.source=null data.shards={url}"
        ) from error
    rule = SampleRule.of(str(packing.get("label", "cls")), tuple(classes), str(packing.get("image", "")))
    secrets = any(shard.url != address for shard, address in zip(shards, addresses, strict=True))
    return Entries(url, tables, classes, packing, rule, hashlib.sha256(text).hexdigest(), secrets)


def what_has_changed(entries: Entries, source: Storage) -> str:
    """What is another at the place of an index that was read before, in words; "": nothing.

    The file is read once more, and taken apart only where it has other bytes.

    Args:
        entries: as it was read.
        source: reads it.

    Raises:
        StorageError: the store does not answer.
        ShardError: what is there now is no index.
    """
    path = join(entries.url, INDEX_NAME)
    try:
        if hashlib.sha256(source.read(path)).hexdigest() == entries.checksum:
            return ""
    except NoSuchFile:
        return f"{path} is gone"
    now = read_entries(entries.url, source)
    if (now.classes, now.label) != (entries.classes, entries.label):
        return f"{path} has other classes"
    before = entries.digests
    return "".join(
        f"the {name} shards in {entries.url} are others" for name in before if now.digests.get(name) != before[name]
    )


def _check_form(content: Any) -> None:
    """Check the JSON's types and keys.

    Raises:
        ValueError: it is not an index.
    """
    if not isinstance(content, dict):
        raise ValueError(f"it is a JSON {type(content).__name__}, not an object")
    _require_keys("it", content, ("__kind__",))
    if content["__kind__"] != KIND:
        raise ValueError(f"its __kind__ is {str(content['__kind__'])[:40]!r}; only {KIND} is read")
    _require_keys("it", content, ("shardlist",))
    for key, kind in (("shardlist", list), ("classes", list), ("packing", dict)):
        if not isinstance(content.get(key) or kind(), kind):
            raise ValueError(f"its {key} is {str(content[key])[:40]!r}, not a {kind.__name__}")
    for number, entry in enumerate(content["shardlist"]):
        if not isinstance(entry, dict):
            raise ValueError(f"its shardlist has {str(entry)[:40]!r}, which is not an object")
        _require_keys(f"entry {number} of its shardlist", entry, ("url", "nsamples", "filesize"))


def _require_keys(what: str, content: dict[str, Any], keys: tuple[str, ...]) -> None:
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"{what} has no {', '.join(missing)}")


def _what(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return f"not JSON, or cut short: {error}"
    if isinstance(error, RecursionError):
        return "its JSON is nested too deeply"
    return str(error) or type(error).__name__


def _shard(address: str, entry: dict[str, Any]) -> ShardFile:
    samples, size = entry["nsamples"], entry["filesize"]
    if not all(type(number) is int and 0 <= number < LARGEST for number in (samples, size)):
        raise ValueError(f"{entry['url']} has {samples} samples and {size} bytes")
    return ShardFile(sealed(address, share=False), samples, size, str(entry.get("md5sum", "")))


def _address(base: str, name: Any) -> str:
    """Where a shard lies. Below its index; an index of this machine, which somebody here wrote, may name URLs too.

    Raises:
        ShardError: an index names something else, e.g. a file of this machine outside its folder.
        ValueError: it is no name.
    """
    if not isinstance(name, str):
        raise ValueError(f"it has a shard {str(name)[:40]!r}, which is no name")
    if is_remote(name) and not is_remote(base) and not name.startswith(("file:", "local:")):
        return name
    if is_remote(name) or name.startswith("/") or ".." in name.split("/") or "\\" in name:
        raise ShardError(f"the index in {base} names {name!r}, outside its folder; shards must lie beside their index")
    return join(base, name)
