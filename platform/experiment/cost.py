"""What a member cost, and how often it was started again.

In: its attempts. Out: CPU- and GPU-seconds, and restarts by what made them necessary.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, pairwise

from platform.experiment.goodput import UNDER_WAY, Attempt, of_one_launch

SETTLED_AFTER_S = 120.0  # nothing more is heard by then of what has been
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
    for each, others_s in zip(attempts, _others_s(attempts, -math.inf, math.inf), strict=True):
        each.others_s = others_s


def _others_s(attempts: Sequence[Attempt], since: float, until: float) -> list[float]:
    """Of each attempt, how many of its seconds between two times count for others."""
    newest = max((each.ended for each in attempts), default=0.0)
    spans = [(each.began, each.ended if each.reason != UNDER_WAY else newest) for each in attempts]
    known = {bound for span in spans for bound in span if since < bound < until}
    bounds = sorted(known | {bound for bound in (since, until) if math.isfinite(bound)})
    found = []
    for each, (began, _) in zip(attempts, spans, strict=True):
        others_s = 0.0
        for start, stop in pairwise(bounds):
            if began <= start and stop <= each.ended:
                count = sum(first <= start and stop <= last for first, last in spans)
                others_s += (stop - start) * (1 - 1 / count)
        found.append(others_s)
    return found


class TimeTogether:
    """The attempts of trials that come to one worker and leave it one by one, thousands perhaps, and what of the time
    of each counts for others (`others_s`). What lies `SETTLED_AFTER_S` back is worked out once."""

    def __init__(self) -> None:
        self._attempts: list[tuple[str, Attempt]] = []  # (whose, which), of those that are not settled as a whole
        self._settled_s: list[float] = []  # of each of these, up to `_settled`
        self._settled = -math.inf  # seconds since the epoch

    def add(self, name: str, attempt: Attempt) -> None:
        """An attempt has begun."""
        self._attempts.append((name, attempt))
        self._settled_s.append(0.0)

    def share_out(self) -> set[str]:
        """Set `others_s` by what is known now; returns whose has changed."""
        attempts = [attempt for _, attempt in self._attempts]
        settle = max((each.ended for each in attempts), default=0.0) - SETTLED_AFTER_S
        if settle > self._settled:
            more_s = _others_s(attempts, self._settled, settle)
            self._settled_s = [before + more for before, more in zip(self._settled_s, more_s, strict=True)]
            self._settled = settle
        changed = set()
        later_s = _others_s(attempts, self._settled, math.inf)
        for (name, each), settled_s, more in zip(self._attempts, self._settled_s, later_s, strict=True):
            if each.others_s != settled_s + more:
                each.others_s = settled_s + more
                changed.add(name)
        goes_on = [each.reason == UNDER_WAY or each.ended > self._settled for each in attempts]
        self._attempts = list(compress(self._attempts, goes_on))
        self._settled_s = list(compress(self._settled_s, goes_on))
        return changed


def restarts(attempts: Sequence[Attempt]) -> dict[str, int]:
    """How many attempts came after another one, by why that ended; every cause is there."""
    found = Counter(_cause(before, after) for before, after in pairwise(attempts))
    return {cause: found[cause] for cause in CAUSES}


def _cause(before: Attempt, after: Attempt) -> str:
    if not of_one_launch(before, after):
        return LAUNCH
    return next((cause for cause in (PREEMPTED, RESIZED) if before.reason.startswith(cause)), FAILED)
