"""The panels of Grafana's dashboard: titles in the field's words, queries, units. `write_dashboard` makes the file.

In: nothing. Out: rows of panels. Queries name the labels that Prometheus has of a launch, and `$experiment` and
`$member`, which people choose above the panels.
"""

from dataclasses import dataclass

OF_EXPERIMENT = '{experiment=~"$experiment"}'
OF_MEMBER = '{experiment=~"$experiment", member=~"$member"}'
# A job that is tried again has another pod, and so another series; `max` shows one line for both.
MEMBER, WORKER = "max by (experiment, member)", "max by (experiment, member, rank)"
RESTARTS = f"max by (experiment, member, cause) (platform_restarts_total{OF_MEMBER})"
MEMBER_LEGEND, WORKER_LEGEND = "{{experiment}}/{{member}}", "{{experiment}}/{{member}} rank {{rank}}"
# KubeRay's metrics of RayJobs: there before a launcher runs and after it has ended. A new RayJob has no state.
JOB_STATUS = 'kuberay_job_deployment_status{namespace="platform",deployment_status'
NOT_BEGUN = f'{JOB_STATUS}=~"|Initializing|Waiting|Suspending|Suspended|Retrying"}}'
QUEUE = 'cluster_queue="platform"'  # components/queue
PROVISIONED = 'kuberay_cluster_provisioned_duration_seconds{namespace="platform"}'
EVERY_S = 15  # one point of a subquery


@dataclass(frozen=True)
class Panel:
    """One panel: (query, legend) for each of its lines."""

    title: str
    unit: str  # Grafana's
    queries: tuple[tuple[str, str], ...]
    about: str = ""
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False
    most: float | None = None  # of the axis


def member(metric: str) -> tuple[tuple[str, str], ...]:
    """The query of a metric of members."""
    return ((f"{MEMBER} ({metric}{OF_MEMBER})", MEMBER_LEGEND),)


def worker(metric: str) -> tuple[tuple[str, str], ...]:
    """The query of a metric of workers."""
    return ((f"{WORKER} ({metric}{OF_MEMBER})", WORKER_LEGEND),)


def total(metric: str, legend: str = "") -> tuple[tuple[str, str], ...]:
    """The query of a metric of launches, added up."""
    return ((f"sum(max by (experiment) ({metric}{OF_EXPERIMENT}))", legend),)


def run_hours(metric: str) -> str:
    """Of a run's cost in seconds: the highest in the range shown, so that runs that have ended are there."""
    return f"max by (experiment) (max_over_time({metric}{OF_EXPERIMENT}[$__range])) / 3600"


def member_hours(metric: str) -> str:
    """The same of a member or trial."""
    return f"{MEMBER} (max_over_time({metric}{OF_MEMBER}[$__range])) / 3600"


def dcgm(metric: str, factor: str) -> tuple[tuple[str, str], ...]:
    """The query of a metric of NVIDIA's DCGM exporter, of the GPUs of pods in which the members chosen have workers.

    The exporter says which pod holds a GPU by the label `pod`, which Prometheus calls `exported_pod` unless its monitor
    honours labels; a worker's host name is its pod's name.
    """
    pod = f'label_replace({metric}, "pod", "$1", "exported_pod", "(.+)")'
    ours = f'label_replace(platform_worker_info{OF_MEMBER}, "pod", "$1", "node", "(.+)")'
    return (
        (f"max by (pod, gpu, GPU_I_ID) ({pod}) * {factor} and on (pod) {ours}", "{{pod}} GPU {{gpu}} {{GPU_I_ID}}"),
    )


ROWS: dict[str, tuple[Panel, ...]] = {
    "Now": (
        Panel("Workers", "short", total("platform_workers"), "That train or evaluate now.", "stat", 4),
        Panel("GPUs held", "short", total("platform_gpus"), "By these workers, busy or not.", "stat", 4),
        Panel(
            "Images per second", "cps",
            ((f"sum({MEMBER} (platform_images_per_second{OF_MEMBER}))", ""),), "Of all members.", "stat", 4,
        ),
        Panel(
            "Longest wait for workers", "s", (("max(platform_waiting_seconds" + OF_EXPERIMENT + ")", ""),),
            "Of a member that no worker has begun yet.", "stat", 4,
        ),
        Panel(
            "Restarts", "short", ((f"sum({RESTARTS})", ""),),
            "Of the members shown, for any cause.", "stat", 4,
        ),
        Panel(
            "Waiting for MLflow", "short", total("platform_tracking_queued_entries"),
            "Entries of the tracking journal. They arrive when MLflow is back.", "stat", 4,
        ),
        Panel(
            "Members by state", "short",
            ((f"max by (experiment, state) (platform_members{OF_EXPERIMENT})", "{{experiment}} {{state}}"),),
            "Members or trials of the launches that run.", width=16, stacked=True,
        ),
        Panel("Progress", "percentunit", member("platform_progress_ratio"), kind="bargauge", most=1),
    ),
    "Jobs": (
        Panel(
            "Jobs by state", "short",
            ((f'count by (deployment_status) (max by (name, deployment_status) ({JOB_STATUS}!="Complete"}}))',
              "{{deployment_status}}"),),
            "RayJobs, by KubeRay's operator; those that are complete are left out.", stacked=True,
        ),
        Panel(
            "Not begun", "s",
            ((f"{EVERY_S} * count_over_time((max by (name) ({NOT_BEGUN}))[$__range:{EVERY_S}s])", "{{name}}"),),
            "How long each RayJob waited in the queue, for its pods or for its next attempt, within the range shown.",
            "bargauge",
        ),
        Panel(
            "Until pods were there", "s",
            ((f"max by (name) (max_over_time({PROVISIONED}[$__range]))", "{{name}}"),),
            "Of each RayCluster, from its beginning until all of its pods ran.", "bargauge",
        ),
        Panel(
            "Waiting in the queue", "short",
            ((f"max by (status) (kueue_pending_workloads{{{QUEUE}}})", "{{status}}"),),
            "Jobs in Kueue's queue. inadmissible: they did not fit when last looked at.", width=12, stacked=True,
        ),
        Panel(
            "Mean wait in the queue", "s",
            ((f"sum by (priority_class) (kueue_admission_wait_time_seconds_sum{{{QUEUE}}}) / "
              f"sum by (priority_class) (kueue_admission_wait_time_seconds_count{{{QUEUE}}})", "{{priority_class}}"),),
            "Of the jobs that Kueue has admitted since it started, by their priority.", "bargauge", 12,
        ),
    ),
    "Learning": (
        Panel("Training loss", "short", member("platform_train_loss"), "With auxiliary heads."),
        Panel("Validation loss", "short", member("platform_val_loss")),
        Panel("Learning rate", "sci", member("platform_learning_rate")),
        Panel("Training top-1", "percentunit", member("platform_train_top1_ratio"), "As augmented.", width=12),
        Panel("Validation top-1", "percentunit", member("platform_val_top1_ratio"), "Of one view.", width=12),
    ),
    "Speed": (
        Panel("Images per second", "cps", member("platform_images_per_second"), "Over all workers of a member."),
        Panel(
            "Steps per second", "hertz",
            ((f"{MEMBER} (clamp_min(deriv(platform_steps{OF_MEMBER}[$__rate_interval]), 0))", MEMBER_LEGEND),),
            "Global steps; evaluations are times without any.",
        ),
        Panel(
            "Waiting for images", "percentunit", member("platform_data_wait_ratio"),
            "Share of the workers' time. Above a few percent GPUs starve: more CPUs, smaller images, a cache.",
        ),
    ),
    "Time and cost": (
        Panel(
            "Goodput", "percentunit", member("platform_goodput_ratio"),
            "Share of the time spent on steps that were done for the first time.", most=1,
        ),
        Panel(
            "Where the time went", "s",
            ((f"sum by (part) (max by (experiment, member, part) (platform_time_seconds{OF_MEMBER}))", "{{part}}"),),
            "Of the members shown, added up. queue: waiting for workers; idle: between launches.", stacked=True,
        ),
        Panel(
            "Restarts by cause", "short",
            ((f"sum by (cause) ({RESTARTS})", "{{cause}}"),),
            "Of the members shown. launch: the command was ended and came again.", stacked=True,
        ),
        Panel(
            "Queue time", "s",
            ((f'{MEMBER} (platform_time_seconds{{experiment=~"$experiment", member=~"$member", part="queue"}})',
              MEMBER_LEGEND),),
            "How long each member waited for its workers.", "bargauge",
        ),
        Panel(
            "Lost by restarts", "s", member("platform_lost_seconds"), "Starting again, repeating steps.", "bargauge",
        ),
        Panel(
            "Cost of each run", "short",
            (
                (run_hours("platform_experiment_gpu_seconds_total"), "{{experiment}} GPU-hours"),
                (run_hours("platform_experiment_cpu_seconds_total"), "{{experiment}} CPU-hours"),
            ),
            "What workers held, of all launches. Without GPUs, the CPU-hours are the cost.", "bargauge",
        ),
        Panel(
            "Cost of each member or trial, GPU-hours", "short",
            ((member_hours("platform_gpu_seconds_total"), MEMBER_LEGEND),),
            "Held, busy or not, within the range shown.", "bargauge", 12,
        ),
        Panel(
            "Cost of each member or trial, CPU-hours", "short",
            ((member_hours("platform_cpu_seconds_total"), MEMBER_LEGEND),),
            "Reserved, busy or not, within the range shown.", "bargauge", 12,
        ),
    ),
    "Workers": (
        Panel("GPU use", "percentunit", worker("platform_worker_gpu_busy_ratio"), "Of the time; by NVML.", most=1),
        Panel("GPU memory", "decbytes", worker("platform_worker_gpu_memory_bytes"), "In use on the GPU, by everybody."),
        Panel("GPU memory, share", "percentunit", worker("platform_worker_gpu_memory_ratio"), most=1),
        Panel("GPU power", "watt", worker("platform_worker_gpu_power_watts")),
        Panel("CPUs busy", "short", worker("platform_worker_cpus_busy"), "By the worker's process."),
        Panel("Memory", "decbytes", worker("platform_worker_memory_bytes"), "Resident, of the worker's process."),
        Panel(
            "Without progress", "s", worker("platform_worker_idle_seconds"),
            "A worker is ended and started again after cluster.stall_timeout_s.", width=12,
        ),
        Panel("CPUs held", "short", total("platform_cpus", "CPUs"), "By the workers, busy or not.", width=6),
        Panel(
            "Left out", "short",
            ((f"max by (experiment, of) (platform_series_left_out{OF_EXPERIMENT})", "{{experiment}} {{of}}"),),
            "Members and workers beyond the limits, which have no lines of their own.", width=6,
        ),
        Panel(
            "Where workers are", "short",
            ((f"max by (experiment, member, rank, node, gpu) (platform_worker_info{OF_MEMBER})", ""),),
            kind="table", width=24,
        ),
    ),
    "GPUs by DCGM": (
        Panel("GPU busy", "percentunit", dcgm("DCGM_FI_DEV_GPU_UTIL", "0.01"), "Of the time; whole GPUs.", most=1),
        Panel("GPU memory in use", "decbytes", dcgm("DCGM_FI_DEV_FB_USED", "1048576"), "MIG's parts, too."),
        Panel(
            "Tensor cores busy", "percentunit", dcgm("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "1"),
            "Of the cycles. Well below the time in which the GPU is busy: small layers, or no mixed precision.", most=1,
        ),
    ),
}  # fmt: skip
COLLAPSED = {"GPUs by DCGM"}  # not asked until somebody opens it: many clusters have no DCGM
