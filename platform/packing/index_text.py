"""The index of packed shards as text: how they were made, and which shards there are.

In: a packing and the entries of its shards. Out: JSON.
"""

import json
from typing import Any

from platform.data.index_file import KIND
from platform.packing import recipe
from platform.packing.encode import by_range
from platform.packing.preparation import Packing
from platform.packing.results import converted_in, unreadable_in
from platform.packing.shard import ShardResult
from platform.packing.sources import DIGITS, DIGITS_SCALE, source_name


def unused_in(packing: Packing, results: list[ShardResult]) -> list[str]:
    """The settings of which no value would have made a difference to these shards."""
    used = {
        "jpeg_quality": any(result.encoded is None or result.encoded for result in results),
        "restart_markers": any(result.jpegs is None or result.jpegs for result in results),
        "value_range": any(map(by_range, converted_in(results))) or unreadable_in(results),  # perhaps for want of it
    }
    return [*packing.unused, *(name for name, matters in used.items() if not matters)]


def index_text(
    packing: Packing, entries: list[dict[str, Any]], unused: list[str], corrupt: int, found: dict[str, Any]
) -> str:
    """The index of all shards, as JSON.

    Args:
        packing: what was packed.
        entries: of the shards.
        unused: settings that made no difference.
        corrupt: images that could not be read.
        found: what else the packing has found, for its record.
    """
    data = packing.data
    record = {
        "source": source_name(data.source),
        "seed": packing.seed,
        **recipe.settings(data),
        **({"shrunk_chroma": "4:2:0"} if data.shorter_side else {}),
        **({"unreadable": corrupt} if corrupt else {}),
        **found,
        **({recipe.UNUSED: unused} if unused else {}),
        **({"enlarged": DIGITS_SCALE} if data.source == DIGITS else {}),
    }
    content = {
        "__kind__": KIND,
        "wids_version": 1,
        "name": data.name,
        "classes": packing.classes,
        "packing": recipe.sealed(record, data.source),
        "shardlist": entries,
    }
    return json.dumps(content, indent=1) + "\n"
