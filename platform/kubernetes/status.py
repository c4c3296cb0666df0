"""Where a RayJob stands, and what it waits for: the operator, the queue, its pods.

In: a RayJob as it is now. Out: a line.
"""

import time
from collections.abc import Callable

from platform.kubernetes.attempt import Attempt, when
from platform.kubernetes.client import Away, Cluster, Object, Patience, Refused
from platform.kubernetes.pods import situation
from platform.kubernetes.refusals import reason_of
from platform.kubernetes.states import deployment_of, is_queued, is_suspended, state
from platform.kubernetes.workload import reason_of_waiting

_NOT_STARTED = ("", "PENDING")  # jobStatus
_SILENCE_S = 10.0  # of the head, before it is said: a busy one misses an answer now and then


class Status:
    """Says where one job stands, again and again.

    Args:
        cluster: where it runs.
        namespace: of the job.
        name: of the job.
        patience: time limits.
        say_once: takes what the API server does not show, which may come again and again.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, patience: Patience, say_once: Callable[[str], None]
    ) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name
        self._patience, self._say_once = patience, say_once
        self._new_since: float | None = None  # when it was first seen waiting for the operator, if it is
        self._silent_since: float | None = None  # when the head was first seen silent, if it is

    def of(self, job: Object) -> str:
        """One line; of a job that waits, why."""
        text, deployment, attempt = state(job), deployment_of(job), Attempt(job)
        if is_queued(job):
            why = self._queued(job)
            return f"{text}: {why}" if why else text
        is_new = not deployment and not is_suspended(job)
        self._new_since = (self._new_since or time.monotonic()) if is_new else None
        if is_new and attempt.is_first_or_has_begun and (trouble := self._trouble(attempt)):
            return f"{text}: {trouble}"
        if self._new_since is not None:
            late = time.monotonic() - self._new_since > self._patience.operator_s
            hint = "is the KubeRay operator there? kubectl get pods -A -l app.kubernetes.io/name=kuberay-operator"
            return f"{text}; {hint}" if late else text
        job_status = (job.get("status") or {}).get("jobStatus", "")
        if deployment == "Running" and (silence := self._silence(job)):
            text = f"{text}, {silence}"
            trouble = self._trouble(attempt)  # why: its node may be gone
        elif deployment == "Initializing" or (deployment == "Running" and job_status in _NOT_STARTED):
            trouble = self._trouble(attempt)  # the submitter may wait, too
        else:
            trouble = attempt.lack() if deployment == "Running" else ""
        return f"{text}: {trouble}" if trouble else text

    def _silence(self, job: Object) -> str:
        """That the head does not answer the operator; "": it does, or has been silent for a few seconds."""
        since = (job.get("status") or {}).get("jobStatusCheckFailureStartTime")
        self._silent_since = (self._silent_since or time.monotonic()) if since else None
        if self._silent_since is None or time.monotonic() - self._silent_since < _SILENCE_S:
            return ""
        return f"the head has not answered KubeRay since {since}"

    def _queued(self, job: Object) -> str:
        """Why Kueue has not started it; "": nothing is said."""
        try:
            return reason_of_waiting(self._cluster, job)
        except Away:
            return ""  # the next look at the job reports it
        except Refused as refused:
            self._say_once(f"why it waits is not shown: {reason_of(refused, self._cluster, self._namespace)}")
            return ""

    def _trouble(self, attempt: Attempt) -> str:
        """What the pods of an attempt wait for; "": nothing."""
        try:
            pods = self._cluster.pods(self._namespace, f"job-name={self._name}")
            if attempt.cluster:
                pods += self._cluster.pods(self._namespace, f"ray.io/cluster={attempt.cluster}")
            warnings = sorted(self._cluster.warnings(self._namespace), key=when)
        except Away:
            return ""  # the next look at the job reports it
        except Refused as refused:
            self._say_once(f"what the pods wait for is not shown: {reason_of(refused, self._cluster, self._namespace)}")
            return attempt.lack()
        return situation(pods, warnings, attempt.pods if attempt.cluster else 0, attempt.refusal(warnings))
