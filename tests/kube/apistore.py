"""What an API server keeps: RayJobs, pods with their logs, events; with versions, conflicts and deletions."""

import copy
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
GRACE_S = 30.0  # longest wait for somebody else in a test


class StatusError(Exception):
    """An answer of another kind than the one asked for."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details,
            "code": code,
        }


@dataclass
class Checks:
    """What a server knows of the custom resource: all optional."""

    unknown: Callable[[Object], list[str]] = lambda _: []  # paths of fields that are not in the schema
    invalid: Callable[[Object], list[tuple[str, str]]] = lambda _: []  # (field, message)
    filled_in: Callable[[Object], Object] = copy.deepcopy  # with the schema's defaults


@dataclass
class Pod:
    object: Object
    lines: list[tuple[str, str]] = field(default_factory=list)  # (time, text)


class ApiStore:
    """Objects of one server. Every method may be called from any thread; callbacks come without the lock."""

    def __init__(self, namespaces: tuple[str, ...], checks: Checks) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.pods: dict[tuple[str, str], Pod] = {}  # by namespace and name
        self.events: list[Object] = []
        self.holds_deletions = False  # objects stay, being deleted, until `release`
        self._namespaces, self._checks = namespaces, checks
        self._jobs: dict[tuple[str, str], Object] = {}
        self._version = 100
        self._created: list[Callable[[Object], None]] = []
        self._deleted: list[Callable[[Object], None]] = []

    # -- what a controller does

    def on_create(self, callback: Callable[[Object], None]) -> None:
        self._created.append(callback)

    def on_delete(self, callback: Callable[[Object], None]) -> None:
        """Called once a deletion begins."""
        self._deleted.append(callback)

    def set_status(self, name: str, status: Object, namespace: str = "platform") -> None:
        """Merge into a RayJob's status."""
        with self.changed:
            job = self._jobs[namespace, name]
            job["status"] = {**job.get("status", {}), **status}
            self._touch(job)

    def job(self, name: str, namespace: str = "platform") -> Object | None:
        with self.changed:
            return copy.deepcopy(self._jobs.get((namespace, name)))

    def release(self, name: str, namespace: str = "platform") -> None:
        """The last thing that a RayJob owned is gone."""
        with self.changed:
            self._jobs.pop((namespace, name), None)
            self.changed.notify_all()

    def add_pod(
        self,
        name: str,
        labels: dict[str, str],
        *,
        owner: str = "",
        phase: str = "Running",
        namespace: str = "platform",
        **status: Any,
    ) -> None:
        """A pod; `owner` is the uid of what made it, `status` whatever else its status shows."""
        meta = {
            "name": name,
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "labels": labels,
            "creationTimestamp": now(),
            "ownerReferences": [{"uid": owner}] if owner else [],
        }
        with self.changed:
            self.pods[namespace, name] = Pod({"metadata": meta, "status": {"phase": phase, **status}})
            self.changed.notify_all()

    def set_pod(self, name: str, namespace: str = "platform", **status: Any) -> None:
        """Merge into a pod's status: phase=, conditions=, containerStatuses=."""
        with self.changed:
            self.pods[namespace, name].object["status"].update(status)
            self.changed.notify_all()

    def delete_pod(self, name: str, namespace: str = "platform") -> None:
        with self.changed:
            self.pods.pop((namespace, name), None)
            self.changed.notify_all()

    def append_log(self, pod: str, line: str, namespace: str = "platform", at: str | None = None) -> None:
        """`at`: its time, as container runtimes write it."""
        with self.changed:
            self.pods[namespace, pod].lines.append((at or precise_now(), line))
            self.changed.notify_all()

    def add_warning(self, about: str, reason: str, message: str, namespace: str = "platform") -> None:
        """As KubeRay 1.7 and the scheduler write them, by the newer API: microseconds, no lastTimestamp."""
        event = {"involvedObject": {"name": about}, "reason": reason, "message": message, "type": "Warning"}
        at = {"lastTimestamp": None, "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        with self.changed:
            meta = {"name": f"{about}.{uuid.uuid4().hex[:16]}", "namespace": namespace}
            self.events.append({"metadata": meta, **at, **event})

    def wait_for(self, condition: Callable[[], Any], timeout_s: float = GRACE_S) -> None:
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, "what the test waits for did not come"
            time.sleep(0.01)

    # -- what a client asks

    def get(self, namespace: str, name: str) -> Object:
        with self.changed:
            if (namespace, name) not in self._jobs:
                raise StatusError(404, "NotFound", f'rayjobs.ray.io "{name}" not found', name=name, kind="rayjobs")
            return copy.deepcopy(self._jobs[namespace, name])

    def jobs(self, namespace: str) -> list[Object]:
        with self.changed:
            return [copy.deepcopy(job) for (where, _), job in self._jobs.items() if where == namespace]

    def create(self, namespace: str, given: Object, *, strict: bool, dry_run: bool) -> Object:
        name = given["metadata"]["name"]
        with self.changed:
            if namespace not in self._namespaces:
                message = f'namespaces "{namespace}" not found'
                raise StatusError(404, "NotFound", message, name=namespace, kind="namespaces")
            self._check(given, strict)
            if (namespace, name) in self._jobs:
                message = f'rayjobs.ray.io "{name}" already exists'
                raise StatusError(409, "AlreadyExists", message, name=name, kind="rayjobs")
            job = self._checks.filled_in(given)
            job["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
            job.pop("status", None)
            self._touch(job)
            if not dry_run:
                self._jobs[namespace, name] = job
            made = copy.deepcopy(job)
        if not dry_run:
            for callback in self._created:
                callback(copy.deepcopy(made))
        return made

    def replace_status(self, namespace: str, name: str, given: Object) -> Object:
        with self.changed:
            job = self._jobs.get((namespace, name)) or self.get(namespace, name)
            version = given["metadata"].get("resourceVersion")
            if version and version != job["metadata"]["resourceVersion"]:
                message = f'Operation cannot be fulfilled on rayjobs.ray.io "{name}": the object has been modified'
                raise StatusError(409, "Conflict", message, name=name, kind="rayjobs")
            job["status"] = given.get("status", {})
            self._touch(job)
            return copy.deepcopy(job)

    def delete(self, namespace: str, name: str, options: Object) -> Object:
        with self.changed:
            job = self.get(namespace, name)
            wanted = (options.get("preconditions") or {}).get("uid")
            if wanted and wanted != job["metadata"]["uid"]:
                message = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: another"
                raise StatusError(409, "Conflict", message, name=name, kind="rayjobs")
            present = self._jobs[namespace, name]
            present["metadata"]["deletionTimestamp"] = now()
            self._touch(present)
            if not self.holds_deletions:
                self.release(name, namespace)
        for callback in self._deleted:
            callback(job)
        return job

    def find_pods(self, namespace: str, selector: str) -> list[Object]:
        wanted = dict(word.split("=", 1) for word in selector.split(",") if word)
        with self.changed:
            found = [pod.object for (where, _), pod in self.pods.items() if where == namespace]
            return [copy.deepcopy(pod) for pod in found if wanted.items() <= pod["metadata"]["labels"].items()]

    def find_events(self, selector: str) -> list[Object]:
        """Of a field selector of terms `key=value`."""
        wanted = dict(word.split("=", 1) for word in selector.split(",") if word)
        with self.changed:
            return [event for event in self.events if all(event.get(key) == wanted[key] for key in wanted)]

    def log(self, namespace: str, name: str) -> Pod:
        """The pod whose log is asked for, if its container has started."""
        with self.changed:
            if (namespace, name) not in self.pods:
                raise StatusError(404, "NotFound", f'pods "{name}" not found', name=name, kind="pods")
            pod = self.pods[namespace, name]
            if pod.object["status"]["phase"] == "Pending":
                waits_for = pod.object["status"].get("waits", "ContainerCreating")
                message = f'container "main" in pod "{name}" is waiting to start: {waits_for}'
                raise StatusError(400, "BadRequest", message)
            return pod

    def _check(self, given: Object, strict: bool) -> None:
        if strict and (unknown := self._checks.unknown(given)):
            fields = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise StatusError(
                400, "BadRequest", f"RayJob in version v1 cannot be handled: strict decoding error: {fields}"
            )
        if causes := self._checks.invalid(given):
            name = given["metadata"]["name"]
            listed = [{"reason": "FieldValueInvalid", "field": path, "message": text} for path, text in causes]
            message = f'RayJob.ray.io "{name}" is invalid: {causes[0][0]}: {causes[0][1]}'
            raise StatusError(422, "Invalid", message, name=name, kind="RayJob", causes=listed)

    def _touch(self, job: Object) -> None:
        self._version += 1
        job["metadata"]["resourceVersion"] = str(self._version)
        self.changed.notify_all()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def precise_now() -> str:
    """As container runtimes write it: a fraction without zeros at its end."""
    return re.sub(r"0+Z$", "Z", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z"))
