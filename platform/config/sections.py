"""`Config`, which holds the settings of every stage of a run, one dataclass each.

In: nothing. Out: the tree that Hydra fills from `conf/` and the command line. The YAML only chooses. A check raises
`ConfigError` with the value, the limit and the remedy.
"""

from dataclasses import dataclass, field

from platform.config import combinations
from platform.config.checks import require_choice, require_name, require_numbers, require_seed, seal
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
from platform.config.training import CheckpointConfig, TrainingConfig
from platform.config.transforms import TransformsConfig

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
        batch = self.training.batch_size
        combinations.require_job(self.job, self.evaluation, self.cluster, self.export, self.registry)
        self.loss.require_classes(self.data.classes)
        self.distill.require_fit(self.job, self.loss, several=bool(self.ensemble.members))
        combinations.require_blend(self.data, self.sampling, self.distill)
        combinations.require_mixed(self.loss, self.transforms)
        combinations.require_cycles(self.training, self.schedule)
        combinations.require_scored_trials(self.job, self.training, self.evaluation)
        self.evaluation.require_dense(self.model.name, self.data.image_size, self.job)
        combinations.require_apart(self.job, self.table, self.evaluation, self.training, self.registry)
        combinations.require_sizes(self.training, self.data)
        combinations.require_divided(batch, self.cluster, self.loader)
        combinations.require_partners(batch, self.loader, self.sampling, self.transforms)
        combinations.require_evaluations(self.job, self.training, self.evaluation, self.checkpoint)
        combinations.require_fusable(self.cluster, self.training)

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
