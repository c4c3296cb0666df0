"""The attempt of a RayJob that is under way: its RayCluster, the pods it should have, what was said of it. Pure.

In: the RayJob as the server has it, the namespace's warnings. Out: those of this attempt; why pods were refused.
"""

import re
from datetime import datetime

from platform.kubernetes.client import Object
from platform.text import one_line

_LONGEST = 160


class Attempt:
    """Each attempt has a RayCluster of its own; events of earlier ones stay in the list for an hour."""

    def __init__(self, job: Object) -> None:
        self._job, self._status = job, job.get("status") or {}
        self._name, self._uid = job["metadata"]["name"], job["metadata"].get("uid")
        self.cluster = str(self._status.get("rayClusterName") or "")
        started = self._status.get("startTime") if self.cluster else ""  # that of the attempt before, until it has one
        self._since = seconds_of(str(started or job["metadata"].get("creationTimestamp") or ""))
        self._of_cluster: Object = self._status.get("rayClusterStatus") or {}

    @property
    def pods(self) -> int:
        """Number of pods that its RayCluster should have: the head, and the workers wanted now."""
        return 1 + self._workers

    @property
    def _workers(self) -> int:
        if "desiredWorkerReplicas" in self._of_cluster:
            return int(self._of_cluster["desiredWorkerReplicas"])
        groups = ((self._job.get("spec") or {}).get("rayClusterSpec") or {}).get("workerGroupSpecs") or []
        return sum(int(group.get("replicas") or 0) * int(group.get("numOfHosts") or 1) for group in groups)

    @property
    def is_first_or_has_begun(self) -> bool:
        """Whether what is said of the RayJob can be of this attempt."""
        return bool(self.cluster) or not self._status.get("failed")

    def refusal(self, warnings: list[Object]) -> str:
        """Why pods of this attempt were not made, shortened; "": nothing is said of that.

        Args:
            warnings: the namespace's, oldest first.
        """
        if condition := self._condition():
            return _shortened(condition)
        said = [event for event in warnings if self._is_of_owner(event)]
        return _shortened(str(said[-1].get("message") or said[-1].get("reason") or "")) if said else ""

    def lack(self) -> str:
        """Which workers a running RayCluster cannot get, by its own condition; "": none."""
        condition = self._condition()
        missing = self._workers - int(self._of_cluster.get("availableWorkerReplicas") or 0)
        if not condition or missing <= 0:
            return ""
        return f"{missing} of {self._workers} worker pods are missing: {_shortened(condition)}"

    def _condition(self) -> str:
        """What the RayCluster says of pods that cannot be made. KubeRay takes it away once they can."""
        for condition in self._of_cluster.get("conditions") or []:
            if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                lines = str(condition.get("message") or "").splitlines()
                named = [line for line in lines if line.strip() and line != condition.get("reason")]
                return named[0] if named else str(condition.get("reason"))
        return ""

    def _is_of_owner(self, event: Object) -> bool:
        """Whether it is about what makes the pods: this attempt's RayCluster, the RayJob, the Job that submits."""
        about = event.get("involvedObject") or {}
        if about.get("name") == self.cluster and self.cluster:
            return "Delete" not in str(event.get("reason"))
        if about.get("name") != self._name or not self.is_first_or_has_begun:
            return False
        if about.get("kind") == "RayJob" and about.get("uid") not in (None, "", self._uid):
            return False  # an earlier RayJob of this name
        return when(event) >= self._since and "Delete" not in str(event.get("reason"))


def when(event: Object) -> float:
    """Seconds since 1970 of the newest time of an event; the operator's have only the newer of the two kinds."""
    series = event.get("series") or {}
    said = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    made = (event.get("metadata") or {}).get("creationTimestamp")
    return max((seconds_of(str(text)) for text in (*said, made) if text), default=0.0)


def _shortened(message: str) -> str:
    """A refusal without what repeats the names of pods: `exceeded quota: gpus, requested: ...`."""
    short = re.sub(r"^(Failed to create .*?, |Error creating: )", "", message)
    return one_line(re.sub(r'^pods "[^"]*" is forbidden: ', "", short), _LONGEST)


def seconds_of(text: str) -> float:
    """A time of an object in seconds since 1970, whole ones: they have no more. 0: it is no time."""
    try:
        return float(int(datetime.fromisoformat(text).timestamp()))
    except ValueError:
        return 0.0
