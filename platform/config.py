"""Every setting of the platform: one dataclass per stage, in the order data moves. Owns defaults, units and checks.

In: nothing. Out: `Config`, the tree that Hydra fills from `conf/` and the command line. The YAML only chooses.
A check raises `ConfigError` with the value, the limit and the remedy.
"""

import dataclasses
import importlib.metadata
import math
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platform.kubesyntax import is_address, is_cron, is_image, is_label_key, is_label_value, is_name, is_subdomain
from platform.redaction import holds_secret, redacted, sealed_deeply, unsealed


class ConfigError(ValueError):
    """A setting that cannot work. The message is one line: the value, the limit, the remedy."""


class CannotGoOn(RuntimeError):
    """What stops every member of an experiment, and would again. One line, and what Ray's logs say below it."""


def printable(line: str) -> str:
    """One line whatever names of files are in it: control characters escaped, `?` for bytes that are no UTF-8."""
    text = line.encode("utf-8", "replace").decode()
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def first_line(error: BaseException) -> str:
    """What another library says, short enough for a line: without the secrets of URLs and the addresses of objects."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return redacted(re.sub(r" ?<_io\.\w+[^<>]*>", "", line))  # Pillow names the buffer that it could not identify


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    require(value in choices, f"{key} is {value!r}; choose one of {', '.join(choices)}")


def require_range(key: str, value: list[float], low: float, high: float) -> None:
    ok = len(value) == 2 and low <= value[0] <= value[1] <= high
    require(ok, f"{key} is {value}; give [smallest, largest] with {low:g} <= smallest <= largest <= {high:g}")


def require_at_least(key: str, value: float, limit: float) -> None:
    require(value >= limit, f"{key} is {value}; give at least {limit:g}")


def require_seed(key: str, value: int) -> None:
    """Of what PyTorch and the orders take as 64 bits: PyTorch refuses more, and the orders would drop the rest."""
    require(-(2**63) <= value < 2**64, f"{key} is {value}; give a whole number from {-(2**63)} to {2**64 - 1}")


LARGEST_WHOLE = 2**53  # which floats and JSON hold exactly; NumPy, PyTorch and SQL end at 2**63
LARGEST = 1e38  # PyTorch computes in float32, which ends at 3.4e38
LONGEST_S = 1e9  # some 30 years; threads cannot wait for much longer
SECONDS = {"s": 1, "h": 3600, "days": 86400}  # of what the names of settings end in
CHECKED_ELSEWHERE = ("seed", "order_seed", "sweep.space")


def require_numbers(value: Any, key: str = "") -> None:
    """Of every number in a config: finite, and no larger than what all that it reaches can hold."""
    if key in CHECKED_ELSEWHERE or isinstance(value, bool):
        return
    if dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            require_numbers(getattr(value, each.name), f"{key}.{each.name}".lstrip("."))
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            require_numbers(each, key)
    elif isinstance(value, int | float):
        limit = LARGEST_WHOLE if isinstance(value, int) else LARGEST
        if unit := SECONDS.get(key.rpartition("_")[2]):
            limit = LONGEST_S / unit
        require(abs(value) <= limit, f"{key} is {value}; give a number of at most {limit:.10g}")


NAME_BYTES = 150  # of a name that becomes a folder, beside what is added to it: file systems take 255


def require_name(key: str, name: str) -> None:
    """Of what becomes a folder."""
    plain = name.replace("-", "").replace("_", "").replace(".", "").isalnum() and name[0] != "."
    require(plain, f"{key} is {name!r}; use letters, digits, '-', '_' and '.' (it names a folder)")
    size = len(name.encode())
    require(size <= NAME_BYTES, f"{key} is {name[:20]}..., of {size} bytes; give at most {NAME_BYTES}")


def seal(section: Any, name: str) -> None:
    """Take the passwords and tokens out of a section's addresses: see `platform/redaction.py`. Every config that there
    is went through here, so that none can be written with one."""
    for each in dataclasses.fields(section):
        value = getattr(section, each.name)
        if isinstance(value, str | list | dict):
            try:
                setattr(section, each.name, sealed_deeply(value))
                if isinstance(value, str):
                    unsealed(value)
            except ValueError as error:
                raise ConfigError(f"{name}{each.name}: {error}") from None


@dataclass
class DataConfig:
    """Which images, where their shards are, and what is particular to them."""

    name: str = "digits"
    shards: str = "data/digits"  # folder or URL of index.json and the tar shards; packed from `source` where absent
    source: str | None = None  # folder, tar, .csv, .tsv or .parquet list, torchvision:NAME, sklearn:digits
    classes: int = 10
    image_size: int = 32  # height and width in pixels the network sees
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])  # per channel, of values 0..1
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])
    mirror: bool = True  # a mirror image is of the same class; false: none in training, and in testing views repeat
    min_crop_area: float = 0.08  # the smallest share of an image that still shows its class; maps 8% to this
    val_fraction: float = 0.2  # held out of each class when the source has no parts of its own
    samples_per_shard: int = 1000  # at most; all shards of a split are of the same size, give or take one
    shorter_side: int | None = None  # pixels; larger images are shrunk to it when packed. None: bytes as they are
    jpeg_quality: int = 95  # of images that are not JPEG yet or are shrunk
    # Of grey of more than 8 bits, the values packed as black and white, such as [0, 4095] of a camera's 12 bits in 16.
    # None: of 16 bits the smallest and largest there are; integers of 32 bits and floating-point numbers are refused
    value_range: list[float] | None = None
    duplicates: str = "keep"  # images whose bytes are equal, when packing: keep, drop all but one, or refuse; said
    max_corrupt: int = 100  # unreadable images: of a packing; of a worker and pass in training, before the member stops

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


DECODERS = ("cpu", "gpu")


@dataclass
class LoaderConfig:
    """How samples are ordered and fetched. `streams` and `block` define the order; the rest only its speed."""

    streams: int = 8  # canonical streams; any number of workers up to it sees the same global batches
    block: int = 4096  # samples shuffled together within a stream
    threads: int = 0  # decoding threads per worker; 0: one per processor the worker holds
    prefetch_batches: int = 4
    decoder: str = "cpu"  # gpu: crops are decoded by the workers' GPUs; pixels differ by rounding
    log_samples: bool = False  # write the sample ids of every step beside the member's checkpoints

    def __post_init__(self) -> None:
        require_at_least("loader.streams", self.streams, 1)
        require_at_least("loader.block", self.block, 1)
        require_at_least("loader.threads", self.threads, 0)
        require_at_least("loader.prefetch_batches", self.prefetch_batches, 1)
        require_choice("loader.decoder", self.decoder, DECODERS)

    def require_gpu(self, *, available: bool) -> None:
        """Refuse to decode on what is not there."""
        require(
            available or self.decoder == "cpu",
            f"loader.decoder is {self.decoder}, but the workers have no GPU; give loader.decoder=cpu",
        )


MEMORY = "memory"


@dataclass
class StorageConfig:
    """How shards at a URL reach this machine. Credentials come from where each store's own tools look for them."""

    cache: str = "data/cache"  # folder on a disk of each node, shared by its processes; memory: no disk
    cache_gb: float = 50.0  # of 1e9 bytes; what was not used for longest makes room
    threads: int = 4  # shards fetched at a time by each worker
    attempts: int = 8  # of each piece of a shard (8 MiB), with growing pauses, before the run stops
    timeout_s: float = 60.0  # for one piece, read or written; for a removal

    def __post_init__(self) -> None:
        seal(self, "storage.")
        require(bool(self.cache), f"storage.cache is empty; give a folder, or {MEMORY}")
        require(self.cache_gb > 0, f"storage.cache_gb is {self.cache_gb}; give more than 0")
        require_at_least("storage.threads", self.threads, 1)
        require_at_least("storage.attempts", self.attempts, 1)
        require(self.timeout_s > 0, f"storage.timeout_s is {self.timeout_s}; give more than 0")


PACK_ACTIONS = ("write", "verify", "index")


@dataclass
class PackConfig:
    """What `job=pack` does with the shards in `data.shards`."""

    action: str = "write"  # from data.source; verify: compare checksums; index: shards that others made
    label: str = "cls"  # index: the member that holds the label, or json:FIELD; json:a.b is b in a
    image: str = ""  # index: the member that holds the image, e.g. input.jpg; "": the jpg, jpeg, png or webp

    def __post_init__(self) -> None:
        require_choice("pack.action", self.action, PACK_ACTIONS)
        extension, colon, name = self.label.partition(":")
        is_json = extension == "json" or extension.endswith(".json")
        plain = bool(extension) and (bool(name) if is_json else not colon)
        require(plain, f"pack.label is {self.label!r}; give cls, txt, another member's extension, or json:FIELD")
        require(
            not self.image.startswith(".") and "/" not in self.image and ":" not in self.image,
            f"pack.image is {self.image!r}; give the extension of the member that holds the image, e.g. input.jpg",
        )


SAMPLING_METHODS = ("area_aspect", "random_square", "centre_square")
INTERPOLATIONS = ("bilinear", "bicubic", "area", "nearest", "random")


@dataclass
class SamplingConfig:
    """Which part of an image a training sample shows, and how its colours are changed."""

    name: str = "multi_scale"
    method: str = "area_aspect"
    area: list[float] = field(default_factory=lambda: [0.08, 1.0])  # share of the image, uniform
    aspect: list[float] = field(default_factory=lambda: [3 / 4, 4 / 3])  # width / height, log-uniform
    interpolation: str = "bilinear"  # "random": one of the four for each sample
    mirror: bool = True
    photometric: bool = False  # Howard's contrast, brightness, colour and lighting noise
    photometric_range: list[float] = field(default_factory=lambda: [0.5, 1.5])
    lighting_std: float = 0.1

    def __post_init__(self) -> None:
        require_choice("sampling.method", self.method, SAMPLING_METHODS)
        require_choice("sampling.interpolation", self.interpolation, INTERPOLATIONS)
        require_range("sampling.area", self.area, 0.001, 1.0)
        require_range("sampling.aspect", self.aspect, 0.1, 10.0)
        require_range("sampling.photometric_range", self.photometric_range, 0.0, 10.0)
        require_at_least("sampling.lighting_std", self.lighting_std, 0)


TORCHVISION = "torchvision/"  # and the name of one of its networks


@dataclass
class ModelConfig:
    """The network."""

    name: str = "googlenet"  # or torchvision/NAME
    width: float = 1.0  # multiplier of every width
    batch_norm: bool = False
    naive: bool = False  # modules without reductions (Fig. 2a)
    local_response_norm: bool = False
    dropout: float = 0.4
    auxiliary_weight: float = 0.3  # of each auxiliary head's loss

    def __post_init__(self) -> None:
        known = self.name == "googlenet" or self.name.startswith(TORCHVISION)
        require(known, f"model.name is {self.name!r}; give googlenet, or torchvision/NAME for one of torchvision's")
        require(0.1 <= self.width <= 16, f"model.width is {self.width}; give 0.1 to 16")
        require(0 <= self.dropout < 1, f"model.dropout is {self.dropout}; give a share in [0, 1)")
        require_at_least("model.auxiliary_weight", self.auxiliary_weight, 0)


@dataclass
class OptimConfig:
    """Stochastic gradient descent."""

    lr: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 2e-4
    clip_norm: float = 0.0  # largest norm of the whole gradient; 0: not clipped

    def __post_init__(self) -> None:
        require(self.lr > 0, f"optim.lr is {self.lr}; give more than 0")
        require(0 <= self.momentum < 1, f"optim.momentum is {self.momentum}; give a share in [0, 1)")
        require(not self.nesterov or self.momentum > 0, "optim.nesterov needs optim.momentum above 0; it is 0")
        require_at_least("optim.weight_decay", self.weight_decay, 0)
        require_at_least("optim.clip_norm", self.clip_norm, 0)


SCHEDULES = ("step_decay", "constant", "linear", "cosine", "polynomial", "one_cycle")


@dataclass
class ScheduleConfig:
    """The learning rate as a multiple of `optim.lr` over the run."""

    name: str = "step_decay"
    factor: float = 0.96  # step_decay: the rate falls by 4% ...
    every_epochs: float = 8.0  # ... every 8 epochs (GoogLeNet)
    final: float = 0.0  # linear, cosine, polynomial, one_cycle: share of the rate left at the end
    power: float = 2.0  # polynomial: of the share of the run that is left; 1: linear, below: falls late, above: early
    initial: float = 0.04  # one_cycle: share of the rate at the start
    rise: float = 0.3  # one_cycle: share of the run, after the warm-up, until the whole rate is reached
    warmup_epochs: float = 0.0  # linear from 0 to where the schedule starts, in front of any schedule

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


AVERAGINGS = ("polyak", "ema", "none")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass
class TrainingConfig:
    """How long, in what batches, in what arithmetic; which average of the weights is evaluated."""

    epochs: float = 12.0
    batch_size: int = 32  # global: over all workers and accumulated micro-batches
    max_batch_per_worker: int = 256  # more than this is accumulated
    precision: str = "auto"  # auto: bfloat16 where the processor or GPU has it in hardware
    channels_last: bool = True
    averaging: str = "polyak"
    averaging_start: float = 0.5  # polyak: share of the run after which the uniform average begins
    averaging_epochs: float = 1.0  # ema: horizon, epochs after which a step has faded to 1/e
    log_every_steps: int = 10
    max_attempts: int = 3  # starts in a row that get a member no further, before it is given up
    bad_steps: str = "stop"  # at a loss or gradient that is not finite, or too long; skip: leave the step's update out
    max_bad_steps: int = 10  # skip: as many in a row stop the member after all
    max_gradient_norm: float = 0.0  # a longer gradient is a bad step, too; 0: any length will do

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
    """When the training state is saved, where to, and how much of it is kept. A killed run goes on from there."""

    every_s: float = 300.0
    every_steps: int = 0  # as well; 0: by time alone
    with_evaluations: bool = False  # as well, with every single-view evaluation, and on disk before training goes on
    keep: int = 2  # newest ones
    keep_best: bool = True  # and the one of the best single-view score so far (evaluation.every_epochs)
    copy_to: str | None = None  # folder or URL that gets every one, too; a lost machine's run goes on from there
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


VIEW_COUNTS = (1, 10, 144)
EVALUATED_SPLITS = ("val", "test")


@dataclass
class EvaluationConfig:
    """Which images are evaluated, in how many views, and what is kept of them."""

    split: str = "val"  # job=evaluate: which part is evaluated; test: images that nothing was chosen by
    views: list[int] = field(default_factory=lambda: [1, 10, 144])
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

    members: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seal(self, "ensemble.")
        for name in self.members:
            require_name("ensemble.members has a name that", str(name))


KUBE_NAME = 47  # characters of a RayJob's name: the operator adds to it, and Kubernetes allows 63
KUBE_CRON_NAME = 36  # of a RayCronJob's, which adds the time to that of its RayJobs
CAPACITIES = ("any", "spot", "on_demand")
GANG_SCHEDULERS = ("none", "volcano", "yunikorn", "kai-scheduler", "scheduler-plugins")
# How each provider marks nodes that it may take back; karpenter does on any of them.
SPOT_LABELS = {
    "gke": ("cloud.google.com/gke-spot", "true"),
    "eks": ("eks.amazonaws.com/capacityType", "SPOT"),
    "aks": ("kubernetes.azure.com/scalesetpriority", "spot"),
    "karpenter": ("karpenter.sh/capacity-type", "spot"),
}
_SECRET_WORDS = ("password", "passwd", "secret", "token", "credential", "access_key", "api_key", "private_key")
_OWN_ENV = ("HOME", "RAY_JOB_STOP_WAIT_TIME_S")  # what pods have anyway
_TAKEN_PATHS = ("/tmp", "/dev", "/cache", "/opt", "/usr", "/bin", "/etc", "/proc", "/sys", "/var")


@dataclass
class KubeConfig:
    """The RayJob that `cluster=kuberay` makes. Sizes are of one pod; gb are of 2**30 bytes, as Kubernetes' Gi."""

    image: str = "platform:0.1.0-ray2.60.0"  # of the Dockerfile, in a registry that the nodes can pull from
    pull_secrets: list[str] = field(default_factory=list)  # names of Secrets with the registry's login
    namespace: str = "platform"
    context: str | None = None  # of the kubeconfig; None: the current one
    follow: bool = True  # false: submit and leave
    # Worker pods
    workers_per_pod: int = 1  # a node of eight GPUs is best used by one pod of eight workers
    pods: Any = None  # a number, or {min: 1, max: 8} for the autoscaler; None: what the members side by side need
    memory_gb: int = 32
    shared_memory_gb: int = 8  # /dev/shm, a part of memory_gb: NCCL's, and Ray's objects
    head_cpus: int = 2
    head_memory_gb: int = 8  # the launcher runs there, beside Ray's own
    # Storage
    claim: str = "platform-data"  # PersistentVolumeClaim (ReadWriteMany) with runs and data, seen by every pod
    mount: str = "/mnt/platform"  # where; relative paths of the command lie below it
    cache_class: str | None = None  # StorageClass of each pod's cache of shards; None: the node's own disk
    # Tracking and access
    tracking_uri: str = "http://mlflow:5000"  # where tracking.uri names a file of this machine
    secrets: list[str] = field(default_factory=lambda: ["platform-credentials"])  # Secrets that become the environment
    env: dict[str, str] = field(default_factory=dict)  # plain settings; nothing secret
    # Which nodes
    gpu_resource: str = "nvidia.com/gpu"  # nodes tainted with it are tolerated
    node_selector: dict[str, str] = field(default_factory=dict)  # of worker pods
    capacity: str = "any"  # spot, on_demand: of worker pods; the head never asks for spot
    provider: str = "gke"  # whose labels say so: gke, eks, aks, karpenter
    topology_key: str | None = None  # a node label, topology.kubernetes.io/zone say: workers close together by it
    # Queue and priority
    queue: str | None = None  # Kueue's LocalQueue: the job waits, suspended, until there is room
    queue_priority: str | None = None  # Kueue's WorkloadPriorityClass
    priority_class: str | None = None  # Kubernetes' PriorityClass of the pods
    gang: str = "none"  # scheduler that starts all pods or none, as the operator was set up with
    gang_queue: str | None = None
    # Time
    schedule: str | None = None  # as cron's "0 2 * * *": a RayCronJob, which makes such a job at each of these times
    retries: int = 3  # clusters after the first; each goes on from the newest checkpoints
    deadline_h: float = 168.0  # of each attempt, then the job fails
    start_timeout_s: int = 3600  # from submitting until it runs; not with a queue
    keep_failed_s: int = 0  # a failed job's cluster stays for so long, to be looked at
    keep_days: float = 7.0  # then the RayJob is deleted; runs and MLflow stay. With a queue it stays until you do
    idle_s: int = 300  # the autoscaler gives a pod back that does nothing for so long
    # Ray's own state in Redis: the cluster survives its head's restart (the launcher there does not; it is retried)
    redis_address: str | None = None
    redis_secret: str = "platform-redis"  # name of the Secret with its `password`

    def __post_init__(self) -> None:
        seal(self, "cluster.kube.")
        self._require_names()
        require(
            self.pods is None or _is_whole(self.pods) or _is_range(self.pods),
            f"cluster.kube.pods is {self.pods!r}; give a number, or a range as {{min:1,max:8}}",
        )
        low, high = self.pods_range or (1, 1)
        require(
            1 <= low <= high, f"cluster.kube.pods is {self.pods!r}; give at least 1, and a min that is at most the max"
        )
        for key in ("workers_per_pod", "memory_gb", "shared_memory_gb", "head_cpus", "head_memory_gb"):
            require_at_least(f"cluster.kube.{key}", getattr(self, key), 1)
        for key in ("start_timeout_s", "idle_s"):
            require_at_least(f"cluster.kube.{key}", getattr(self, key), 60)
        for key in ("retries", "keep_failed_s"):
            require_at_least(f"cluster.kube.{key}", getattr(self, key), 0)
        for key in ("deadline_h", "keep_days"):
            require(getattr(self, key) > 0, f"cluster.kube.{key} is {getattr(self, key)}; give more than 0")
        require(
            self.shared_memory_gb < self.memory_gb,
            f"cluster.kube.shared_memory_gb is {self.shared_memory_gb}, and a part of memory_gb ({self.memory_gb}); "
            "lower it",
        )
        plain = posixpath.normpath(self.mount) == self.mount and self.mount.startswith("/")
        taken = [path for path in _TAKEN_PATHS if f"{self.mount}/".startswith(f"{path}/") or self.mount == "/"]
        require(
            plain and not taken,
            f"cluster.kube.mount is {self.mount!r}; give /a/path that the image does not use, as /mnt/platform",
        )
        require_choice("cluster.kube.capacity", self.capacity, CAPACITIES)
        require_choice("cluster.kube.provider", self.provider, tuple(SPOT_LABELS))
        require_choice("cluster.kube.gang", self.gang, GANG_SCHEDULERS)
        require(
            self.queue is None or self.gang == "none",
            f"cluster.kube.queue is {self.queue}, gang is {self.gang}; choose one: Kueue starts all or none, too",
        )
        require(
            self.schedule is None or is_cron(self.schedule),
            f"cluster.kube.schedule is {self.schedule!r}; give minute, hour, day, month and weekday, as '0 2 * * *'",
        )
        require(
            self.schedule is None or (self.queue is None and self.gang == "none"),
            "cluster.kube.schedule does not go with queue or gang: a RayCronJob hands no labels on to its jobs, "
            "and nobody would start them; leave out one of them",
        )
        for key, needs in (("queue_priority", self.queue is not None), ("gang_queue", self.gang != "none")):
            require(
                getattr(self, key) is None or needs,
                f"cluster.kube.{key} is {getattr(self, key)}, without effect; add cluster.kube.{key.split('_')[0]}",
            )

    @property
    def pods_range(self) -> tuple[int, int] | None:
        """The least and the most worker pods, None where nobody said."""
        if isinstance(self.pods, dict):
            return self.pods["min"], self.pods["max"]
        return None if self.pods is None else (self.pods, self.pods)

    def _require_names(self) -> None:
        names = ("namespace", "claim", "queue", "queue_priority", "priority_class", "redis_secret")
        self._require_all(names, is_name, "Kubernetes takes names of up to 63 of a-z, 0-9 and '-'")
        self._require_all(("pull_secrets", "secrets"), is_name, "give names of Secrets")
        self._require_all(("cache_class",), is_subdomain, "give the name of a StorageClass")
        self._require_all(("gang_queue",), is_label_value, "a label takes 63 letters, digits, '-', '_', '.'")
        self._require_all(("topology_key", "gpu_resource"), is_label_key, "give NAME or DOMAIN/NAME")
        self._require_all(("redis_address",), is_address, "give HOST:PORT")
        self._require_all(("image",), is_image, "give REPOSITORY:TAG, in small letters")
        for key, value in self.node_selector.items():
            require(
                is_label_key(key) and is_label_value(value),
                f"cluster.kube.node_selector has {key}={value}, which is no label of a node; give {{KEY: VALUE}}",
            )
        for name in self.env:
            require(
                re.fullmatch(r"[A-Za-z_]\w*", name) is not None and name not in _OWN_ENV,
                f"cluster.kube.env has {name!r}; give names of letters, digits and '_', none of {', '.join(_OWN_ENV)}",
            )
            require(
                not any(word in name.lower() for word in _SECRET_WORDS),
                f"cluster.kube.env has {name}, and a manifest is no place for secrets; "
                "put it into a Secret that cluster.kube.secrets names",
            )
            require(
                not holds_secret(self.env[name]),
                f"cluster.kube.env has {name} with a password or token in its address, and a manifest is no place for "
                "secrets; put it into a Secret that cluster.kube.secrets names",
            )

    def _require_all(self, keys: tuple[str, ...], fits: Callable[[str], bool], remedy: str) -> None:
        for key in keys:
            value = getattr(self, key)
            for each in value if isinstance(value, list) else [value]:
                require(each is None or fits(each), f"cluster.kube.{key} is {each!r}; {remedy}")


@dataclass
class ClusterConfig:
    """Where it runs and what each member gets."""

    # None: a Ray of its own on this machine; "auto" or HOST:PORT: joins a cluster; http://HEAD:8265: is submitted to it
    address: str | None = None
    workers: Any = 1  # data-parallel workers of each member: a number, or {min: 2, max: 8} for what there is of these
    resize_check_s: float = 60.0  # of a range: how often Ray Train looks whether the workers can be more
    cpus_per_worker: int = 1
    gpus_per_worker: int | None = None  # None: one where the cluster has GPUs, else none
    lanes: int = 0  # members side by side; 0: as many as the resources allow
    autoscaled: bool = False  # nodes come when they are asked for: lanes are not cut to those that are there
    stall_timeout_s: int = 600  # a worker that stands still for longer is ended, and its group started again
    dashboard: bool = False  # of the local Ray
    render_to: str | None = None  # with kube: write the RayJob to this file instead of submitting it; "-": print it
    kube: KubeConfig | None = None  # cluster=kuberay: run as a RayJob on Kubernetes
    ship_code: bool = True  # send this checkout to the cluster; false: its machines have it (an image)
    fork_server: bool = (
        True  # Ray's processes are forked from one with everything imported (Linux; elsewhere each is a new Python)
    )

    def __post_init__(self) -> None:
        seal(self, "cluster.")
        require(
            _is_whole(self.workers) or _is_range(self.workers),
            f"cluster.workers is {self.workers!r}; give a number, or a range as {{min:2,max:8}}",
        )
        require_at_least("cluster.workers", self.min_workers, 1)
        require(
            self.min_workers <= self.max_workers,
            f"cluster.workers is {self.workers_text}; give a min that is at most the max",
        )
        require(self.resize_check_s > 0, f"cluster.resize_check_s is {self.resize_check_s}; give more than 0")
        require_at_least("cluster.cpus_per_worker", self.cpus_per_worker, 1)
        require_at_least("cluster.gpus_per_worker", self.gpus_per_worker or 0, 0)
        require_at_least("cluster.lanes", self.lanes, 0)
        require_at_least("cluster.stall_timeout_s", self.stall_timeout_s, 10)
        require(
            not self.autoscaled or self.gpus_per_worker is not None,
            "cluster.autoscaled is true, and GPUs may come later; say cluster.gpus_per_worker (0: none)",
        )
        require(
            self.render_to is None or self.kube is not None,
            f"cluster.render_to is {self.render_to!r}, but only a RayJob can be rendered; add cluster=kuberay",
        )
        require(self.render_to != "", "cluster.render_to is empty; give a file, or - for the terminal")
        require(
            self.kube is None or self.address is None,
            f"cluster.address is {self.address}, and a RayJob has a cluster of its own; leave one of them out",
        )

    @property
    def min_workers(self) -> int:
        """Fewer do not train."""
        return self.workers["min"] if isinstance(self.workers, dict) else self.workers

    @property
    def max_workers(self) -> int:
        return self.workers["max"] if isinstance(self.workers, dict) else self.workers

    @property
    def workers_text(self) -> str:
        """`8`, or `2 to 8`."""
        return f"{self.min_workers} to {self.max_workers}" if isinstance(self.workers, dict) else f"{self.workers}"


def _is_range(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"min", "max"} and all(map(_is_whole, value.values()))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


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

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "platform"
    system_metrics_every_s: float = 10.0
    required: bool = False  # true: stop before training where MLflow does not answer; false: what it should get waits

    def __post_init__(self) -> None:
        seal(self, "tracking.")
        require(bool(self.uri), "tracking.uri is empty; give sqlite:///FILE or http://HOST:PORT")
        scheme, found, _ = self.uri.partition("://")
        known = scheme.partition("+")[0] in MLFLOW_SCHEMES  # postgresql+psycopg2
        require(
            not found or known or scheme in _mlflow_plugins(),
            f"tracking.uri is {self.uri!r}; give sqlite:///FILE or http://HOST:PORT",
        )
        every = self.system_metrics_every_s
        require(every > 0, f"tracking.system_metrics_every_s is {every}; give more than 0")


BENCH_PARTS = ("loader", "order", "step", "launch", "actors", "checkpoint", "restart", "sweep")


@dataclass
class BenchConfig:
    """What `job=bench` measures."""

    json: str | None = None  # write the figures there, as one flat JSON object
    photos: str | None = None  # tar of JPEG files; None: scikit-learn's two bundled photographs, varied
    image_size: int = 224
    repeats: int = 5
    parts: list[str] = field(default_factory=lambda: list(BENCH_PARTS))

    def __post_init__(self) -> None:
        seal(self, "bench.")
        for part in self.parts:
            require_choice("bench.parts", part, BENCH_PARTS)
        require_at_least("bench.repeats", self.repeats, 1)
        require_at_least("bench.image_size", self.image_size, 32)


CHAOS_TARGETS = ("worker", "node", "drain", "stall", "driver", "tracker", "storage", "fork_server")


@dataclass
class ChaosConfig:
    """What `job=chaos` does to a run, to compare its end with that of an undisturbed one."""

    targets: list[str] = field(default_factory=lambda: ["worker", "node", "driver"])  # chosen from at random
    kills: int = 5
    steps: list[int] = field(default_factory=list)  # global steps to strike at; none: random ones
    seed: int = 0  # of what is struck, and when
    down_s: float = 5.0  # until a node, the tracker or the storage comes back
    nodes: int = 2  # of the private cluster (cluster.address=null), besides a head without work

    def __post_init__(self) -> None:
        for target in self.targets:
            require_choice("chaos.targets", target, CHAOS_TARGETS)
        require(bool(self.targets), f"chaos.targets is empty; choose some of {', '.join(CHAOS_TARGETS)}")
        require_at_least("chaos.kills", self.kills, 1)
        require(min(self.steps, default=1) >= 1, f"chaos.steps is {self.steps}; give steps of at least 1")
        require_at_least("chaos.down_s", self.down_s, 0)
        require_at_least("chaos.nodes", self.nodes, 1)


SEARCHES = ("grid", "random", "tpe")
SCHEDULERS = ("none", "asha", "hyperband", "median", "pbt")
OBJECTIVES = ("top1", "images_per_s")


@dataclass
class SweepConfig:
    """What `job=sweep` varies, who chooses the points, which trials it ends early, and how sure it wants to be."""

    space: dict[str, Any] = field(default_factory=dict)  # dotted key or config group -> values: see sweep/space.py
    search: str = "grid"  # every point; random: `points` of them; tpe: Optuna's, which learns from those before
    points: int | None = None  # random, tpe: how many
    max_trials: int = 100  # points x seeds; a larger sweep stops before it starts
    seeds: int = 1  # trainings of a point, from other initial weights and in another order
    finalists: int | None = (
        None  # the best points after their first seed, which get the other seeds; None: all get them
    )
    objectives: list[str] = field(default_factory=lambda: ["top1"])  # tpe: both, for the best trade-offs
    scheduler: str = "none"  # who ends trials early, or (pbt) has weak ones go on from strong ones
    grace_epochs: int = 1  # asha, median: no trial ends before; pbt: epochs between its looks
    reduction: int = 3  # asha, hyperband: of so many trials one goes on
    mutate: dict[str, Any] = field(default_factory=dict)  # pbt: key -> factors; none: {optim.lr: [0.8, 1.25]}
    seed: int = 0  # of the search

    def __post_init__(self) -> None:
        seal(self, "sweep.")
        require_choice("sweep.search", self.search, SEARCHES)
        require_choice("sweep.scheduler", self.scheduler, SCHEDULERS)
        for objective in self.objectives:
            require_choice("sweep.objectives", objective, OBJECTIVES)
        require("top1" in self.objectives, f"sweep.objectives is {self.objectives}; top1 must be among them")
        require(
            len(self.objectives) == 1 or (self.search, self.scheduler) == ("tpe", "none"),
            f"sweep.objectives is {self.objectives}; several need sweep.search=tpe and sweep.scheduler=none",
        )
        require(
            self.search == "grid" or self.points is not None,
            f"sweep.search is {self.search}, which needs sweep.points: how many points to try",
        )
        require_at_least("sweep.points", 1 if self.points is None else self.points, 1)
        require_at_least("sweep.max_trials", self.max_trials, 1)
        require_at_least("sweep.seeds", self.seeds, 1)
        require_at_least("sweep.finalists", 1 if self.finalists is None else self.finalists, 1)
        require_at_least("sweep.grace_epochs", self.grace_epochs, 1)
        require_at_least("sweep.reduction", self.reduction, 2)
        for key, factors in self.mutations.items():
            numbers = isinstance(factors, list) and all(isinstance(each, int | float) for each in factors)
            right = numbers and bool(factors) and min(factors) > 0
            require(right, f"sweep.mutate.{key} is {factors}; give factors above 0: [0.8,1.25]")

    @property
    def mutations(self) -> dict[str, list[float]]:
        """What PBT changes: key -> factors."""
        return self.mutate or {"optim.lr": [0.8, 1.25]}


PROMOTIONS = ("best", "diverse", "greedy")


@dataclass
class PromoteConfig:
    """Which points of a sweep `job=promote` writes as an experiment."""

    sweep: str | None = None  # the sweep's folder: runs/NAME
    count: int = 1  # 1: an experiment of one training; more: an ensemble
    choose: str = "best"  # diverse: no two that differ in numbers only; greedy: those that complete each other best
    experiment: str = "googlenet_ens_from_sweep"  # conf/experiment/NAME.yaml
    replace: bool = False  # write over a file of that name

    def __post_init__(self) -> None:
        seal(self, "promote.")
        require_choice("promote.choose", self.choose, PROMOTIONS)
        require_at_least("promote.count", self.count, 1)
        plain = self.experiment.replace("-", "").replace("_", "").isalnum()
        require(plain, f"promote.experiment is {self.experiment!r}; use letters, digits, '-' and '_' (it names a file)")


JOBS = ("train", "ensemble", "sweep", "promote", "evaluate", "pack", "bench", "chaos", "check")


@dataclass
class Config:
    """One experiment, or one member of an ensemble."""

    name: str | None = None  # what the experiment is called: its folder, its MLflow run
    job: str = "train"
    seed: int = 0  # initial weights and, with `order_seed`, everything random
    order_seed: int = 0  # order of the images, their crops and the dropout masks
    output_dir: str = "runs"  # a path that every node sees
    fresh: bool = False  # move an earlier run of this name aside and start anew
    data: DataConfig = field(default_factory=DataConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    pack: PackConfig = field(default_factory=PackConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    bench: BenchConfig = field(default_factory=BenchConfig)
    chaos: ChaosConfig = field(default_factory=ChaosConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    promote: PromoteConfig = field(default_factory=PromoteConfig)

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
            self.evaluation.split == "val" or self.job in ("evaluate", "check"),
            f"evaluation.split is {self.evaluation.split}, which job={self.job} must not choose by; use it with "
            "job=evaluate of what is trained",
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
        """Images of a global batch for each of `world` workers, which have whole streams: the largest share first."""
        per_stream = self.training.batch_size // self.loader.streams
        return [per_stream * len(range(rank, self.loader.streams, world)) for rank in range(world)]

    def batch_per_worker(self, world: int) -> int:
        """The largest share."""
        return self.shares(world)[0]

    @property
    def smallest_part(self) -> int:
        """The fewest images that go through the network at once, at any number of workers."""
        limit = self.training.max_batch_per_worker
        worlds = range(self.cluster.min_workers, self.cluster.max_workers + 1)
        shares = {share for world in worlds for share in self.shares(world)}
        return min(share // -(-share // limit) for share in shares)


# Settings that do not change what an experiment is, only where and how it runs; the others are its identity.
NOT_IDENTITY = (
    "job",
    "fresh",
    "output_dir",
    "storage",
    "pack",
    "checkpoint",
    "evaluation",
    "ensemble",
    "cluster",
    "tracking",
    "bench",
    "chaos",
    "sweep",
    "promote",
)
# (What the shards hold is part of it: see `experiment.fingerprint`; where they lie is not.)
NOT_IDENTITY_NESTED = {
    "data": ("shards", "source", "value_range", "duplicates", "max_corrupt"),
    "loader": ("threads", "prefetch_batches", "log_samples"),
    "training": ("max_attempts", "max_batch_per_worker", "log_every_steps"),
}


def identity(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a config (as nested dicts) that two runs must share to be the same experiment."""
    kept = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    for section, keys in NOT_IDENTITY_NESTED.items():
        kept[section] = {key: value for key, value in kept[section].items() if key not in keys}
    return kept


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def replaced(config: Any, key: str, value: Any) -> Any:
    """A copy of a config with another value at a dotted key.

    Raises:
        ConfigError: the value cannot work.
    """
    first, _, rest = key.partition(".")
    return dataclasses.replace(config, **{first: replaced(getattr(config, first), rest, value) if rest else value})


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One `key: old -> new` for each dotted key whose value differs."""
    old_flat, new_flat = flatten(old), flatten(new)
    missing = "(absent)"
    return [
        f"{key}: {old_flat.get(key, missing)} -> {new_flat.get(key, missing)}"
        for key in sorted(old_flat.keys() | new_flat.keys())
        if old_flat.get(key, missing) != new_flat.get(key, missing)
    ]


@dataclass
class Experiment:
    """What the launcher hands to a job: the config as composed, and one for each member."""

    config: Config
    members: dict[str, Config]  # an ensemble's; of a single training one, under the name "model"

    @property
    def name(self) -> str:
        return self.config.name or f"{self.config.model.name.replace('/', '-')}-{self.config.data.name}"

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir) / self.name
