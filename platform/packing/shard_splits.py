"""Which shards of others are for training, validation and test: as their names say, else the last ones are held out.

In: paths of shards. Out: the split of each, and the rule by which they were divided.
"""

import math
import re

from platform.config.checks import ConfigError
from platform.data.order import steps_of
from platform.packing.foldernames import shards_like_parts
from platform.packing.items import SPLIT_NAMES, TEST_AS_VAL
from platform.packing.parts import few

# As a word of its own: "imagenet-train-000001.tar", "val/0001.tar", "train0001.tar"; not "training" or "constrain".
SPLIT_WORD = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_NAMES)})(?![a-z])")
BY_NAME = "as the shards' names say"


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
