"""What a member cost, and how often it was started again.

In: its attempts. Out: CPU- and GPU-seconds, and restarts by what made them necessary.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from platform.experiment.goodput import UNDER_WAY, Attempt, of_one_launch

CAUSES = FAILED, PREEMPTED, RESIZED, LAUNCH = "failed", "preempted", "resized", "launch"


@dataclass(frozen=True)
class Cost:
    """Resources held times seconds, from the start of the worker group to its end, busy or not; waiting for room costs
    nothing. Members that are trained together share the seconds in equal parts."""

    cpu_s: float = 0.0
    gpu_s: float = 0.0

    @classmethod
    def of(cls, attempts: Sequence[Attempt]) -> "Cost":
        """Add up attempts; those that earlier versions have noted do not say what they held, and count nothing."""
        held = [(max(each.ended - each.began - each.others_s, 0.0) * each.workers, each) for each in attempts]
        return cls(
            cpu_s=sum(worker_s * each.cpus_per_worker for worker_s, each in held),
            gpu_s=sum(worker_s * each.gpus_per_worker for worker_s, each in held),
        )

    def metrics(self) -> dict[str, float]:
        """The metrics cost_... for MLflow, in hours."""
        return {"cost_gpu_h": self.gpu_s / 3600, "cost_cpu_h": self.cpu_s / 3600}

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu_s + other.cpu_s, self.gpu_s + other.gpu_s)


def share_out(attempts: Sequence[Attempt]) -> None:
    """Set `others_s` of attempts on the same workers, those of one team in one launch: of the seconds in which several
    were under way each has an equal part.

    Args:
        attempts: of all of them; one under way goes on beyond the newest that is known of it.
    """
    until = max(each.ended for each in attempts)
    spans = [(each.began, each.ended if each.reason != UNDER_WAY else until) for each in attempts]
    bounds = sorted({bound for span in spans for bound in span})
    for each, (began, _) in zip(attempts, spans, strict=True):
        each.others_s = 0.0
        for start, stop in pairwise(bounds):
            if began <= start and stop <= each.ended:
                count = sum(first <= start and stop <= last for first, last in spans)
                each.others_s += (stop - start) * (1 - 1 / count)


def restarts(attempts: Sequence[Attempt]) -> dict[str, int]:
    """How many attempts came after another one, by why that ended; every cause is there."""
    found = Counter(_cause(before, after) for before, after in pairwise(attempts))
    return {cause: found[cause] for cause in CAUSES}


def _cause(before: Attempt, after: Attempt) -> str:
    if not of_one_launch(before, after):
        return LAUNCH
    return next((cause for cause in (PREEMPTED, RESIZED) if before.reason.startswith(cause)), FAILED)
