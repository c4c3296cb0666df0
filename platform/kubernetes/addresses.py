"""Where to look while a job runs: Ray's dashboard, MLflow. Commands only for what whoever asks may do.

In: a RayJob, MLflow's address as the pods have it. Out: lines for the terminal.
"""

from urllib.parse import urlsplit

from platform.kubernetes.check.live import SECRETS, SERVICES, Kind, Live
from platform.kubernetes.client import Away, Cluster, Refused

_PORT = 5000  # MLflow's here
_FORWARDED = (("create", Kind("", "v1", "pods/portforward")), ("get", Kind("", "v1", "pods")), ("get", SERVICES))
_OF_OPERATORS = "takes the operator's rights"


def lines(cluster: Cluster, namespace: str, name: str, tracking_uri: str) -> list[str]:
    """A line for each place.

    Args:
        cluster: where the job runs.
        namespace: of the RayJob.
        name: of the RayJob.
        tracking_uri: of MLflow, as the pods have it.
    """
    kubectl, live = cluster.kubectl(namespace), Live(cluster)
    forwards = _may(live, namespace, *_FORWARDED)
    found = [
        f"  cluster    CLUSTER=$({kubectl} get rayjob {name} -o jsonpath={{.status.rayClusterName}})",
        f"  dashboard  {kubectl} port-forward svc/$CLUSTER-head-svc 8265   then http://localhost:8265",
        f"  its token  {kubectl} get secret $CLUSTER -o jsonpath={{.data.auth_token}} | base64 -d",
    ]
    if not forwards or not _may(live, namespace, ("get", SECRETS)):
        found = [f"  dashboard  to forward its port and read its token {_OF_OPERATORS}"]
    service = service_of(tracking_uri, namespace)
    if service is None:
        return [*found, f"  MLflow     {tracking_uri}"]
    of, own, port = service
    ports = f"{_PORT}" if port == _PORT else f"{_PORT}:{port}"
    command = f"{cluster.kubectl(of)} port-forward svc/{own} {ports}   then http://localhost:{_PORT}"
    mine = _may(live, of, *_FORWARDED) if of != namespace else forwards
    return [*found, f"  MLflow     {command if mine else f'{of}/{own}: to forward its port {_OF_OPERATORS}'}"]


def service_of(uri: str, namespace: str) -> tuple[str, str, int] | None:
    """Namespace, name and port of the Service that an address of pods means; None: it is reached from elsewhere, too.

    Args:
        uri: http or https.
        namespace: of the pods.
    """
    parts = urlsplit(uri)
    name, *domain = (parts.hostname or "").split(".")
    if not domain or domain == [namespace] or domain[1:2] == ["svc"]:
        return (domain or [namespace])[0], name, parts.port or (443 if parts.scheme == "https" else 80)
    return None


def _may(live: Live, namespace: str, *rights: tuple[str, Kind]) -> bool:
    """Whether all of it is allowed; where the server does not say, it may be."""
    try:
        return all(live.may(verb, kind, namespace) for verb, kind in rights)
    except (Away, Refused):
        return True
