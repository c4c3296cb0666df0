"""What only a pod can see: that the image can be pulled, the volume written to, MLflow reached with the account.

In: the job, the rights. Out: findings; without a pod, what the API server knows of MLflow's Service.
"""

from typing import Any
from urllib.parse import quote, urlsplit

from platform.config.tracking import TrackingConfig
from platform.kubernetes.check import pod
from platform.kubernetes.check.finding import MISSING, WARNING, Finding, Findings, missing, ok, unknown, warning
from platform.kubernetes.check.job import Job, labels_of
from platform.kubernetes.check.live import ENDPOINTS, POLICIES, SERVICES, VOLUME_CLAIMS, Hidden, Live
from platform.kubernetes.check.network import selects
from platform.kubernetes.check.secret_keys import ACCOUNT
from platform.kubernetes.client import Object

_STORE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")


def from_within(live: Live, job: Job) -> Findings:
    """Start the pod where that may be done, and read its answers."""
    image, seconds = job.kube.image, job.kube.check_pod_s
    if not seconds:
        yield unknown("image", f"whether {image} can be pulled is not tried: cluster.kube.check_pod_s is 0")
        yield from _by_service(live, job)
        return
    if lacking := pod.lacking(live, job):
        said = f"whether {image} can be pulled needs the rights to {', '.join(lacking)} in namespace {job.namespace}"
        yield unknown("image", said)
        yield from _by_service(live, job)
        return
    print(f"starting a pod of {image} for at most {seconds} s (cluster.kube.check_pod_s)", flush=True)
    ending = pod.run(live, job, pod.manifest(job, _questions(live, job), mounted=_is_mountable(live, job)))
    yield _image(job, ending)
    if ending.answers:
        yield from _read(job, ending.answers)
    else:
        yield from _by_service(live, job)


def _questions(live: Live, job: Job) -> dict[str, Any]:
    tracking = _tracking_uri(job)
    asked = f"experiment_name={quote(job.config.tracking.experiment, safe='')}"
    return {
        "variables": [*ACCOUNT, *_STORE],
        "folder": job.kube.mount if _is_mountable(live, job) else "",
        "mlflow": f"{tracking}/api/2.0/mlflow/experiments/get-by-name?{asked}" if tracking else "",
        "closed": _is_api_closed(live, job),
    }


def _read(job: Job, answers: dict[str, Any]) -> Findings:
    held = answers["variables"]
    yield ok("environment", f"of the names looked for, the Secrets hold {', '.join(held) or 'none'}")
    if (why := answers.get("folder")) is not None:
        yield _volume(job, why)
    if "mlflow" in answers:
        yield _mlflow(job, answers["mlflow"], has_account=all(name in held for name in ACCOUNT))
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
        return missing(
            "image", f"a pod like the job's is refused: {ending.refused}", "the job's pods are refused alike"
        )
    if ending.failed:
        return warning("image", f"a pod of {image} failed: {ending.failed}", "is it built from the Dockerfile?")
    if ending.waits_for:
        said = f"whether {image} can be pulled is not known after {ending.took_s:.0f} s: {ending.waits_for}"
        return unknown("image", said, "cluster.kube.check_pod_s=600 waits longer")
    return ok("image", f"{image} was pulled and started within {ending.took_s:.0f} s")


def _volume(job: Job, why: str) -> Finding:
    where = f"{job.kube.mount} (claim {job.kube.claim})"
    if why:
        remedy = "the class ignores fsGroup, as NFS does: make the export writable for user 1000"
        return missing("volume", f"user 1000 cannot write to {where}: {why}", remedy)
    return ok("volume", f"pods write to {where}")


def _mlflow(job: Job, answer: int | str, *, has_account: bool) -> Finding:
    """What MLflow's answer means for the job, whose launcher asks the same."""
    uri = _tracking_uri(job)
    match answer:
        case 200 | 404:
            return ok("MLflow", f"{uri} answers" + (", and takes the account" if has_account else ""))
        case 401:
            given = "refuses the account of the Secrets" if has_account else "wants an account"
            names = " and ".join(ACCOUNT)
            return missing(
                "MLflow", f"{uri} {given} (401)", f"put {names} into a Secret that cluster.kube.secrets names"
            )
        case 403:
            said = f"{uri} does not let the account read the experiment {job.config.tracking.experiment} (403)"
            return missing("MLflow", said, "give it the permission EDIT there, or another tracking.experiment")
        case int():
            return _away(job.config.tracking, f"{uri} answers {answer}")
    return _away(job.config.tracking, f"{uri} is not reached from a pod: {answer}")


def _by_service(live: Live, job: Job) -> Findings:
    try:
        yield from _service(live, job)
    except Hidden as hidden:
        yield unknown("MLflow", f"whether a server is ready {hidden}")


def _service(live: Live, job: Job) -> Findings:
    """MLflow without a pod: whether a server is behind the Service."""
    host = urlsplit(_tracking_uri(job)).hostname or ""
    name, _, rest = host.partition(".")
    namespace = rest.partition(".")[0] or job.namespace
    if not host or (rest and ".svc" not in f".{rest}." and rest != namespace):
        yield unknown("MLflow", f"whether pods reach {host or 'it'} is not known here")
        return
    if live.get(SERVICES, name, namespace) is None:
        said = f"there is no Service {name} in namespace {namespace}"
        yield _away(job.config.tracking, said)
        return
    slices = live.find(ENDPOINTS, namespace, selector=f"kubernetes.io/service-name={name}")
    ready = sum(
        (each.get("conditions") or {}).get("ready", True) is not False
        for part in slices
        for each in part.get("endpoints") or []
    )
    if ready:
        yield ok(
            "MLflow", f"{ready} server(s) behind Service {name} are ready; whether they take the account is not known"
        )
    else:
        yield _away(job.config.tracking, f"no server behind Service {name} in namespace {namespace} is ready")


def _away(tracking: TrackingConfig, said: str) -> Finding:
    """MLflow does not answer: the job goes on, unless `tracking.required`."""
    state = MISSING if tracking.required else WARNING
    effect = "tracking.required ends the job" if tracking.required else "metrics wait in the run's folder"
    return Finding(state, "MLflow", f"{said}: {effect}", "kubectl get pods -l app.kubernetes.io/name=mlflow tells why")


def _tracking_uri(job: Job) -> str:
    """The server as pods are told of it; "": it is none."""
    uri = job.config.tracking.uri
    return (uri if uri.startswith(("http://", "https://")) else job.kube.tracking_uri).rstrip("/")


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
