"""What settings of several sections do not go together.

In: the sections that a check is about. Out: nothing, or ConfigError with the values and the remedy.
"""

from platform.config.checks import require
from platform.config.cluster import ClusterConfig
from platform.config.data import DataConfig, LoaderConfig
from platform.config.distill import DistillConfig
from platform.config.evaluation import EvaluationConfig
from platform.config.export import ExportConfig
from platform.config.loss import LossConfig
from platform.config.optim import ScheduleConfig
from platform.config.registry import RegistryConfig
from platform.config.sampling import SamplingConfig
from platform.config.table import TableConfig
from platform.config.training import NOT_COMPILED, CheckpointConfig, TrainingConfig
from platform.config.transforms import TransformsConfig


def require_job(
    job: str, evaluation: EvaluationConfig, cluster: ClusterConfig, export: ExportConfig, registry: RegistryConfig
) -> None:
    """What a job cannot do."""
    require(
        evaluation.split == "val" or job in ("evaluate", "report", "check", "deliver"),
        f"evaluation.split is {evaluation.split}, which job={job} must not choose by; use it with "
        "job=evaluate of what is trained",
    )
    require(
        job != "serve" or cluster.kube is None,
        "job=serve answers on this machine or a Ray cluster that it joins; leave out cluster=kuberay",
    )
    require(
        registry.name is None or export.models or job not in ("train", "ensemble", "sweep", "distill"),
        f"registry.name is {registry.name}, and export.models=false leaves no model to register; leave one out",
    )


def require_blend(data: DataConfig, sampling: SamplingConfig, distill: DistillConfig) -> None:
    """What several data sets do not go together with."""
    if not data.also:
        return
    names = f"data.also has {', '.join(data.also)}"
    require(
        sampling.repeats == 1,
        f"{names}, and sampling.repeats is {sampling.repeats}: a set's share would be cut within the repeats "
        "of a sample; leave one out",
    )
    require(
        distill.teacher is None,
        f"{names}, and distill.teacher is {distill.teacher}, which is asked about the images of data.shards "
        "alone; leave one out",
    )


def require_mixed(loss: LossConfig, transforms: TransformsConfig) -> None:
    """What is about mixed images needs some."""
    require(
        not loss.present_above or transforms.mixes,
        f"loss.present_above is {loss.present_above}, without effect where no images are mixed; give "
        "transforms, such as transforms=mixup, or leave it out",
    )


def require_cycles(training: TrainingConfig, schedule: ScheduleConfig) -> None:
    """What is kept at the end of each cycle needs a schedule with some."""
    require(
        not training.snapshots or schedule.name == "cosine_restarts",
        "training.snapshots=true keeps the weights at the end of each cycle, and "
        f"schedule.name={schedule.name} has none; give schedule=cosine_restarts",
    )


def require_scored_trials(job: str, training: TrainingConfig, evaluation: EvaluationConfig) -> None:
    """A sweep scores one network a trial."""
    require(
        job != "sweep" or not (training.snapshots or training.also_average),
        "training.snapshots and training.also_average evaluate several networks of one training, which a sweep's "
        "trials are not scored by; leave them out",
    )
    require(
        job != "sweep" or not evaluation.blends,
        "evaluation.blends averages the members of an ensemble, and a sweep's trials are none; leave it out",
    )


def require_apart(
    job: str, table: TableConfig, evaluation: EvaluationConfig, training: TrainingConfig, registry: RegistryConfig
) -> None:
    """The rows of a table are compared; nothing is made of all of them."""
    if not table.has_rows:
        return
    averaging = {
        "evaluation.blends": evaluation.blends,
        "evaluation.dense": evaluation.dense,
        "training.snapshots": training.snapshots,
        "training.also_average": training.also_average,
    }
    for key, given in averaging.items():
        require(
            not given,
            f"table.against is {table.against}, which compares members, and {key} averages them; leave one out",
        )
    require(
        registry.name is None or job not in ("train", "ensemble", "check", "deliver"),
        f"registry.name is {registry.name}, and table.against={table.against} compares rows, none of "
        "which is the model; leave it out, and register one with job=register register.run=runs/NAME/ROW",
    )


def require_sizes(training: TrainingConfig, data: DataConfig) -> None:
    """No image is shown larger than it was packed."""
    largest, shrunk_to = max((int(size) for _, size in training.sizes), default=0), data.shorter_side
    require(
        shrunk_to is None or largest <= shrunk_to,
        f"training.sizes has {largest} px, more than data.shorter_side ({shrunk_to}); lower it, or pack larger images",
    )


def require_divided(batch: int, cluster: ClusterConfig, loader: LoaderConfig) -> None:
    """A global batch is cut into equal parts, one a stream, and a worker reads whole streams."""
    streams = loader.streams
    require(
        cluster.max_workers <= streams,
        f"cluster.workers is {cluster.workers_text}, more than loader.streams ({streams}); "
        "lower it, or raise loader.streams",
    )
    require(
        batch % streams == 0,
        f"training.batch_size is {batch}, not a multiple of loader.streams ({streams}); "
        f"use {' or '.join(str(n * streams) for n in (batch // streams, batch // streams + 1) if n)}",
    )


def require_partners(batch: int, loader: LoaderConfig, sampling: SamplingConfig, transforms: TransformsConfig) -> None:
    """An image that is mixed needs another one of its stream."""
    needed = 2 * sampling.repeats * loader.streams
    require(
        not transforms.mixes or batch >= needed,
        f"training.batch_size is {batch}: fewer than two samples from each of loader.streams={loader.streams}"
        f"{f', with sampling.repeats={sampling.repeats}' if sampling.repeats > 1 else ''}, and images "
        f"mix with those of another sample of their stream; raise training.batch_size to {needed}, or lower "
        "loader.streams",
    )


def require_evaluations(
    job: str, training: TrainingConfig, evaluation: EvaluationConfig, checkpoint: CheckpointConfig
) -> None:
    """What chooses by validation scores on the way needs some."""
    every = evaluation.every_epochs
    for asked, key in ((training.patience_epochs > 0, "patience_epochs"), (training.weights == "best", "weights")):
        require(
            not asked or every > 0,
            f"training.{key} is {getattr(training, key)}, and evaluation.every_epochs is 0: nothing is evaluated "
            "on the way; give evaluation.every_epochs=1, or leave it out",
        )
    require(
        training.weights == "last" or job != "sweep",
        "training.weights is best, and a sweep ranks its trials by their last evaluations; leave it out",
    )
    require(
        not (training.snapshots and training.patience_epochs),
        "training.snapshots keeps a network of every cycle, and training.patience_epochs may end before the last; "
        "leave one out",
    )
    require(
        training.weights == "last" or checkpoint.keep_best,
        "training.weights is best, and checkpoint.keep_best is false: they would not be there; leave one out",
    )


def require_fusable(cluster: ClusterConfig, training: TrainingConfig) -> None:
    """What members that are trained together by number cannot have."""
    fused, compile_mode, profiled = cluster.fused, training.compile, training.profile_steps
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
