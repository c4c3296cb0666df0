"""What Prometheus is told of one worker.

In: its newest heartbeat, with the newest measurement. Out: samples in Prometheus' units: bytes, and shares of 1.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from platform.monitoring.metrics import Sample

if TYPE_CHECKING:
    from platform.lanes.mailbox import Beat

# Figure of the worker's process or GPU -> metric, and what it is multiplied by.
FIGURES = {
    "process_cpus_busy": ("platform_worker_cpus_busy", 1.0),
    "process_memory_megabytes": ("platform_worker_memory_bytes", 1e6),
    "utilization_percentage": ("platform_worker_gpu_busy_ratio", 0.01),
    "memory_usage_megabytes": ("platform_worker_gpu_memory_bytes", 1e6),
    "memory_usage_percentage": ("platform_worker_gpu_memory_ratio", 0.01),
    "power_usage_watts": ("platform_worker_gpu_power_watts", 1.0),
}


def worker_samples(experiment: str, beat: "Beat", now: float) -> Iterator[Sample]:
    """Those of a worker.

    Args:
        experiment: its name.
        beat: the worker's newest.
        now: seconds since the epoch, by the clock of the beats. A worker that is not heard of makes no progress.
    """
    labels = (experiment, beat.member, str(beat.rank))
    gpu = beat.usage.gpu_name if beat.usage else ""
    yield Sample("platform_worker_info", (*labels, beat.node, gpu), 1)
    yield Sample("platform_worker_idle_seconds", labels, max(now - beat.moved_at, 0.0))
    if beat.usage:
        for name, value in {**beat.usage.process, **beat.usage.gpu}.items():
            if name in FIGURES:
                metric, factor = FIGURES[name]
                yield Sample(metric, labels, value * factor)
