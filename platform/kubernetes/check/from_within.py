"""What only a pod can see: that the image can be pulled, the volume written to, MLflow reached with the account.

In: the job, the rights. Out: findings; without a pod, what the API server knows of MLflow's Service.
"""

from typing import Any

from platform.kubernetes.check import mlflow, pod
from platform.kubernetes.check.finding import Finding, Findings, missing, ok, unknown, warning
from platform.kubernetes.check.job import Job, labels_of
from platform.kubernetes.check.live import POLICIES, VOLUME_CLAIMS, Hidden, Live
from platform.kubernetes.check.network import selects
from platform.kubernetes.check.secret_keys import ACCOUNT, STORE_IDENTITY, STORE_KEYS, TOKEN
from platform.kubernetes.client import Object, Refused
from platform.text import one_line

# In refusals of pods: what the job's have in common with the check's; rules on amounts, which are for other sizes.
_OF_ALL = ("violates PodSecurity", "error looking up service account")
_OF_SIZE = (
    "exceeded quota",
    "failed quota",
    "insufficient quota",
    "usage per Container",
    "usage per Pod",
    "ratio per Container",
    "ratio per Pod",
)
_STORE = (*STORE_KEYS, "AWS_ENDPOINT_URL", *STORE_IDENTITY)


def from_within(live: Live, job: Job) -> Findings:
    """Start the pod where that may be done, and read its answers."""
    image, seconds = job.kube.image, job.kube.check_pod_s
    if not seconds:
        yield unknown("image", f"whether {image} can be pulled is not tried: cluster.kube.check_pod_s is 0")
        yield from mlflow.by_service(live, job)
        return
    if lacking := pod.lacking(live, job):
        said = f"whether {image} can be pulled needs the rights to {', '.join(lacking)} in namespace {job.namespace}"
        yield unknown("image", said)
        yield from mlflow.by_service(live, job)
        return
    print(f"starting a pod of {image} for at most {seconds} s (cluster.kube.check_pod_s)", flush=True)
    ending = pod.run(live, job, pod.manifest(job, _questions(live, job), mounted=_is_mountable(live, job)))
    yield _image(job, ending)
    if ending.answers:
        yield from _read(job, ending.answers)
    else:
        yield from mlflow.by_service(live, job)


def _questions(live: Live, job: Job) -> dict[str, Any]:
    return {
        "variables": [*ACCOUNT, TOKEN, *_STORE],
        "folder": job.kube.mount if _is_mountable(live, job) else "",
        "mlflow": mlflow.question(job),
        "closed": _is_api_closed(live, job),
    }


def _read(job: Job, answers: dict[str, Any]) -> Findings:
    held = answers["variables"]
    yield ok("environment", f"of the names looked for, Secrets and cluster.kube.env hold {', '.join(held) or 'none'}")
    if (why := answers.get("folder")) is not None:
        yield _volume(job, why)
    if "mlflow" in answers:
        yield mlflow.from_pod(job, answers["mlflow"])
    match answers.get("closed"):
        case True:
            yield ok("enforcement", "a pod with a worker's labels does not reach the API server: policies are enforced")
        case False:
            said = "a pod with a worker's labels reaches the API server, which no policy allows: they are not enforced"
            yield warning("enforcement", said, "use a network plugin that enforces them (Calico, Cilium, kube-router)")


def _image(job: Job, ending: pod.Ending) -> Finding:
    image = job.kube.image
    if ending.not_pulled:
        remedy = "is it pushed, is the tag right, does cluster.kube.pull_secrets name the registry's login?"
        return missing("image", f"{image} cannot be pulled: {ending.not_pulled}", remedy)
    if ending.refused:
        return _refused(job, ending.refused)
    if ending.failed:
        return warning("image", f"a pod of {image} failed: {ending.failed}", "is it built from the Dockerfile?")
    if ending.waits_for:
        said = f"whether {image} can be pulled is not known after {ending.took_s:.0f} s: {ending.waits_for}"
        return unknown("image", said, "cluster.kube.check_pod_s=600 waits longer")
    return ok("image", f"{image} was pulled and started within {ending.took_s:.0f} s")


def _refused(job: Job, refused: Refused) -> Finding:
    """What it means for the job's pods that the check's is refused: it is smaller, without GPUs, probes, priority."""
    said = one_line(refused.message)
    if any(words in refused.message for words in _OF_ALL):
        return missing("image", f"a pod like the job's is refused: {said}", "the job's pods are refused alike")
    image = f"whether {job.kube.image} can be pulled is not known: the check's pod is refused"
    if any(words in refused.message for words in _OF_SIZE):
        remedy = "its size is not that of the job's pods, for which quota and limit range are looked at"
        return unknown("image", f"{image}: {said}", remedy)
    remedy = "whoever made that rule knows whether it is for the job's pods, too: they have other sizes and probes"
    return warning("image", f"{image} ({refused.status}): {said}", remedy)


def _volume(job: Job, why: str) -> Finding:
    where = f"{job.kube.mount} (claim {job.kube.claim})"
    if why:
        remedy = (
            "the class ignores fsGroup, as NFS does: make the export writable for user 1000 (GKE: "
            "k8s/overlays/gke/owner.yaml, docs/kubernetes-clouds.md)"
        )
        return missing("volume", f"user 1000 cannot write to {where}: {why}", remedy)
    return ok("volume", f"pods write to {where}")


def _is_mountable(live: Live, job: Job) -> bool:
    """Whether the pod may mount the volume: one that is not bound would keep it from starting."""
    try:
        claim = live.get(VOLUME_CLAIMS, job.kube.claim, job.namespace)
    except Hidden:
        return True
    return claim is not None and (claim.get("status") or {}).get("phase") == "Bound"


def _is_api_closed(live: Live, job: Job) -> bool:
    """Whether the policies keep workers from the API server, so that trying it tells whether they are enforced."""
    try:
        found = [each["spec"] for each in live.find(POLICIES, job.namespace)]
    except Hidden:
        return False
    labels = labels_of(job.worker.template)
    egress = [
        each for each in found if "Egress" in each.get("policyTypes", []) and selects(each.get("podSelector"), labels)
    ]
    return bool(egress) and not any(_may_open(rule) for spec in egress for rule in spec.get("egress") or [])


def _may_open(rule: Object) -> bool:
    """Whether a rule lets out to addresses at the API server's usual ports, or to everything."""
    ports = [port.get("port") for port in rule.get("ports") or []]
    peers = rule.get("to")
    return (not ports or bool({None, 443, 6443} & {*ports})) and (
        peers is None or any("ipBlock" in each for each in peers)
    )
