"""The data sets that a training reads: the first one and those of `data.also`, blended by their weights.

In: `data`. Out: the first set's index with the others beside it, and one split of all their training images, whose
samples are numbered through: the first set's, then those of the others by name.
"""

from bisect import bisect_right
from itertools import accumulate

from platform.config.checks import ConfigError
from platform.config.data import DataConfig, StorageConfig
from platform.data.blend import weights
from platform.data.cache import ShardError
from platform.data.index import Index, Split, index_of, read_index
from platform.data.index_file import Entries
from platform.data.reader import Sample
from platform.data.shard_table import JoinedShards
from platform.data.storage import Storage
from platform.text import some

TRAIN = "train"
FEW = 5  # classes in a message


class Blend(Split):
    """The training images of several sets as one split. Its order is a `BlendedOrder`.

    Args:
        sets: key of the setting that names it -> its training images; the first set first.
        parts: the weight of each, in 10,000ths.
    """

    def __init__(self, sets: dict[str, Split], parts: list[int]) -> None:
        self.names, self._sets, self.parts = list(sets), list(sets.values()), parts
        super().__init__(TRAIN, JoinedShards([split.shards for split in self._sets]), self._sets[0].opened)
        self.first_ids = [0, *accumulate(split.samples for split in self._sets)]
        self._first_shards = [0, *accumulate(len(split.shards) for split in self._sets)]

    @property
    def of_sets(self) -> list[Split]:
        """The training images of each set, in the order of `names`, the keys of the settings that name them."""
        return self._sets

    def read(self, sample_id: int) -> Sample:
        """Read one sample of its set, still encoded; raises what `Split.read` does."""
        number = self.set_of(sample_id)
        return self._sets[number].read(sample_id - self.first_ids[number])

    def prepare(self, shard: int) -> None:
        """Fetch and open a shard that will be read soon; raises what `read` does."""
        number = bisect_right(self._first_shards, shard) - 1
        self._sets[number].prepare(shard - self._first_shards[number])

    def others(self, sample_id: int) -> int:
        """How many samples of its set there are besides one."""
        return self._sets[self.set_of(sample_id)].samples - 1

    def after(self, sample_id: int, distance: int) -> int:
        """The sample of the same set so many places after another; behind the last of its set comes the first."""
        number = self.set_of(sample_id)
        first = self.first_ids[number]
        return first + self._sets[number].after(sample_id - first, distance)

    def set_of(self, sample_id: int) -> int:
        """The number of the set that a sample is of; the first set's is 0."""
        return bisect_right(self.first_ids, sample_id) - 1


def read_sets(data: DataConfig, storage: StorageConfig | None = None, *, ask_all: bool = True) -> Index:
    """Read the index of the first set, and beside it those of `data.also`.

    Args:
        data: where they are.
        storage: how remote shards are fetched and cached; all sets share the cache and its limits.
        ask_all: see `read_index`.

    Raises:
        ShardError: of a set, what `read_index` raises, or it has no training images; it names the setting.
    """
    first = read_index(data.shards, storage, ask_all=ask_all)
    for name, place in data.others.items():
        try:
            first.also[name] = read_index(place.shards, storage, ask_all=ask_all, beside=first)
            first.also[name].split(TRAIN)
        except ShardError as error:
            raise ShardError(f"data.also.{name}: {error}") from error
    return first


def entries_of(index: Index) -> dict[str, Entries]:
    """What the index of the first set ("") and those beside it were made from, by the names in `data.also`."""
    return {"": index.entries} | {name: other.entries for name, other in index.also.items()}


def sets_of(entries: dict[str, Entries], storage: StorageConfig) -> Index:
    """The index that `read_sets` would make, without a request.

    Args:
        entries: from `entries_of`.
        storage: how remote shards are fetched and cached.
    """
    first = index_of(entries[""], Storage(storage))
    for name in [name for name in entries if name]:
        first.also[name] = index_of(entries[name], first.storage, first)
    return first


def training_split(index: Index, data: DataConfig) -> Split:
    """The images to train on: the first set's, or of a blend those of all sets.

    Args:
        index: as `read_sets` made it of the same sets.
        data: their weights.
    """
    first = index.split(TRAIN)
    if not data.also:
        return first
    others = {f"data.also.{name}": index.also[name].split(TRAIN) for name in data.others}
    return Blend({"data.shards": first, **others}, weights([each.weight for each in data.others.values()]))


def require_same_classes(index: Index) -> list[str]:
    """Refuse sets whose labels mean other classes than the first one's.

    Returns:
        lines about sets of which that cannot be told.

    Raises:
        ConfigError: says which differ.
    """
    unnamed = []
    for name, other in index.also.items():
        if not (index.classes and other.classes):
            which = "data.shards" if not index.classes else f"data.also.{name}"
            unnamed.append(
                f"{which} has no names of classes: the labels of data.also.{name} are taken for the same numbers of "
                "classes as those of data.shards"
            )
            continue
        if other.classes != index.classes:
            raise ConfigError(_difference(name, index.classes, other.classes))
    return unnamed


def _difference(name: str, first: list[str], other: list[str]) -> str:
    here, remedy = f"data.also.{name}", "pack it again with the classes of the first"
    alone, missing = [each for each in other if each not in first], [each for each in first if each not in other]
    if alone or missing:
        said = " and ".join(
            f"{what} {some(classes, FEW)}" for what, classes in (("has also", alone), ("lacks", missing)) if classes
        )
        return f"{here} has {len(other)} classes and data.shards {len(first)}: it {said}; {remedy}"
    moved = next(each for each in first if other.index(each) != first.index(each))
    return (
        f"{here} has the classes of data.shards in another order: {moved} is {other.index(moved)} there and "
        f"{first.index(moved)} here; {remedy}"
    )
