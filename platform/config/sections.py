"""`Config`, which holds the settings of every stage of a run, one dataclass each, and what a launch makes of it.

In: nothing. Out: the tree that Hydra fills from `conf/` and the command line. The YAML only chooses. A check raises
`ConfigError` with the value, the limit and the remedy.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from platform.config.checks import (
    require,
    require_choice,
    require_name,
    require_numbers,
    require_seed,
    seal,
)
from platform.config.cluster import ClusterConfig
from platform.config.data import DataConfig, LoaderConfig, StorageConfig
from platform.config.distill import DistillConfig
from platform.config.ensemble import EnsembleConfig
from platform.config.evaluation import EvaluationConfig
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
    SummaryConfig,
    SweepConfig,
)
from platform.config.loss import LossConfig
from platform.config.models import GoogLeNetConfig, ModelConfig
from platform.config.optim import OptimConfig, ScheduleConfig, SGDConfig
from platform.config.registry import RegistryConfig
from platform.config.sampling import SamplingConfig
from platform.config.table import TableConfig
from platform.config.tracking import TrackingConfig
from platform.config.training import NOT_COMPILED, CheckpointConfig, TrainingConfig
from platform.config.transforms import TransformsConfig
from platform.overrides import join

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
    "deliver",
    "summary",
    "distill",
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
    transforms: TransformsConfig = field(default_factory=TransformsConfig)
    model: ModelConfig = field(default_factory=GoogLeNetConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    optim: OptimConfig = field(default_factory=SGDConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    table: TableConfig = field(default_factory=TableConfig)
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
    summary: SummaryConfig = field(default_factory=SummaryConfig)

    def __post_init__(self) -> None:
        require_numbers(self)
        require_seed("seed", self.seed)
        require_seed("seed + sweep.seeds - 1", self.seed + self.sweep.seeds - 1)  # of a point's last training
        require_seed("seed + table.seeds - 1", self.seed + self.table.seeds - 1)  # of a row's last training
        require_seed("order_seed", self.order_seed)
        require_choice("job", self.job, JOBS)
        if self.name is not None:
            require_name("name", self.name)
        seal(self, "")
        require(
            self.evaluation.split == "val" or self.job in ("evaluate", "report", "check", "deliver"),
            f"evaluation.split is {self.evaluation.split}, which job={self.job} must not choose by; use it with "
            "job=evaluate of what is trained",
        )
        require(
            self.job != "serve" or self.cluster.kube is None,
            "job=serve answers on this machine or a Ray cluster that it joins; leave out cluster=kuberay",
        )
        require(
            self.registry.name is None
            or self.export.models
            or self.job not in ("train", "ensemble", "sweep", "distill"),
            f"registry.name is {self.registry.name}, and export.models=false leaves no model to register; leave one "
            "out",
        )
        self.loss.require_classes(self.data.classes)
        self.distill.require_fit(self.job, self.loss, several=bool(self.ensemble.members))
        self._require_blend()
        require(
            not self.loss.present_above or self.transforms.mixes,
            f"loss.present_above is {self.loss.present_above}, without effect where no images are mixed; give "
            "transforms, such as transforms=mixup, or leave it out",
        )
        require(
            not self.training.snapshots or self.schedule.name == "cosine_restarts",
            "training.snapshots=true keeps the weights at the end of each cycle, and "
            f"schedule.name={self.schedule.name} has none; give schedule=cosine_restarts",
        )
        require(
            self.job != "sweep" or not (self.training.snapshots or self.training.also_average),
            "training.snapshots and training.also_average evaluate several networks of one training, which a sweep's "
            "trials are not scored by; leave them out",
        )
        require(
            self.job != "sweep" or not self.evaluation.blends,
            "evaluation.blends averages the members of an ensemble, and a sweep's trials are none; leave it out",
        )
        self.evaluation.require_dense(self.model.name, self.data.image_size, self.job)
        self._require_apart()
        largest, shrunk_to = max((int(size) for _, size in self.training.sizes), default=0), self.data.shorter_side
        require(
            shrunk_to is None or largest <= shrunk_to,
            f"training.sizes has {largest} px, more than data.shorter_side ({shrunk_to}); lower it, or pack "
            "larger images",
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
        needed = 2 * self.sampling.repeats * streams
        require(
            not self.transforms.mixes or batch >= needed,
            f"training.batch_size is {batch}: fewer than two samples from each of loader.streams={streams}"
            f"{f', with sampling.repeats={self.sampling.repeats}' if self.sampling.repeats > 1 else ''}, and images "
            f"mix with those of another sample of their stream; raise training.batch_size to {needed}, or lower "
            "loader.streams",
        )

        self._require_evaluations()
        self._require_fusable()

    def _require_fusable(self) -> None:
        """What members that are trained together by number cannot have."""
        fused, compile_mode, profiled = self.cluster.fused, self.training.compile, self.training.profile_steps
        require(
            fused == 1 or compile_mode == NOT_COMPILED,
            f"cluster.fuse is {fused}, and training.compile is {compile_mode}: the network of several members is not "
            "compiled; set one of them to off",
        )
        require(
            fused == 1 or not profiled,
            f"cluster.fuse is {fused}, and training.profile_steps is {profiled}: a step is of all members together, "
            "and a trace of one; set cluster.fuse=off, or leave the other out",
        )

    def _require_blend(self) -> None:
        """What several data sets do not go together with."""
        if not self.data.also:
            return
        names = f"data.also has {', '.join(self.data.also)}"
        require(
            self.sampling.repeats == 1,
            f"{names}, and sampling.repeats is {self.sampling.repeats}: a set's share would be cut within the repeats "
            "of a sample; leave one out",
        )
        require(
            self.distill.teacher is None,
            f"{names}, and distill.teacher is {self.distill.teacher}, which is asked about the images of data.shards "
            "alone; leave one out",
        )

    def _require_apart(self) -> None:
        """The rows of a table are compared; nothing is made of all of them."""
        if not self.table.has_rows:
            return
        averaging = {
            "evaluation.blends": self.evaluation.blends,
            "evaluation.dense": self.evaluation.dense,
            "training.snapshots": self.training.snapshots,
            "training.also_average": self.training.also_average,
        }
        for key, given in averaging.items():
            require(
                not given,
                f"table.against is {self.table.against}, which compares members, and {key} averages them; leave one "
                "out",
            )
        require(
            self.registry.name is None or self.job not in ("train", "ensemble", "check", "deliver"),
            f"registry.name is {self.registry.name}, and table.against={self.table.against} compares rows, none of "
            "which is the model; leave it out, and register one with job=register register.run=runs/NAME/ROW",
        )

    def _require_evaluations(self) -> None:
        """What chooses by validation scores on the way needs some."""
        training, every = self.training, self.evaluation.every_epochs
        for asked, key in ((training.patience_epochs > 0, "patience_epochs"), (training.weights == "best", "weights")):
            require(
                not asked or every > 0,
                f"training.{key} is {getattr(training, key)}, and evaluation.every_epochs is 0: nothing is evaluated "
                "on the way; give evaluation.every_epochs=1, or leave it out",
            )
        require(
            training.weights == "last" or self.job != "sweep",
            "training.weights is best, and a sweep ranks its trials by their last evaluations; leave it out",
        )
        require(
            not (training.snapshots and training.patience_epochs),
            "training.snapshots keeps a network of every cycle, and training.patience_epochs may end before the last; "
            "leave one out",
        )
        require(
            training.weights == "last" or self.checkpoint.keep_best,
            "training.weights is best, and checkpoint.keep_best is false: they would not be there; leave one out",
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
        return self.config.name or re.sub("[/:]", "-", f"{self.config.model.name}-{self.config.data.name}")

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir) / self.name
