"""The metrics that Prometheus gets of a launch. `docs/monitoring.md` has this table for readers.

In: nothing. Out: each metric's name, labels, unit and meaning. Their labels are few and of few values, on purpose: the
number of series is what a Prometheus server pays for.
"""

from dataclasses import dataclass

EXPERIMENT = ("experiment",)
MEMBER = (*EXPERIMENT, "member")
WORKER = (*MEMBER, "rank")
MEMBER_STATES = ("waiting", "running", "finished", "failed", "diverged", "stopped")
TIME_PARTS = ("queue", "starting", "training", "repeated", "evaluation", "idle")


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str  # counters end in _total
    labels: tuple[str, ...]
    unit: str
    meaning: str

    @property
    def is_counter(self) -> bool:
        return self.name.endswith("_total")


@dataclass(frozen=True)
class Sample:
    """One value of one series."""

    name: str  # of a metric in METRICS
    labels: tuple[str, ...]  # values, in the order of the metric's labels
    value: float


METRICS = (
    # Of the launch
    Metric("platform_members", (*EXPERIMENT, "state"), "members", "members or trials of this launch in each state"),
    Metric("platform_workers", EXPERIMENT, "workers", "workers that train or evaluate now"),
    Metric("platform_gpus", EXPERIMENT, "GPUs", "GPUs that these workers hold"),
    Metric("platform_cpus", EXPERIMENT, "CPUs", "CPUs that these workers hold"),
    Metric(
        "platform_waiting_seconds", EXPERIMENT, "s", "how long the member that waits longest has waited for its workers"
    ),
    Metric(
        "platform_experiment_gpu_seconds_total",
        EXPERIMENT,
        "GPU-seconds",
        "cost of the whole run so far: GPUs held times seconds, of all members and launches",
    ),
    Metric(
        "platform_experiment_cpu_seconds_total", EXPERIMENT, "CPU-seconds", "the same of the CPUs that workers reserve"
    ),
    Metric(
        "platform_tracking_queued_entries",
        EXPERIMENT,
        "entries",
        "what waits in the tracking journal for MLflow; it grows while MLflow is away",
    ),
    Metric(
        "platform_series_left_out",
        (*EXPERIMENT, "of"),
        "members, workers",
        "members at work and workers beyond the limit, without series of their own; they are in the sums. Of members "
        "that have ended the newest 50 have series, for ten minutes",
    ),
    # Of each member or trial
    Metric("platform_steps", MEMBER, "steps", "global steps done; goes back to the checkpoint's after a restart"),
    Metric("platform_progress_ratio", MEMBER, "0-1", "share of the whole training"),
    Metric("platform_images_per_second", MEMBER, "images/s", "speed of training, over all workers"),
    Metric("platform_train_loss", MEMBER, "nats", "training loss, with auxiliary heads"),
    Metric("platform_train_top1_ratio", MEMBER, "0-1", "top-1 accuracy on training images as they were augmented"),
    Metric("platform_val_loss", MEMBER, "nats", "loss on the validation split"),
    Metric("platform_val_top1_ratio", MEMBER, "0-1", "top-1 accuracy on the validation split, of one view"),
    Metric("platform_learning_rate", MEMBER, "1", "the newest step's"),
    Metric("platform_data_wait_ratio", MEMBER, "0-1", "share of the time in which workers waited for images"),
    Metric("platform_goodput_ratio", MEMBER, "0-1", "share of the time spent on steps done for the first time"),
    Metric("platform_lost_seconds", MEMBER, "s", "lost by restarts: starting again and repeating steps"),
    Metric(
        "platform_time_seconds",
        (*MEMBER, "part"),
        "s",
        "what the time went into, of all launches: " + ", ".join(TIME_PARTS),
    ),
    Metric(
        "platform_restarts_total",
        (*MEMBER, "cause"),
        "restarts",
        "starts of the workers after the first, by what ended the one before: failed, preempted, resized, "
        "launch (the command was ended and came again)",
    ),
    Metric("platform_gpu_seconds_total", MEMBER, "GPU-seconds", "cost of the member or trial: GPUs held times seconds"),
    Metric("platform_cpu_seconds_total", MEMBER, "CPU-seconds", "the same of the CPUs that its workers reserve"),
    # Of each worker
    Metric("platform_worker_info", (*WORKER, "node", "gpu"), "1", "on which node and GPU a worker is; always 1"),
    Metric("platform_worker_idle_seconds", WORKER, "s", "since the worker last made progress"),
    Metric("platform_worker_cpus_busy", WORKER, "CPUs", "CPUs that the worker's process keeps busy"),
    Metric("platform_worker_memory_bytes", WORKER, "bytes", "resident memory of the worker's process"),
    Metric("platform_worker_gpu_busy_ratio", WORKER, "0-1", "share of the time in which the GPU computed anything"),
    Metric("platform_worker_gpu_memory_bytes", WORKER, "bytes", "memory in use on the GPU, by everybody"),
    Metric("platform_worker_gpu_memory_ratio", WORKER, "0-1", "the same as a share of the GPU's memory"),
    Metric("platform_worker_gpu_power_watts", WORKER, "W", "electric power of the GPU"),
)
