"""The settings of the jobs that are no training: pack, bench, chaos, sweep, promote, reproduce, register, compare,
predict, serve, summary."""

from dataclasses import dataclass, field
from typing import Any

from platform.config.checks import (
    EVALUATED_SPLITS,
    VIEW_COUNTS,
    require,
    require_at_least,
    require_choice,
    require_views,
    seal,
)
from platform.config.scale import ScaleConfig

PACK_ACTIONS = ("write", "verify", "index")


@dataclass
class PackConfig:
    """What `job=pack` does with `data.source` and the shards in `data.shards`."""

    action: str = (
        "write"  # write: pack data.source; verify: compare checksums; index: make one for other people's shards
    )
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


RIVALS = "rivals"  # needs an environment of its own: not measured unless asked for
BENCH_PARTS = (
    *("loader", "order", "step", "launch", "actors", "checkpoint", "restart", "sweep", "views", "scale"),
    RIVALS,
)
BENCH_RIVALS = (
    *("platform", "platform_normalised", "imagefolder", "webdataset", "energon", "litdata", "streaming", "ray_data"),
    "dali",
)


@dataclass
class BenchConfig:
    """What `job=bench` measures."""

    json: str | None = None  # write the figures there, as one flat JSON object
    photos: str | None = None  # tar of JPEG files; None: scikit-learn's two bundled photographs, varied
    image_size: int = 224  # of crops
    repeats: int = 5  # of each measurement; figures are medians
    # all but rivals, which needs the environment of `make rivals`
    parts: list[str] = field(default_factory=lambda: [part for part in BENCH_PARTS if part != RIVALS])
    rivals: list[str] = field(default_factory=lambda: list(BENCH_RIVALS))  # which loaders, in turns
    scale: ScaleConfig = field(default_factory=ScaleConfig)  # what grows with shards, workers, trials, and how fast

    def __post_init__(self) -> None:
        seal(self, "bench.")
        for part in self.parts:
            require_choice("bench.parts", part, BENCH_PARTS)
        for rival in self.rivals:
            require_choice("bench.rivals", rival, BENCH_RIVALS)
        require_at_least("bench.repeats", self.repeats, 1)
        require_at_least("bench.image_size", self.image_size, 32)


CHAOS_TARGETS = ("worker", "node", "drain", "stall", "driver", "tracker", "storage", "fork_server")


@dataclass
class ChaosConfig:
    """Which failures `job=chaos` injects into a run, whose result it compares with an undisturbed one's."""

    targets: list[str] = field(
        default_factory=lambda: ["worker", "node", "driver"]
    )  # what is hit, chosen at random: see docs/failures.md
    kills: int = 5  # failures in all
    steps: list[int] = field(default_factory=list)  # global steps at which they happen; none: random ones
    seed: int = 0  # of the random targets and steps
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
    """What `job=sweep` varies, how points are chosen, which trials are stopped early, and how many seeds each gets."""

    space: dict[str, Any] = field(default_factory=dict)  # dotted key or config group -> values: see docs/sweeps.md
    search: str = "grid"  # grid: every point; random: `points` of them; tpe: Optuna's, which learns from earlier ones
    points: int | None = None  # random, tpe: how many points
    max_trials: int = 100  # points x seeds; a larger sweep stops before it starts
    seeds: int = 1  # trainings of a point, each with other initial weights and another order
    finalists: int | None = None  # points that get more than the first seed, the best by it; None: all points
    objectives: list[str] = field(default_factory=lambda: ["top1"])  # tpe: top1 and images_per_s, for a Pareto front
    scheduler: str = "none"  # none, or of Ray Tune: asha, hyperband, median, pbt
    grace_epochs: int = 1  # asha, median: no trial is stopped earlier; pbt: epochs between perturbations
    reduction: int = 3  # asha, hyperband: one of so many trials continues
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
    choose: str = (
        "best"  # diverse: no two that differ in numbers only; greedy: the best ensemble, built member by member
    )
    experiment: str = "googlenet_ens_from_sweep"  # conf/experiment/NAME.yaml
    replace: bool = False  # overwrite a file of that name

    def __post_init__(self) -> None:
        seal(self, "promote.")
        require_choice("promote.choose", self.choose, PROMOTIONS)
        require_at_least("promote.count", self.count, 1)
        plain = self.experiment.replace("-", "").replace("_", "").isalnum()
        require(plain, f"promote.experiment is {self.experiment!r}; use letters, digits, '-' and '_' (it names a file)")


@dataclass
class ReproduceConfig:
    """Which run `job=reproduce` repeats."""

    run: str | None = None  # runs/NAME, runs/NAME/TRIAL of a sweep, or the id of a run in MLflow

    def __post_init__(self) -> None:
        seal(self, "reproduce.")


@dataclass
class RegisterConfig:
    """Which finished run `job=register` puts into MLflow's registry, as `registry.name`."""

    # runs/NAME, runs/NAME/MEMBER, runs/SWEEP (its best trial), runs/SWEEP/TRIAL; None: the command line's experiment
    run: str | None = None

    def __post_init__(self) -> None:
        seal(self, "register.")


@dataclass
class CompareConfig:
    """Which runs `job=compare` sets side by side."""

    runs: list[str] = field(default_factory=list)  # two or more of runs/NAME, runs/NAME/MEMBER, a trial, or NAME
    split: str = "val"  # on which images: val, or test where all runs were evaluated on it
    output: str | None = None  # folder for the table and the changed images; None: output_dir/compare-NAMES

    def __post_init__(self) -> None:
        require_choice("compare.split", self.split, EVALUATED_SPLITS)
        seal(self, "compare.")


OUTPUTS = (".csv", ".parquet", ".jsonl")
SHEETS = (".png", ".html")


@dataclass
class PredictionConfig:
    """Which images `job=predict` classifies, with which model, and where the results go."""

    # A file, a folder, a pattern such as photos/*.jpg, a URL, or shards (a folder or URL with an index.json); or a list
    images: Any = None
    model: str | None = None  # runs/NAME, a model's folder, or models:/NAME@ALIAS of MLflow; None: this experiment's
    views: int | None = None  # crops of each image: 1, 10, 12 or 144; None: as many as the model was made for
    top_k: int = 5  # the most probable classes of each image in the results
    split: str | None = None  # of shards: train, val or test; None: all there are
    output: str | None = None  # FILE.csv, .parquet or .jsonl: one row for each image
    sheet: str | None = None  # FILE.png or FILE.html: the pictures with their classes and the members' opinions
    ray_from: int = 10000  # from so many images on, or with cluster.address, they are classified on Ray

    def __post_init__(self) -> None:
        seal(self, "predict.")
        require_views("predict.views", self.views)
        require_at_least("predict.top_k", self.top_k, 1)
        require_at_least("predict.ray_from", self.ray_from, 1)
        for key, file, endings in (("output", self.output, OUTPUTS), ("sheet", self.sheet, SHEETS)):
            require(
                file is None or file.lower().endswith(endings),
                f"predict.{key} is {file!r}; give a file whose name ends in {' or '.join(endings)}",
            )

    @property
    def sources(self) -> list[str]:
        """What `images` names, one by one."""
        given = self.images if isinstance(self.images, list | tuple) else [self.images]
        return [str(each) for each in given if each not in (None, "")]


@dataclass
class ServeConfig:
    """How `job=serve` answers over HTTP, and with which model."""

    model: str | None = None  # as predict.model
    views: int | None = None  # as predict.views; a request may ask for another number
    max_views: int = 144  # that a request may ask for: 144 views of an image take 14 times as long as 10
    host: str = "127.0.0.1"  # address it listens on; 0.0.0.0: every machine that reaches this one may ask
    port: int = 8000  # 0: any free one
    replicas: int = 1  # processes with the model, each with cluster.cpus_per_worker CPUs and a GPU if there are any
    batch: int = 16  # images classified together, of those that wait
    batch_wait_s: float = 0.01  # how long the first of a batch waits for others
    max_waiting: int = 64  # requests not answered yet, in all; further ones get 503 and when to come again
    max_body_mb: float = 20.0  # of 1e6 bytes: the largest image taken
    timeout_s: float = 60.0  # for the body of a request to come, and for its answer

    def __post_init__(self) -> None:
        seal(self, "serve.")
        require_views("serve.views", self.views)
        choices = ", ".join(map(str, VIEW_COUNTS))
        require(self.max_views in VIEW_COUNTS, f"serve.max_views is {self.max_views}; give one of {choices}")
        require(0 <= self.port <= 65535, f"serve.port is {self.port}; give 1 to 65535, or 0 for any free one")
        for key in ("replicas", "batch", "max_waiting"):
            require_at_least(f"serve.{key}", getattr(self, key), 1)
        require_at_least("serve.batch_wait_s", self.batch_wait_s, 0)
        require(self.max_body_mb > 0, f"serve.max_body_mb is {self.max_body_mb}; give more than 0")
        require(self.timeout_s > 0, f"serve.timeout_s is {self.timeout_s}; give more than 0")


@dataclass
class SummaryConfig:
    """Where `job=summary` writes, and how long it measures."""

    output: str | None = None  # folder for the table and the picture; None: output_dir/summary-NAME
    seconds: float = 4.0  # of measuring images/s, forward and with backward; 0: nothing is measured

    def __post_init__(self) -> None:
        seal(self, "summary.")
        require_at_least("summary.seconds", self.seconds, 0)
