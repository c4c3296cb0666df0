"""`data`, `loader` and `storage`: which images, in what order they are read, and how their shards get here."""

import math
import re
from dataclasses import dataclass, field, fields
from typing import Any, cast

from platform.config.checks import (
    require,
    require_at_least,
    require_choice,
    seal,
)
from platform.config.choices import DECODERS

AUTO = "auto"  # of loader.decoder
NOT_BALANCED, BALANCED, SQRT = BALANCES = ("none", "balanced", "sqrt")


def require_balance(balance: Any) -> None:
    """`balance` is one of BALANCES, or weights by class."""
    if isinstance(balance, dict):
        for name, weight in balance.items():
            known = isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight <= 1e6
            require(known, f"data.balance.{name} is {weight}; give a weight above 0, at most 1e6")
    choices = ", ".join(BALANCES)
    known = balance in BALANCES or (isinstance(balance, dict) and bool(balance))
    require(known, f"data.balance is {balance!r}; give one of {choices}, or {{CLASS: WEIGHT, ...}}")


SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # a key of overrides, and a name in MLflow
WEIGHT_DECIMALS = 4  # of a weight: counts are whole numbers of 1 / 10,000


@dataclass
class AlsoConfig:
    """Another data set that the training images come from as well."""

    shards: str  # folder or URL of its index.json and tar shards, which are packed already
    weight: float  # its share of the images of a training, in (0, 1), with at most four decimals

    def __post_init__(self) -> None:
        seal(self, "data.also.")


@dataclass
class DataConfig:
    """Which images, where their shards are, and what is particular to them."""

    name: str = "digits"  # what it is called, in names of experiments
    shards: str = "data/digits"  # folder or URL of index.json and the tar shards; packed from `source` where absent
    source: str | None = None  # folder, tar, .csv, .tsv or .parquet list, torchvision:NAME, sklearn:digits
    classes: int = 10  # as many as the shards have
    image_size: int = 32  # height and width in pixels the network sees
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])  # per channel, of values 0..1
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])  # per channel, too
    mirror: bool = True  # a mirror image is of the same class; false: none in training, and in testing views repeat
    min_crop_area: float = 0.08  # the smallest share of an image that still shows its class; maps 8% to this
    val_fraction: float = 0.2  # held out of each class when the source has no parts of its own
    samples_per_shard: int = 1000  # at most; all shards of a split are of the same size, give or take one
    shorter_side: int | None = None  # pixels; larger images are shrunk to it when packed. None: bytes as they are
    jpeg_quality: int = 95  # of images that are not JPEG yet or are shrunk
    # Have JPEGs that are packed rewritten without loss by `jpegtran`, with restart markers: training decodes only the
    # parts of a file that a crop needs. The pixels are the same; the files grow by about 1%
    restart_markers: bool = False
    # Of grey of more than 8 bits, the values packed as black and white, such as [0, 4095] of a camera's 12 bits in 16.
    # None: of 16 bits the smallest and largest there are; integers of 32 bits and floating-point numbers are refused
    value_range: list[float] | None = None
    duplicates: str = "keep"  # images of equal bytes, in packing, which reports them: keep, drop all but one, refuse
    # How often an epoch, which keeps its number of images, shows each class. none: as often as it has images; balanced:
    # all classes alike; sqrt: by the square root of their images; {CLASS: WEIGHT}: times so many, the others times 1
    balance: Any = "none"
    # Further sets whose training images are blended in, {NAME: {shards: PATH_OR_URL, weight: SHARE}}: each has its
    # share of the images trained on, and data.shards, which alone is validated on, what they leave
    also: dict[str, Any] = field(default_factory=dict)
    max_corrupt: int = 100  # unreadable images allowed, in a packing, and for each worker in an epoch of training

    def __post_init__(self) -> None:
        seal(self, "data.")
        plain = self.name.isprintable() and not set(self.name) & set("/\\") and not self.name.startswith(".")
        require(plain, f"data.name is {self.name!r}; give a word (it names a folder)")
        require_at_least("data.classes", self.classes, 2)
        require_at_least("data.image_size", self.image_size, 32)
        require(self.image_size <= 65535, f"data.image_size is {self.image_size}; give at most 65535, as JPEG has")
        require_at_least("data.samples_per_shard", self.samples_per_shard, 1)
        require_at_least("data.max_corrupt", self.max_corrupt, 0)
        require(
            self.shorter_side is None or self.shorter_side >= self.image_size,
            f"data.shorter_side is {self.shorter_side}, less than data.image_size ({self.image_size}); "
            "give at least that, or null to pack the images as they are",
        )
        require_balance(self.balance)
        if isinstance(self.balance, dict):
            self.balance = {str(name): weight for name, weight in self.balance.items()}
        self.also = {name: _also(name, self.also[name]) for name in sorted(self.also)}  # one order, however written
        self._require_weights()
        require_choice("data.duplicates", self.duplicates, ("keep", "drop", "refuse"))
        require(1 <= self.jpeg_quality <= 100, f"data.jpeg_quality is {self.jpeg_quality}; give 1 to 100")
        require(
            self.value_range is None
            or (len(self.value_range) == 2 and -math.inf < self.value_range[0] < self.value_range[1] < math.inf),
            f"data.value_range is {self.value_range}; give [BLACK,WHITE] with BLACK < WHITE, or null",
        )
        require(0 < self.val_fraction < 1, f"data.val_fraction is {self.val_fraction}; give a share between 0 and 1")
        require(0 < self.min_crop_area <= 1, f"data.min_crop_area is {self.min_crop_area}; give a share in (0, 1]")
        for key, values in (("mean", self.mean), ("std", self.std)):
            require(len(values) == 3, f"data.{key} has {len(values)} values; give one for each of R, G, B")
        require(min(self.std) > 0, f"data.std is {self.std}; every channel needs more than 0")

    @property
    def others(self) -> dict[str, AlsoConfig]:
        """The sets of `also`, in the order in which they are numbered."""
        return cast("dict[str, AlsoConfig]", self.also)

    @property
    def places(self) -> dict[str, str]:
        """Key -> folder or URL of the shards of every set that is read."""
        others = {f"data.also.{name}.shards": each.shards for name, each in self.others.items()}
        return {"data.shards": self.shards, **others}

    @property
    def weights(self) -> list[float]:
        """Of all sets, the first one's first."""
        others = [each.weight for each in self.others.values()]
        return [round(1 - sum(others), WEIGHT_DECIMALS), *others]

    def _require_weights(self) -> None:
        if not self.also:
            return
        require(
            self.name not in self.also,
            f"data.also.{self.name} is called as the first set is (data.name); name it otherwise",
        )
        total = sum(each.weight for each in self.others.values())
        require(
            self.weights[0] > 0,
            f"the weights of data.also are {total:g} together, and data.shards has what they leave; give less than 1",
        )
        require(
            self.balance == NOT_BALANCED,
            f"data.balance is {self.balance}, and data.also has its own weights: both cannot hold; leave one out",
        )


def _also(name: str, given: Any) -> AlsoConfig:
    """One entry of `data.also`, checked.

    Raises:
        ConfigError: it is no name, or not a place and a weight.
    """
    key, form = f"data.also.{name}", "give {shards: PATH_OR_URL, weight: SHARE}"
    require(bool(SET_NAME.fullmatch(str(name))), f"{key}: {name!r} is no name; use letters, digits, '-' and '_'")
    if isinstance(given, AlsoConfig):
        given = {each.name: getattr(given, each.name) for each in fields(given)}
    require(isinstance(given, dict), f"{key} is {given!r}; {form}")
    known = [each.name for each in fields(AlsoConfig)]
    for setting in given:
        require(setting in known, f"{key}.{setting} does not exist; {form}")
    for setting in known:
        require(given.get(setting) not in (None, ""), f"{key} has no {setting}; {form}")
    weight = given["weight"]
    require(isinstance(given["shards"], str), f"{key}.shards is {given['shards']!r}; give a folder or URL")
    is_share = isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight < 1
    require(is_share, f"{key}.weight is {weight!r}; give a share between 0 and 1")
    require(
        round(weight, WEIGHT_DECIMALS) == weight,
        f"{key}.weight is {weight}; give at most {WEIGHT_DECIMALS} decimals: counts are exact to these",
    )
    return AlsoConfig(given["shards"], float(weight))


@dataclass
class LoaderConfig:
    """How samples are ordered and read. `streams` and `block` define the order, the others only the speed."""

    streams: int = 8  # canonical streams; any number of workers up to it sees the same global batches
    block: int = 4096  # samples shuffled together within a stream
    threads: int = 0  # decoding threads per worker; 0: one per CPU of the worker
    prefetch_batches: int = 4  # ready ahead of the training
    # of DECODERS; gpu: crops are decoded by the workers' GPUs, and pixels differ by rounding; auto: by both, the GPU
    # what the CPU has no time for: found in the first steps, kept with the training; without a GPU the same as cpu
    decoder: str = "cpu"
    gpu_share: float | None = None  # decoder=auto: of the images, in [0, 1], that the GPU decodes; none: found
    log_samples: bool = False  # write the sample ids of every step beside the member's checkpoints

    def __post_init__(self) -> None:
        require_at_least("loader.streams", self.streams, 1)
        require_at_least("loader.block", self.block, 1)
        require_at_least("loader.threads", self.threads, 0)
        require_at_least("loader.prefetch_batches", self.prefetch_batches, 1)
        require_choice("loader.decoder", self.decoder, DECODERS)
        share = self.gpu_share
        require(share is None or 0 <= share <= 1, f"loader.gpu_share is {share}; give a share of the images in [0, 1]")
        require(
            share is None or self.decoder == AUTO,
            f"loader.gpu_share is {share}, without effect with loader.decoder={self.decoder}; give loader.decoder=auto",
        )

    def require_gpu(self, *, available: bool) -> None:
        """Refuse a decoder that needs a GPU where the workers have none."""
        require(
            available or self.decoder in ("cpu", AUTO),
            f"loader.decoder is {self.decoder}, but the workers have no GPU; give loader.decoder=cpu",
        )


MEMORY = "memory"


@dataclass
class StorageConfig:
    """How shards at a URL reach this machine. Credentials come from where each store's own tools look for them."""

    cache: str = "data/cache"  # folder on a disk of each node, shared by its processes; memory: no disk
    cache_gb: float = 50.0  # of 1e9 bytes; beyond it the least recently used shards are removed
    threads: int = 4  # shards fetched at a time by each worker
    attempts: int = 8  # at each piece of a shard (8 MiB), with exponential backoff, before the run stops
    timeout_s: float = 60.0  # for one piece, read or written; for a removal; for copies of checkpoints in folders, too

    def __post_init__(self) -> None:
        seal(self, "storage.")
        require(bool(self.cache), f"storage.cache is empty; give a folder, or {MEMORY}")
        require(self.cache_gb > 0, f"storage.cache_gb is {self.cache_gb}; give more than 0")
        require_at_least("storage.threads", self.threads, 1)
        require_at_least("storage.attempts", self.attempts, 1)
        require(self.timeout_s > 0, f"storage.timeout_s is {self.timeout_s}; give more than 0")
