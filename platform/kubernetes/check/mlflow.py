"""MLflow: what it answers to a pod with the job's account, or, without a pod, whether a server is behind its Service.

In: the job, the pod's answer. Out: findings.
"""

from typing import Any
from urllib.parse import quote, urlsplit

from platform.config.tracking import TrackingConfig
from platform.kubernetes.check.finding import MISSING, WARNING, Finding, Findings, missing, ok, unknown
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import ENDPOINTS, SERVICES, Hidden, Live
from platform.kubernetes.check.secret_keys import ACCOUNT

_PODS = "kubectl get pods -l app.kubernetes.io/name=mlflow tells why"
_TRUST = (
    "MLFLOW_TRACKING_SERVER_CERT_PATH in cluster.kube.env names its authority, a file in the image or on the volume"
)


def question(job: Job) -> str:
    """The address that the job's launcher asks before it trains; "": there is no server."""
    asked = f"experiment_name={quote(job.config.tracking.experiment, safe='')}"
    server = job.tracking_server
    return f"{server}/api/2.0/mlflow/experiments/get-by-name?{asked}" if server else ""


def from_pod(job: Job, answer: dict[str, Any]) -> Finding:
    """What MLflow's answer means for the job, whose launcher asks the same."""
    uri, tracking, account = job.tracking_server, job.config.tracking, answer.get("account")
    match answer.get("status"):
        case None:
            why = answer["why"]
            return _away(tracking, f"{uri} is not reached from a pod: {why}", _TRUST if "certif" in why else _PODS)
        case 200 | 404:
            return ok("MLflow", f"{uri} answers" + (f", and takes the {account}" if account else ""))
        case 401:
            given = f"refuses the {account} that the pods are given" if account else "wants an account"
            remedy = f"put {' and '.join(ACCOUNT)} into a Secret that cluster.kube.secrets names"
            return missing("MLflow", f"{uri} {given} (401)", remedy)
        case 403:
            said = f"{uri} does not let the {account or 'job'} read the experiment {tracking.experiment} (403)"
            return missing("MLflow", said, "give it the permission EDIT there, or another tracking.experiment")
        case status if 300 <= status < 400:
            to = f" to {answer['to']}" if answer.get("to") else ""
            said = f"{uri} answers {status}, a redirect{to}, which does not get the account"
            remedy = "give MLflow's own address in cluster.kube.tracking_uri, not one of a login page"
            return _away(tracking, said, remedy)
        case status:
            return _away(tracking, f"{uri} answers {status}")


def by_service(live: Live, job: Job) -> Findings:
    """MLflow without a pod."""
    try:
        yield from _service(live, job)
    except Hidden as hidden:
        yield unknown("MLflow", f"whether a server is ready {hidden}", hidden.remedy)


def _service(live: Live, job: Job) -> Findings:
    """Whether a server is behind the Service."""
    host = urlsplit(job.tracking_server).hostname or ""
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


def _away(tracking: TrackingConfig, said: str, remedy: str = _PODS) -> Finding:
    """MLflow does not answer: the job goes on, unless `tracking.required`."""
    state = MISSING if tracking.required else WARNING
    effect = "tracking.required ends the job" if tracking.required else "metrics wait in the run's folder"
    return Finding(state, "MLflow", f"{said}: {effect}", remedy)
