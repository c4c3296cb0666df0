"""A stand-in for KubeRay's operator: runs a rendered RayJob on this machine, as local processes.

    with Operator(
        rayjob,                                              # the rendered manifest
        volumes={"platform-data": tmp_path / "volume"},      # claims: folders in their place
        services={"mlflow:5000": "127.0.0.1:41235"},         # of the namespace: where they are here
        secrets={"platform-credentials": {"MLFLOW_TRACKING_USERNAME": "me"}},
        logs=tmp_path / "logs",
    ) as operator:
        operator.wait_for("Running", timeout_s=120)
        operator.kill(operator.workers()[0])                 # its machine is lost; KubeRay makes another pod
        operator.vanish()                                    # the head's, and nobody's connection is ended
        status = operator.run(timeout_s=600)                 # to the end: Complete or Failed, or the RayJob is deleted
        assert status.job_status == "SUCCEEDED", operator.output()

What is real: the commands that KubeRay would run (see derive.py), Kubernetes' rules for variables, both shells that the
entrypoint passes, `ray start`, the token, probes by HTTP and by commands, `ray job submit` and its retries, signals and
grace periods, the order of states. What is not: containers (no limits, one file system, one shared memory: `paths` of
the manifest are replaced by folders in every text), the autoscaler (`scale` does what it would ask for) and schedulers:
a pod starts at once, but one `ray start` at a time. Pods have the host's address and ports of their own.

Nothing happens between calls: `wait`, `wait_for` and `run` drive it, in the caller's thread. At the end, or when the
process that holds it is killed, every process and folder is gone; only `logs` stay.
"""

import copy
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from platform.cluster.cleanup import guard
from tests.kube.standin import derive
from tests.kube.standin.cluster import Machine, RayCluster, random_name
from tests.kube.standin.container import Secrets
from tests.kube.standin.derive import Manifest
from tests.kube.standin.machine import own_address
from tests.kube.standin.pods import Pod
from tests.kube.standin.status import TERMINAL_JOBS, Status, due_deletions
from tests.kube.standin.submitter import DEFAULT_LIMIT, FIRST_DELAY_S, Submitter

TICK_S = 0.2  # KubeRay looks every three seconds
SUBMITTER_FINISHED_S = 30.0  # rayjob_controller.DefaultSubmitterFinishedTimeout
TRANSITION_GRACE_S = 300.0  # utils.DEFAULT_RAYJOB_DEPLOYMENT_STATUS_TRANSITION_GRACE_PERIOD_SECONDS
STATUS_CHECK_S = 300.0  # RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS, since 1.7 (pull request 4916)
GRACE = "JobDeploymentStatusTransitionGracePeriodExceeded"
NOT_FOUND = "Submitter completed but Ray job not found in RayCluster."


class Operator:
    """One RayJob's life; a context manager."""

    def __init__(
        self,
        rayjob: Manifest,
        *,
        volumes: Mapping[str, Path] | None = None,
        services: Mapping[str, str] | None = None,
        secrets: Secrets | None = None,
        image_env: Mapping[str, str] | None = None,
        logs: Path | None = None,
        submitter_delay_s: float = FIRST_DELAY_S,
    ) -> None:
        """`image_env`: what the image sets besides PATH and PYTHONPATH, which are this interpreter's and checkout's.
        The checkout also stands for /opt/platform.
        `submitter_delay_s`: before a submitter's second pod; a cluster waits ten seconds.

        Raises:
            ValueError: another submission mode.
        """
        mode = rayjob["spec"].get("submissionMode", "K8sJobMode")
        if mode != "K8sJobMode":
            raise ValueError(f"submissionMode={mode}: the stand-in knows K8sJobMode only")
        self.rayjob = copy.deepcopy(rayjob)
        self.status = Status()
        self.history: list[Status] = []  # each change of a state
        self.clusters: list[RayCluster] = []  # one an attempt
        self.submitters: list[Submitter] = []
        self.is_deleted = False
        self._given = (dict(volumes or {}), dict(services or {}), copy.deepcopy(secrets or {}), dict(image_env or {}))
        self._logs, self._submitter_delay_s = logs, submitter_delay_s

    def __enter__(self) -> Self:
        claims, services, secrets, variables = self._given
        scratch = Path(tempfile.mkdtemp(prefix="kr-"))  # short: Ray's sockets live below it
        self._guard = guard(scratch)
        self._threads = ThreadPoolExecutor(8, "probe")
        logs = self._logs or scratch / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.machine = Machine(scratch, logs, claims, services, secrets, variables, own_address(), self._threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in [*self.submitters, *self.clusters]:
            each.kill()
        self._threads.shutdown(cancel_futures=True)
        self._guard.communicate()  # ends what is left, and the scratch folder
        shutil.rmtree(self.machine.scratch, ignore_errors=True)

    # What tests do to it.

    def run(self, timeout_s: float) -> Status:
        """Drive it until it is complete or failed, or deleted; what deletion rules want later is not waited for."""
        self.wait(lambda: self.status.is_terminal or self.is_deleted, timeout_s)
        return self.status

    def wait_for(self, state: str, timeout_s: float) -> Status:
        """Until the deployment or the Ray job has been in that state, now or since the last call.

        Raises:
            TimeoutError: as `wait`; also when it has ended otherwise.
        """
        seen = len(self.history)

        def is_met() -> bool:
            been = [self.status, *self.history[seen:]]
            return any(state in (each.job_deployment_status, each.job_status) for each in been)

        self.wait(lambda: is_met() or self.status.is_terminal or self.is_deleted, timeout_s)
        if not is_met():
            raise TimeoutError(f"it never was {state}: {self._story()}")
        return replace(self.status)

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Drive it until the condition holds.

        Raises:
            TimeoutError: with all that is known.
        """
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {timeout_s:.0f} s: {self._story()}")
            self.tick()
            time.sleep(TICK_S)

    def nodes(self) -> list[Pod]:
        """The pods of the newest cluster, the head first."""
        pods = self.clusters[-1].pods if self.clusters else []
        return sorted(pods, key=lambda pod: not pod.is_head)

    def workers(self) -> list[Pod]:
        return self.clusters[-1].workers() if self.clusters else []

    @property
    def head(self) -> Pod:
        head = self.clusters[-1].head
        assert head is not None
        return head

    def kill(self, pod: Pod) -> None:
        """Its machine is lost."""
        pod.kill()

    def vanish(self) -> None:
        """The head's machine is lost, and its network with it: no end of a connection reaches the submitter."""
        for submitter in self.submitters:
            submitter.lose_head()
        self.head.kill()

    def scale(self, group: str, replicas: int) -> None:
        """As the autoscaler asks for it."""
        self.clusters[-1].scale(group, replicas)

    def suspend(self, *, is_suspended: bool) -> None:
        """Flip spec.suspend, as Kueue does."""
        self.rayjob["spec"]["suspend"] = is_suspended

    def delete(self) -> None:
        """As `kubectl delete rayjob`: the Ray job is told to stop, then all pods. Does not wait: see `is_gone`."""
        self.is_deleted = True
        if self.clusters and self.status.job_status not in TERMINAL_JOBS:
            self._ask("POST", f"/api/jobs/{self.status.job_id}/stop")
        for each in [*self.clusters, *self.submitters]:
            each.delete()

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it runs: neither pods of a cluster nor of a submitter."""
        return all(each.is_gone for each in [*self.clusters, *self.submitters])

    def output(self) -> str:
        """What the submitters have printed, the job's own output among it."""
        return "\n".join(pod.output() for submitter in self.submitters for pod in submitter.pods)

    # What the operator does.

    def tick(self) -> None:
        """One look at everything (rayjob_controller.Reconcile)."""
        for each in [*self.clusters, *self.submitters]:
            each.tick()
        if self.is_deleted:
            return
        before = replace(self.status)
        step = {
            "": self._begin,
            "Initializing": self._initialize,
            "Running": self._follow,
            "Suspending": self._release,
            "Retrying": self._release,
            "Suspended": self._resume,
            "Complete": self._clean_up,
            "Failed": self._clean_up,
        }[self.status.job_deployment_status]
        step()
        self._note(before)

    def _note(self, before: Status) -> None:
        states = (self.status.job_deployment_status, self.status.job_status)
        if states == (before.job_deployment_status, before.job_status):
            return
        if self.status.job_deployment_status != before.job_deployment_status:
            self._count()
        self.history.append(replace(self.status))

    def _count(self) -> None:
        """Attempts, and whether there is another (rayjob_controller.checkBackoffLimitAndUpdateStatusIfNeeded)."""
        status = self.status
        if status.is_terminal:
            status.end_time = time.time()
        if status.job_deployment_status == "Complete" and status.job_status == "SUCCEEDED":
            status.succeeded += 1
        if status.job_deployment_status == "Failed":
            status.failed += 1
            may_retry = status.failed <= self._spec.get("backoffLimit", 0)
            if may_retry and status.reason != "DeadlineExceeded":
                status.job_deployment_status = "Retrying"

    @property
    def _spec(self) -> Manifest:
        return self.rayjob["spec"]

    def _begin(self) -> None:
        """rayjob_controller.initRayJobStatusIfNeed: each attempt has names, and a start, of its own."""
        name, status = self.rayjob["metadata"]["name"], self.status
        status.job_id = status.job_id or self._spec.get("jobId") or random_name(name)
        status.ray_cluster_name = status.ray_cluster_name or random_name(name)
        status.job_deployment_status, status.start_time = "Initializing", time.time()

    def _initialize(self) -> None:
        if self._is_suspended_or_late("preRunningDeadlineSeconds", "PreRunningDeadlineExceeded"):
            return
        if not self.clusters or self.clusters[-1].name != self.status.ray_cluster_name:
            manifest = derive.ray_cluster(self.rayjob, self.status.ray_cluster_name)
            self.clusters.append(RayCluster(manifest, self.machine))
        cluster = self.clusters[-1]
        if cluster.is_ready:
            self.status.dashboard_url = derive.dashboard(cluster.manifest)
            self._submit(cluster)
            self.status.job_deployment_status = "Running"

    def _submit(self, cluster: RayCluster) -> None:
        manifest = derive.submitter_pod(self.rayjob, cluster.manifest, self.status.job_id)
        limit = self._spec.get("submitterConfig", {}).get("backoffLimit", DEFAULT_LIMIT)
        name = self.rayjob["metadata"]["name"]
        self.submitters.append(Submitter(manifest, name, limit, self.machine, cluster, self._submitter_delay_s))

    def _follow(self) -> None:
        if self._is_suspended_or_late() or self._is_stuck():
            return
        submitter, status = self.submitters[-1], self.status
        if submitter.finished_at and time.time() >= submitter.finished_at + SUBMITTER_FINISHED_S:
            status.job_status = "FAILED"
            self._fail(GRACE, f"The RayJob submitter finished {SUBMITTER_FINISHED_S:.0f} s before the Ray job's end")
        elif submitter.has_failed:
            if status.job_status == "FAILED":
                self._fail("AppFailed", status.message)
            else:
                self._fail("SubmissionFailed", f"Job submission has failed. {submitter.failure}")
        else:
            self._look(submitter)

    def _look(self, submitter: Submitter) -> None:
        """Ask the dashboard how the job is. It has ended when the submitter has, too."""
        status, answer = self.status, self._ask("GET", f"/api/jobs/{self.status.job_id}")
        if answer is not None and answer.status_code == 404:
            if submitter.finished_at:
                self._fail("AppFailed", NOT_FOUND)
            return
        if answer is None or answer.status_code != 200:
            self._note_unanswered()
            return
        info: dict[str, Any] = answer.json()
        status.job_status_check_failure_start_time = None
        status.job_status, status.message = info["status"], info.get("message") or ""
        status.job_start_time, status.job_end_time = _seconds(info, "start_time"), _seconds(info, "end_time")
        if status.job_status in TERMINAL_JOBS and submitter.finished_at:
            if status.job_status == "FAILED":
                self._fail("AppFailed", status.message)
            else:
                status.job_deployment_status = "Complete"

    def _note_unanswered(self) -> None:
        now_s = time.time()
        since_s = self.status.job_status_check_failure_start_time
        if since_s is None:
            self.status.job_status_check_failure_start_time = now_s
        elif now_s >= since_s + STATUS_CHECK_S:
            self._fail("JobStatusCheckTimeoutExceeded", f"no answer of the dashboard for {STATUS_CHECK_S:.0f} s")

    def _is_stuck(self) -> bool:
        status = self.status
        if status.job_status not in TERMINAL_JOBS or status.job_end_time is None:
            return False
        if time.time() < status.job_end_time + TRANSITION_GRACE_S:
            return False
        status.job_deployment_status = "Failed" if status.job_status == "FAILED" else "Complete"
        status.reason = GRACE
        return True

    def _is_suspended_or_late(self, other: str = "", other_reason: str = "") -> bool:
        """Each attempt has the whole of `activeDeadlineSeconds`: it counts from the attempt's start."""
        if self._spec.get("suspend"):
            self.status.job_deployment_status = "Suspending"
            return True
        for limit, reason in (("activeDeadlineSeconds", "DeadlineExceeded"), (other, other_reason)):
            seconds = self._spec.get(limit)
            if seconds is not None and time.time() >= (self.status.start_time or 0) + seconds:
                self._fail(reason, f"The RayJob has passed the {limit}. {limit[0].upper()}{limit[1:]}: {seconds}")
                return True
        return False

    def _fail(self, reason: str, message: str) -> None:
        self.status.job_deployment_status, self.status.reason, self.status.message = "Failed", reason, message

    def _release(self) -> None:
        """Delete cluster and submitter, and go on when they are gone; the Ray job itself is not told."""
        for each in [*self.clusters[-1:], *self.submitters[-1:]]:
            each.delete()
        if self.is_gone:
            old = self.status
            self.status = Status(succeeded=old.succeeded, failed=old.failed, start_time=old.start_time)
            if old.job_deployment_status == "Suspending":
                self.status.job_deployment_status = "Suspended"

    def _resume(self) -> None:
        if not self._spec.get("suspend"):
            self.status.job_deployment_status = ""

    def _clean_up(self) -> None:
        """The one most impactful thing whose time has come and that is not done yet."""
        for policy in due_deletions(self._spec, self.status, time.time()):
            if policy == "DeleteSelf":
                self.delete()
            elif policy == "DeleteCluster" and not self.clusters[-1].is_deleted:
                self.clusters[-1].delete()
            elif policy == "DeleteWorkers" and not self.clusters[-1].is_deleted:
                self.clusters[-1].suspend_workers()
            else:
                continue
            return

    def _ask(self, method: str, path: str) -> requests.Response | None:
        """The dashboard, with the token; None where nobody answers."""
        cluster = self.clusters[-1]
        headers = {"Authorization": f"Bearer {cluster.token}"} if cluster.token else {}
        try:
            return requests.request(method, f"{cluster.dashboard}{path}", headers=headers, timeout=5)
        except requests.RequestException:
            return None

    def _story(self) -> str:
        states = [f"{each.job_deployment_status}/{each.job_status}" for each in self.history]
        pods = [f"{pod.name} {pod.phase} ready={pod.ready} {pod.output()[-600:]!r}" for pod in self.nodes()]
        return "\n".join([" > ".join(states), f"{self.status}", *pods, self.output()[-3000:]])


def _seconds(info: dict[str, Any], key: str) -> float | None:
    return info[key] / 1000 if info.get(key) else None
