"""The check's pod: of the job's image, with its account, volume and Secrets, restricted, and deleted at the end.

In: the job, a time limit. Out: how it ended and what it printed.
"""

import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import PODS, Kind, Live
from platform.kubernetes.client import Away, Object, Refused
from platform.kubernetes.pods import situation
from platform.kubernetes.templates import LOCKED, USER
from platform.text import one_line

NEEDS = (("create", PODS), ("get", PODS), ("delete", PODS), ("get", Kind("", "v1", "pods/log")))
_SOURCE = Path(__file__).with_name("in_pod.py")
_PULLED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_POLL_S = 1.0


@dataclass(frozen=True)
class Ending:
    """How the pod ended."""

    answers: dict[str, Any] = field(default_factory=dict)  # of in_pod.py; empty: it did not get so far
    refused: Refused | None = None  # the API server does not take it
    not_pulled: str = ""  # why its image cannot be had
    waits_for: str = ""  # what kept it from starting until the time was over
    failed: str = ""  # it started, and ended without an answer
    took_s: float = 0.0


def lacking(live: Live, job: Job) -> list[str]:
    """The rights that making the pod takes and that whoever asks does not have, as `create pods`."""
    return [f"{verb} {kind.name}" for verb, kind in NEEDS if not live.may(verb, kind, job.namespace)]


def manifest(job: Job, questions: dict[str, Any], *, mounted: bool) -> Object:
    """A pod that answers the questions and ends.

    It has a worker's labels, so that the same network policies hold for it, and no GPU: it starts where there is room.
    """
    kube = job.kube
    container: Object = {
        "name": "check",
        "image": kube.image,
        "command": ["python", "-I", "-c", _SOURCE.read_text(), json.dumps(questions)],
        "env": [{"name": "HOME", "value": "/tmp"}, *({"name": key, "value": kube.env[key]} for key in kube.env)],
        "envFrom": [{"secretRef": {"name": each, "optional": True}} for each in kube.secrets],
        "resources": {kind: {"cpu": "100m", "memory": "256Mi"} for kind in ("requests", "limits")},
        "securityContext": LOCKED,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}]
    if mounted:
        container["workingDir"] = kube.mount  # as the job's: relative paths of its environment lie there
        container["volumeMounts"].append({"name": "data", "mountPath": kube.mount})
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": kube.claim}})
    name = f"check-{secrets.token_hex(4)}"
    labels = {"app.kubernetes.io/part-of": "platform", "app.kubernetes.io/instance": name}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": job.namespace,
            "labels": labels | {"app.kubernetes.io/component": "worker"},
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": kube.check_pod_s + 60,  # where nobody is left to delete it
            "terminationGracePeriodSeconds": 1,
            "serviceAccountName": "platform-worker",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": USER,
            **({"imagePullSecrets": [{"name": each} for each in kube.pull_secrets]} if kube.pull_secrets else {}),
            "containers": [container],
            "volumes": volumes,
        },
    }


def run(live: Live, job: Job, pod: Object, poll_s: float = _POLL_S) -> Ending:
    """Make the pod, wait for its end and delete it.

    Raises:
        Away: the API server did not answer when the pod was made, or when the time was over.
    """
    began = time.monotonic()
    try:
        with _made(live, pod) as path:
            while True:
                took_s = time.monotonic() - began
                is_last = took_s > job.kube.check_pod_s
                try:
                    if ending := _ending(live, path, took_s, is_last=is_last):
                        return ending
                except Away:  # of one request: the pod goes on
                    if is_last:
                        raise
                except Refused as refused:
                    return Ending(waits_for=f"the API server does not show it: {one_line(str(refused))}", took_s=took_s)
                time.sleep(poll_s)
    except _NotTaken as not_taken:
        return Ending(refused=not_taken.refused)


class _NotTaken(Exception):
    """The API server refuses to make the pod."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.refused = refused


def _ending(live: Live, path: str, took_s: float, *, is_last: bool) -> Ending | None:
    """How the pod has ended, or stands when nobody waits any longer; None: it goes on."""
    seen = _look(live, path)
    if seen is None:
        return Ending(failed="somebody deleted it")
    if seen["status"].get("phase") in ("Succeeded", "Failed"):
        return _ended(live, seen, took_s)
    if why := _not_pulled(seen):
        return Ending(not_pulled=why)
    return Ending(waits_for=situation([seen], []) or "its end", took_s=took_s) if is_last else None


def _look(live: Live, path: str) -> Object | None:
    """The pod now; None: it is gone."""
    try:
        return live.cluster.request("GET", path)
    except Refused as refused:
        if refused.status != 404:
            raise
        return None


@contextmanager
def _made(live: Live, pod: Object) -> Iterator[str]:
    """The path of the pod, which is deleted whatever happens. Its deadline ends it where that fails.

    Raises:
        _NotTaken: there is none.
    """
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    path = PODS.path(namespace, name)
    try:
        try:
            live.cluster.request("POST", PODS.path(namespace), pod)
        except Refused as refused:
            raise _NotTaken(refused) from refused
        yield path
    finally:
        _delete(live, path)


def _delete(live: Live, path: str) -> None:
    """Delete the pod, also one whose creation was not answered."""
    try:
        live.cluster.request("DELETE", path)
    except Refused as refused:
        if refused.status != 404:
            print(
                f"the check's pod is still there ({refused}); kubectl delete pod {path.rpartition('/')[2]}", flush=True
            )
    except Away as away:
        print(f"the check's pod may still be there ({away}); it ends by itself", flush=True)


def _ended(live: Live, seen: Object, took_s: float) -> Ending:
    meta = seen["metadata"]
    text = _log(live, meta["namespace"], meta["name"])
    lines = [line.partition(" ")[2] for line in text.splitlines()]
    found = re.fullmatch(r"\{.*\}", lines[-1]) if lines else None
    if seen["status"]["phase"] == "Succeeded" and found:
        return Ending(answers=json.loads(found[0]), took_s=took_s)
    reason = seen["status"].get("reason") or situation([seen], []) or "it ended without an answer"
    return Ending(failed=one_line(": ".join(filter(None, (reason, lines[-1] if lines else "")))), took_s=took_s)


def _log(live: Live, namespace: str, name: str) -> str:
    """What it printed; "": its container never started."""
    try:
        return b"".join(live.cluster.log(namespace, name, since=None, follow=False)).decode(errors="replace")
    except Refused:
        return ""


def _not_pulled(seen: Object) -> str:
    for container in seen["status"].get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _PULLED:
            return one_line(": ".join(filter(None, (waiting["reason"], waiting.get("message")))))
    return ""
