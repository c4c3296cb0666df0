"""Whether the API server takes the RayJob: a dry run, which admission and schema answer and which stores nothing.

In: the job. Out: findings on the namespace and the manifest.
"""

import secrets

from platform.kubernetes.check.finding import Finding, Findings, missing, ok, unknown
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import NAMESPACES, RAY_CRON_JOBS, RAY_JOBS, Hidden, Live
from platform.kubernetes.client import Object, Refused
from platform.kubernetes.names import is_same, names_to_look_for, whose
from platform.kubernetes.refusals import explained
from platform.kubernetes.states import state

_ENFORCED = "pod-security.kubernetes.io/enforce"


def namespace(live: Live, job: Job) -> Findings:
    """The namespace, and the Pod Security standard that it enforces."""
    found = live.get(NAMESPACES, job.namespace)
    if found is None:
        remedy = (
            f"is {live.cluster.host} the right cluster (cluster.kube.context)? Else apply its overlay: k8s/README.md"
        )
        yield missing("namespace", f"{job.namespace} does not exist", remedy)
    elif (found.get("status") or {}).get("phase") == "Terminating":
        yield missing("namespace", f"{job.namespace} is being deleted", "wait for its end, and apply an overlay")
    else:
        standard = (found["metadata"].get("labels") or {}).get(_ENFORCED)
        yield ok("namespace", f"{job.namespace}, Pod Security: {standard or 'nothing enforced'}")


def manifest(live: Live, job: Job) -> Findings:
    """The RayJob of this experiment that is there, and whether this one would be taken."""
    for name in [] if job.is_scheduled else names_to_look_for(job.manifest):
        present = _present(live, job, name)
        if present is not None and is_same(present, job.manifest):
            yield ok("RayJob", f"{name} is there ({state(present)}): the same command follows it, or resumes")
        elif present is not None and name == job.name:
            yield ok("RayJob", f"{name} is there, of {whose(present)}: this one gets another name")
    yield _dry_run(live, job)


def _present(live: Live, job: Job, name: str) -> Object | None:
    try:
        return live.get(RAY_JOBS, name, job.namespace)
    except Hidden:
        return None  # the check of rights says so


def _dry_run(live: Live, job: Job) -> Finding:
    kind = RAY_CRON_JOBS if job.is_scheduled else RAY_JOBS
    if not live.may("create", kind, job.namespace):
        return unknown("dry run", f"needs the right to create {kind.name} in namespace {job.namespace}")
    name = f"{job.name[:28]}-{secrets.token_hex(3)}"  # its own may be taken
    sent = job.manifest | {"metadata": job.manifest["metadata"] | {"name": name}}
    query = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "platform"}
    try:
        live.cluster.request("POST", kind.path(job.namespace), sent, **query)
    except Refused as refused:
        if refused.status == 404 and not live.versions(kind.group):
            return unknown("dry run", "KubeRay is not installed")
        said, _, remedy = str(explained(refused, live.cluster, job.manifest)).partition("; ")
        return missing("dry run", said, remedy)
    return ok("dry run", f"schema and admission take the {job.manifest['kind']}")
