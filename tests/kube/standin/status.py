"""A RayJob's status, and the rules by which what belongs to it is deleted after its end. Pure but for the clock.

In: the RayJob's spec. Out: what to delete now.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.kube.standin.derive import Manifest

TERMINAL_JOBS = ("SUCCEEDED", "FAILED", "STOPPED")  # Ray's words
TERMINAL = ("Complete", "Failed")
IMPACT = {"DeleteNone": 1, "DeleteWorkers": 2, "DeleteCluster": 3, "DeleteSelf": 4}


@dataclass
class Status:
    """Names as in the custom resource; times are seconds since 1970."""

    job_id: str = ""
    ray_cluster_name: str = ""
    dashboard_url: str = ""
    job_status: str = ""  # Ray's: PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED; empty until it is known
    job_deployment_status: str = ""  # Initializing, Running, Complete, Failed, Retrying, Suspending, Suspended
    reason: str = ""
    message: str = ""
    start_time: float | None = None  # of this attempt
    end_time: float | None = None
    job_start_time: float | None = None  # of the Ray job
    job_end_time: float | None = None
    succeeded: int = 0
    failed: int = 0
    job_status_check_failure_start_time: float | None = field(default=None, repr=False)

    @property
    def is_terminal(self) -> bool:
        return self.job_deployment_status in TERMINAL

    def document(self) -> dict[str, Any]:
        """As an API server shows it."""
        return {
            "jobId": self.job_id,
            "rayClusterName": self.ray_cluster_name,
            "dashboardURL": self.dashboard_url,
            "jobStatus": self.job_status,
            "jobDeploymentStatus": self.job_deployment_status,
            "reason": self.reason,
            "message": self.message,
            "succeeded": self.succeeded,
            "failed": self.failed,
            **_times(startTime=self.start_time, endTime=self.end_time),
            "rayJobInfo": _times(startTime=self.job_start_time, endTime=self.job_end_time),
        }


def _times(**times_s: float | None) -> dict[str, str]:
    return {
        name: datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name, time_s in times_s.items()
        if time_s is not None
    }


def due_deletions(spec: Manifest, status: Status, now_s: float) -> list[str]:
    """Policies whose time has come, the one that deletes most first (rayjob_controller.handleDeletionRules and
    handleShutdownAfterJobFinishes)."""
    if not status.is_terminal or status.end_time is None:
        return []
    rules = spec.get("deletionStrategy", {}).get("deletionRules")
    if rules is None:
        ttl_s = spec.get("ttlSecondsAfterFinished", 0)
        is_due = spec.get("shutdownAfterJobFinishes") and now_s >= status.end_time + ttl_s
        return ["DeleteCluster"] if is_due else []
    due = {
        rule["policy"]
        for rule in rules
        if _matches(rule["condition"], status) and now_s >= status.end_time + rule["condition"].get("ttlSeconds", 0)
    }
    return sorted(due, key=lambda policy: IMPACT[policy], reverse=True)


def _matches(condition: Manifest, status: Status) -> bool:
    """`jobStatus` is Ray's word: after a deadline it is what it was before, RUNNING, and no rule for FAILED applies."""
    if "jobStatus" in condition:
        return condition["jobStatus"] == status.job_status
    return condition["jobDeploymentStatus"] == status.job_deployment_status
