"""Which points of a metric MLflow gets: as many as a chart can show, and no counter that has stayed zero.

In: a point's place and the newest point that MLflow got of this metric. Out: whether it gets this one. So the same log
steps give the same points, however often a run is interrupted. The whole is in `metrics.jsonl` of the member's folder.
"""

MOST = 1000  # of a metric of one run, evenly over its steps
SYSTEM = "system/"  # metrics that stand at seconds instead of steps
SPACING = 100  # of those: the next stands later by at least this fraction of their time: some hundred a day
# Metrics that count what should not happen, or what only some runs have: from the first that is not zero on.
COUNTERS = (
    "data/corrupt_samples",
    "data/fetch_retries",
    "data/fetched_gb",
    "train/bad_steps",
    "goodput_repeated_steps",
    "goodput_lost_s",
    "time_queue_s",
    "time_repeated_s",
    "time_evaluation_s",
    "time_idle_s",
    "cost_gpu_h",
    "cost_cpu_h",
    "within_step/exchange_ms",
    "within_step/checkpoint_ms",
)

FIRST = ("val/top1", "train/top1", "train/loss")  # of metrics logged together


def in_order(metrics: dict[str, float]) -> dict[str, float]:
    """The same, what says most first: MLflow keeps the order, and its page that compares runs opens on the first."""
    return {key: metrics[key] for key in FIRST if key in metrics} | metrics


def is_kept(key: str, value: float, place: int, newest: int | None, total: int | None) -> bool:
    """Whether MLflow gets a point.

    Args:
        key: the metric.
        value: of the point.
        place: global step; seconds since the run began for metrics named system/...
        newest: the place of the newest point that MLflow got of the metric; None: it has none.
        total: steps of the whole run, whose last is kept; None: not known, and every step is.
    """
    if key in COUNTERS and not value and newest is None:
        return False
    if newest is None:
        return True
    if place <= newest:
        return False
    if key.startswith(SYSTEM):
        return place - newest >= place // SPACING
    return total is None or MOST * place // total > MOST * newest // total


def without_zeros(figures: dict[str, float]) -> dict[str, float]:
    """Final figures without the counters that are zero."""
    return {key: value for key, value in figures.items() if value or key not in COUNTERS}
