"""The settings of a run: one dataclass a stage, in the order data moves, and `Config`, which holds them all.

In: nothing. Out: the tree that Hydra fills from `conf/` and the command line. The YAML only chooses. A check raises
`ConfigError` with the value, the limit and the remedy.
"""

import importlib.metadata
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from platform.config.checks import (
    EVALUATED_SPLITS,
    VIEW_COUNTS,
    require,
    require_address,
    require_at_least,
    require_choice,
    require_name,
    require_numbers,
    require_range,
    require_seed,
    seal,
)
from platform.config.choices import AVERAGINGS, DECODERS, OPTIMISERS, SAMPLING_METHODS, SCHEDULES
from platform.config.cluster import ClusterConfig
from platform.config.export import ExportConfig
from platform.config.jobs import (
    BenchConfig,
    ChaosConfig,
    CompareConfig,
    PackConfig,
    PredictionConfig,
    PromoteConfig,
    RegisterConfig,
    ReproduceConfig,
    ServeConfig,
    SweepConfig,
)
from platform.config.models import GoogLeNetConfig, ModelConfig
from platform.config.registry import RegistryConfig
from platform.overrides import join


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
    # Of grey of more than 8 bits, the values packed as black and white, such as [0, 4095] of a camera's 12 bits in 16.
    # None: of 16 bits the smallest and largest there are; integers of 32 bits and floating-point numbers are refused
    value_range: list[float] | None = None
    duplicates: str = "keep"  # images of equal bytes, in packing, which reports them: keep, drop all but one, refuse
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


@dataclass
class LoaderConfig:
    """How samples are ordered and read. `streams` and `block` define the order, the others only the speed."""

    streams: int = 8  # canonical streams; any number of workers up to it sees the same global batches
    block: int = 4096  # samples shuffled together within a stream
    threads: int = 0  # decoding threads per worker; 0: one per CPU of the worker
    prefetch_batches: int = 4  # ready ahead of the training
    decoder: str = "cpu"  # of DECODERS; gpu: crops are decoded by the workers' GPUs, and pixels differ by rounding
    log_samples: bool = False  # write the sample ids of every step beside the member's checkpoints

    def __post_init__(self) -> None:
        require_at_least("loader.streams", self.streams, 1)
        require_at_least("loader.block", self.block, 1)
        require_at_least("loader.threads", self.threads, 0)
        require_at_least("loader.prefetch_batches", self.prefetch_batches, 1)
        require_choice("loader.decoder", self.decoder, DECODERS)

    def require_gpu(self, *, available: bool) -> None:
        """Refuse a decoder that needs a GPU where the workers have none."""
        require(
            available or self.decoder == "cpu",
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
    timeout_s: float = 60.0  # for one piece, read or written; for a removal

    def __post_init__(self) -> None:
        seal(self, "storage.")
        require(bool(self.cache), f"storage.cache is empty; give a folder, or {MEMORY}")
        require(self.cache_gb > 0, f"storage.cache_gb is {self.cache_gb}; give more than 0")
        require_at_least("storage.threads", self.threads, 1)
        require_at_least("storage.attempts", self.attempts, 1)
        require(self.timeout_s > 0, f"storage.timeout_s is {self.timeout_s}; give more than 0")


INTERPOLATIONS = ("bilinear", "bicubic", "area", "nearest", "random")


@dataclass
class SamplingConfig:
    """Which part of an image a training sample shows, and how its colours are changed."""

    name: str = "multi_scale"  # for tables
    method: str = "area_aspect"  # of SAMPLING_METHODS
    area: list[float] = field(default_factory=lambda: [0.08, 1.0])  # share of the image, uniform
    aspect: list[float] = field(default_factory=lambda: [3 / 4, 4 / 3])  # width / height, log-uniform
    interpolation: str = "bilinear"  # "random": one of the four for each sample
    mirror: bool = True  # half of the samples, where data.mirror allows it
    photometric: bool = False  # Howard's contrast, brightness, colour and lighting noise
    photometric_range: list[float] = field(default_factory=lambda: [0.5, 1.5])  # of its factors; 1: unchanged
    lighting_std: float = 0.1  # of its lighting noise, along the principal components of colour

    def __post_init__(self) -> None:
        require_choice("sampling.method", self.method, SAMPLING_METHODS)
        require_choice("sampling.interpolation", self.interpolation, INTERPOLATIONS)
        require_range("sampling.area", self.area, 0.001, 1.0)
        require_range("sampling.aspect", self.aspect, 0.1, 10.0)
        require_range("sampling.photometric_range", self.photometric_range, 0.0, 10.0)
        require_at_least("sampling.lighting_std", self.lighting_std, 0)


@dataclass
class OptimConfig:
    """The optimiser."""

    name: str = "sgd"  # of OPTIMISERS
    lr: float = 0.01  # learning rate, which `schedule` multiplies
    momentum: float = 0.9  # 0: plain gradient descent
    nesterov: bool = False  # Nesterov's momentum
    weight_decay: float = 2e-4  # of weights; biases and normalisation have none
    clip_norm: float = 0.0  # largest norm of the whole gradient; 0: not clipped

    def __post_init__(self) -> None:
        require_choice("optim.name", self.name, OPTIMISERS)
        require(self.lr > 0, f"optim.lr is {self.lr}; give more than 0")
        require(0 <= self.momentum < 1, f"optim.momentum is {self.momentum}; give a share in [0, 1)")
        require(not self.nesterov or self.momentum > 0, "optim.nesterov needs optim.momentum above 0; it is 0")
        require_at_least("optim.weight_decay", self.weight_decay, 0)
        require_at_least("optim.clip_norm", self.clip_norm, 0)


@dataclass
class ScheduleConfig:
    """The learning rate as a multiple of `optim.lr` over the run."""

    name: str = "step_decay"  # of SCHEDULES
    factor: float = 0.96  # step_decay: the learning rate is multiplied by this ...
    every_epochs: float = 8.0  # ... every 8 epochs (GoogLeNet)
    final: float = 0.0  # linear, cosine, polynomial, one_cycle: multiple of optim.lr at the end
    power: float = 2.0  # polynomial: exponent of the share of the run that is left; 1: linear
    initial: float = 0.04  # one_cycle: multiple of optim.lr at the start
    rise: float = 0.3  # one_cycle: share of the run, after the warm-up, until optim.lr is reached
    warmup_epochs: float = 0.0  # linear from 0 to where the schedule starts, before any schedule

    def __post_init__(self) -> None:
        require_choice("schedule.name", self.name, SCHEDULES)
        require(0 < self.factor <= 1, f"schedule.factor is {self.factor}; give a share in (0, 1]")
        every, warmup = self.every_epochs, self.warmup_epochs
        require(
            0 < every < math.inf, f"schedule.every_epochs is {every}; give more than 0, and less than infinitely many"
        )
        require(0 <= self.final <= 1, f"schedule.final is {self.final}; give a share in [0, 1]")
        require(0 < self.power < math.inf, f"schedule.power is {self.power}; give more than 0, such as 0.5, 1 or 2")
        require(0 <= self.initial <= 1, f"schedule.initial is {self.initial}; give a share in [0, 1]")
        require(0 < self.rise < 1, f"schedule.rise is {self.rise}; give a share between 0 and 1")
        require(0 <= warmup < math.inf, f"schedule.warmup_epochs is {warmup}; give at least 0, and not infinitely many")


PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass
class TrainingConfig:
    """How long, in what batches, in what precision; which average of the weights is evaluated."""

    epochs: float = 12.0  # may be a fraction
    batch_size: int = 32  # global, over all workers and accumulated micro-batches; a multiple of loader.streams
    max_batch_per_worker: int = 256  # images in one forward pass; more than this is accumulated
    precision: str = "auto"  # auto: bfloat16 where the CPU or GPU has it in hardware
    channels_last: bool = True  # memory format of images and weights: faster convolutions
    averaging: str = "polyak"  # of AVERAGINGS
    averaging_start: float = 0.5  # polyak: share of the run after which the uniform average begins
    averaging_epochs: float = 1.0  # ema: horizon, epochs after which a step has faded to 1/e
    log_every_steps: int = 10  # metrics are read and logged, which waits for the device
    max_attempts: int = 3  # starts in a row without progress, before a member is given up
    bad_steps: str = "stop"  # at a loss or gradient that is not finite, or above the limit; skip: without the update
    max_bad_steps: int = 10  # skip: so many in a row stop the member after all
    max_gradient_norm: float = 0.0  # a gradient of a larger L2 norm is a bad step, too; 0: no limit

    def __post_init__(self) -> None:
        require(0 < self.epochs < 1e6, f"training.epochs is {self.epochs}; give more than 0, less than a million")
        require_at_least("training.batch_size", self.batch_size, 1)
        require_at_least("training.max_batch_per_worker", self.max_batch_per_worker, 1)
        require_choice("training.precision", self.precision, PRECISIONS)
        require_choice("training.averaging", self.averaging, AVERAGINGS)
        require(0 <= self.averaging_start < 1, f"training.averaging_start is {self.averaging_start}; give [0, 1)")
        require(self.averaging_epochs > 0, f"training.averaging_epochs is {self.averaging_epochs}; give more than 0")
        require_at_least("training.log_every_steps", self.log_every_steps, 1)
        require_at_least("training.max_attempts", self.max_attempts, 1)
        require_choice("training.bad_steps", self.bad_steps, ("stop", "skip"))
        require_at_least("training.max_bad_steps", self.max_bad_steps, 1)
        require_at_least("training.max_gradient_norm", self.max_gradient_norm, 0)


@dataclass
class CheckpointConfig:
    """When the training state is saved, where to, and how many are kept. A killed run resumes from the newest."""

    every_s: float = 300.0  # between checkpoints
    every_steps: int = 0  # as well; 0: by time alone
    with_evaluations: bool = False  # as well, with every single-view evaluation, and on disk before training goes on
    keep: int = 2  # newest ones
    keep_best: bool = True  # and the one of the best single-view score so far (evaluation.every_epochs)
    keep_finished: bool = True  # false: those of a finished member are removed, most of what a run takes on disk
    copy_to: str | None = None  # folder or URL for a copy of each; a run whose machine is lost resumes from there
    max_failures: int = 3  # in a row that could not be written, before the member stops
    grace_s: float = 20.0  # after Ctrl-C, SIGTERM or before a resize, for a last one

    def __post_init__(self) -> None:
        seal(self, "checkpoint.")
        require(self.every_s > 0, f"checkpoint.every_s is {self.every_s}; give more than 0")
        require_at_least("checkpoint.every_steps", self.every_steps, 0)
        require_at_least("checkpoint.keep", self.keep, 1)
        require(self.copy_to != "", "checkpoint.copy_to is empty; give a folder or URL, or null for no copies")
        require(
            not (self.copy_to or "").startswith(("http://", "https://")),
            f"checkpoint.copy_to is {self.copy_to}, which cannot be written to; give a folder, or s3://, gs:// ...",
        )
        require_at_least("checkpoint.max_failures", self.max_failures, 1)
        require_at_least("checkpoint.grace_s", self.grace_s, 0)


@dataclass
class EvaluationConfig:
    """Which images are evaluated, in how many views, and what is kept of them."""

    split: str = "val"  # job=evaluate: which part is evaluated; test: images that nothing was chosen by
    views: list[int] = field(default_factory=lambda: [1, 10, 144])  # crops of an image, out of these
    every_epochs: int = 1  # single-view evaluation while training; 0: only at the end
    batch_size: int = 512  # views in one forward pass
    stored_dtype: str = (
        "float32"  # of the probabilities kept on disk: samples x views x classes; float16: of their logs
    )

    def __post_init__(self) -> None:
        require_choice("evaluation.split", self.split, EVALUATED_SPLITS)
        known = bool(self.views) and self.views == sorted(set(self.views) & set(VIEW_COUNTS))
        require(known, f"evaluation.views is {self.views}; give rising numbers out of {list(VIEW_COUNTS)}")
        require_at_least("evaluation.every_epochs", self.every_epochs, 0)
        require_at_least("evaluation.batch_size", self.batch_size, 1)
        require_choice("evaluation.stored_dtype", self.stored_dtype, ("float32", "float16"))


@dataclass
class EnsembleConfig:
    """The members: name -> what differs from the experiment, written as on the command line."""

    members: dict[str, list[str]] = field(default_factory=dict)  # name -> overrides

    def __post_init__(self) -> None:
        seal(self, "ensemble.")
        for name in self.members:
            require_name("ensemble.members has a name that", str(name))


MLFLOW_SCHEMES = (
    "http",
    "https",
    "sqlite",
    "postgresql",
    "mysql",
    "mssql",
    "file",
    "databricks",
    "databricks-uc",
    "uc",
)


def _mlflow_plugins() -> list[str]:
    return [each.name for each in importlib.metadata.entry_points(group="mlflow.tracking_store")]


@dataclass
class TrackingConfig:
    """The MLflow server or database."""

    uri: str = "sqlite:///mlflow.db"  # sqlite:///FILE, http://HOST:PORT, or any that MLflow takes
    experiment: str = "platform"  # MLflow's: the runs of all our experiments are in it
    system_metrics_every_s: float = 10.0  # CPU, memory, disk, network and GPU of every worker and its node
    required: bool = False  # where MLflow does not answer, true: stop before training; false: queue metrics in a file

    def __post_init__(self) -> None:
        seal(self, "tracking.")
        require(bool(self.uri), "tracking.uri is empty; give sqlite:///FILE or http://HOST:PORT")
        scheme, found, _ = self.uri.partition("://")
        known = scheme.partition("+")[0] in MLFLOW_SCHEMES  # postgresql+psycopg2
        require(
            not found or known or scheme in _mlflow_plugins(),
            f"tracking.uri is {self.uri!r}; give sqlite:///FILE or http://HOST:PORT",
        )
        require_address("tracking.uri", self.uri)
        every = self.system_metrics_every_s
        require(every > 0, f"tracking.system_metrics_every_s is {every}; give more than 0")


JOBS = (
    "train",
    "ensemble",
    "sweep",
    "promote",
    "evaluate",
    "predict",
    "serve",
    "pack",
    "bench",
    "chaos",
    "report",
    "check",
    "reproduce",
    "compare",
    "register",
)


@dataclass
class Config:
    """One experiment, or one member of an ensemble."""

    name: str | None = None  # what the experiment is called: its folder, its MLflow run
    job: str = "train"
    seed: int = 0  # initial weights and, with `order_seed`, everything random
    order_seed: int = 0  # order of the images, their crops and the dropout masks
    output_dir: str = "runs"  # a path that every node sees
    fresh: bool = False  # move an earlier run of this name aside and start again
    data: DataConfig = field(default_factory=DataConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    pack: PackConfig = field(default_factory=PackConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    model: ModelConfig = field(default_factory=GoogLeNetConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    bench: BenchConfig = field(default_factory=BenchConfig)
    chaos: ChaosConfig = field(default_factory=ChaosConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    promote: PromoteConfig = field(default_factory=PromoteConfig)
    reproduce: ReproduceConfig = field(default_factory=ReproduceConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    predict: PredictionConfig = field(default_factory=PredictionConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    register: RegisterConfig = field(default_factory=RegisterConfig)

    def __post_init__(self) -> None:
        require_numbers(self)
        require_seed("seed", self.seed)
        require_seed("seed + sweep.seeds - 1", self.seed + self.sweep.seeds - 1)  # of a point's last training
        require_seed("order_seed", self.order_seed)
        require_choice("job", self.job, JOBS)
        if self.name is not None:
            require_name("name", self.name)
        seal(self, "")
        require(
            self.evaluation.split == "val" or self.job in ("evaluate", "report", "check"),
            f"evaluation.split is {self.evaluation.split}, which job={self.job} must not choose by; use it with "
            "job=evaluate of what is trained",
        )
        require(
            self.job != "serve" or self.cluster.kube is None,
            "job=serve answers on this machine or a Ray cluster that it joins; leave out cluster=kuberay",
        )
        require(
            self.registry.name is None or self.export.models or self.job not in ("train", "ensemble", "sweep"),
            f"registry.name is {self.registry.name}, and export.models=false leaves no model to register; leave one "
            "out",
        )
        streams, batch = self.loader.streams, self.training.batch_size
        require(
            self.cluster.max_workers <= streams,
            f"cluster.workers is {self.cluster.workers_text}, more than loader.streams ({streams}); "
            "lower it, or raise loader.streams",
        )
        require(
            batch % streams == 0,
            f"training.batch_size is {batch}, not a multiple of loader.streams ({streams}); "
            f"use {' or '.join(str(n * streams) for n in (batch // streams, batch // streams + 1) if n)}",
        )

    def shares(self, world: int) -> list[int]:
        """Images of a global batch for each of `world` workers, which read whole streams; the largest first."""
        per_stream = self.training.batch_size // self.loader.streams
        return [per_stream * len(range(rank, self.loader.streams, world)) for rank in range(world)]

    def batch_per_worker(self, world: int) -> int:
        """Images of a global batch for the worker with the most."""
        return self.shares(world)[0]

    @property
    def smallest_part(self) -> int:
        """The fewest images of any forward pass in training, whatever the number of workers."""
        limit = self.training.max_batch_per_worker
        worlds = range(self.cluster.min_workers, self.cluster.max_workers + 1)
        shares = {share for world in worlds for share in self.shares(world)}
        return min(share // -(-share // limit) for share in shares)


SINGLE = "model"  # what the one member of a training without an ensemble is called


class Composer(Protocol):
    """Makes configs out of `conf/` and overrides. The launcher has the one there is: `platform/compose/composer.py`."""

    def experiment(self, overrides: list[str]) -> "Experiment": ...

    def config(self, overrides: list[str]) -> Config: ...

    def settings(self, overrides: list[str]) -> dict[str, Any]: ...

    def usual_choices(self) -> dict[str, str]: ...


@dataclass
class Experiment:
    """What the launcher hands to a job: the config as composed, one for each member, and what they were composed of."""

    config: Config
    members: dict[str, Config]  # an ensemble's; of a single training one, under the name SINGLE
    overrides: list[str] = field(default_factory=list)  # of the command line
    choices: dict[str, str] = field(default_factory=dict)  # config group -> the file chosen of it
    composer: Composer | None = None  # None: made without the launcher

    def variant(self, overrides: list[str]) -> Config:
        """The config of the same command line with more overrides at its end, in place of its own for the same keys.

        Raises:
            ConfigError: one line with the value, the limit and the remedy.
        """
        assert self.composer is not None, "only the launcher's experiments have variants"
        return self.composer.config(join(self.overrides, overrides))

    @property
    def name(self) -> str:
        return self.config.name or f"{self.config.model.name.replace('/', '-')}-{self.config.data.name}"

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir) / self.name
