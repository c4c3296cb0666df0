"""Secrets and the names of their keys. Their values never leave the server: only metadata is asked for.

In: the job. Out: findings. Names of keys are in `managedFields`, which say who set which field.
"""

from platform.kubernetes.check.finding import Finding, Findings, missing, ok, unknown, warning
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import SECRETS, Live
from platform.kubernetes.client import Object

ACCOUNT = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_FIELDS = ("f:data", "f:stringData")


def secrets(live: Live, job: Job) -> Findings:
    """What the pods' environment, the registry's login and Redis come from."""
    kube = job.kube
    held: set[str] = set()
    for name in kube.secrets:
        found = live.metadata(SECRETS, name, job.namespace)
        if found is None:
            remedy = f"kubectl -n {job.namespace} create secret generic {name} ..., as the head of the overlay says"
            yield warning("secrets", f"{name} does not exist: pods start without what it should hold", remedy)
            continue
        keys = keys_of(found)
        held |= keys
        yield ok("secrets", f"{name} holds {', '.join(sorted(keys)) or 'keys whose names cannot be seen'}")
    for name in kube.pull_secrets:
        yield _there(live, job, name, "images of a private registry cannot be pulled")
    if kube.redis_address is not None:
        yield _there(live, job, kube.redis_secret, "the head does not start", key="password")


def keys_of(metadata: Object) -> set[str]:
    """The names of a Secret's keys, from who set them."""
    return {
        key.removeprefix("f:")
        for entry in metadata.get("managedFields") or []
        for fields in _FIELDS
        for key in (entry.get("fieldsV1") or {}).get(fields) or {}
        if key.startswith("f:")
    }


def _there(live: Live, job: Job, name: str, without: str, key: str | None = None) -> Finding:
    found = live.metadata(SECRETS, name, job.namespace)
    if found is None:
        said = f"{name} is not in namespace {job.namespace}: {without}"
        return missing("secrets", said, f"kubectl -n {job.namespace} create secret ... {name}")
    keys = keys_of(found)
    if key is None or key in keys:
        return ok("secrets", f"{name} is there" + (f" and holds {key}" if key else ""))
    if not keys:
        return unknown("secrets", f"{name} is there; the names of its keys cannot be seen")
    return missing(
        "secrets", f"{name} holds {', '.join(sorted(keys))}, not {key}: {without}", f"add the key {key} to it"
    )
