"""The API server's refusals as one line with the remedy.

In: the answer and the manifest. Out: a ConfigError.
"""

from platform.config.checks import ConfigError
from platform.kubernetes.client import Cluster, Object, Refused
from platform.text import one_line

OPERATOR = (
    "helm repo add kuberay https://ray-project.github.io/kuberay-helm/ && "
    "helm install kuberay-operator kuberay/kuberay-operator --version 1.7.0 -n kuberay-system --create-namespace"
)


def explained(refused: Refused, cluster: Cluster, manifest: Object) -> ConfigError:
    """The error that says why `manifest` cannot be submitted, and what to do."""
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    kubectl = cluster.kubectl(namespace)
    said = one_line(refused.message)
    match refused.status:
        case 401:
            return ConfigError(
                f"the API server {cluster.host} does not take your credentials (401); log in to the cluster again: "
                f"{kubectl} auth whoami tells who you are"
            )
        case 403 if _is_admission(refused):
            return ConfigError(f"the cluster's rules forbid this RayJob (403): {said}")
        case 403:
            return ConfigError(
                f"you may not do this in namespace {namespace} (403): {said}; "
                f"{kubectl} auth can-i create rayjobs.ray.io tells, an administrator gives you the role"
            )
        case 404 if "namespaces" in (refused.details.get("kind"), refused.message.partition(" ")[0]):
            return ConfigError(
                f"namespace {namespace} does not exist; apply an overlay first, "
                f"such as {kubectl.partition(' -n ')[0]} apply -k k8s/overlays/dev"
            )
        case 404:
            return ConfigError(f"the API server {cluster.host} knows no RayJobs; install KubeRay: {OPERATOR}")
        case 409:
            return ConfigError(
                f"rayjob {namespace}/{name} was made by somebody just now; the same command compares and follows it"
            )
        case 400 | 422:
            return ConfigError(f"the API server finds the RayJob invalid: {_first_cause(refused)}")
    return ConfigError(f"the API server {cluster.host} refuses ({refused.status}): {said}")


def _is_admission(refused: Refused) -> bool:
    """Whether a 403 is of a quota, Pod Security or a webhook, where another role does not help."""
    return any(part in refused.message for part in ("exceeded quota", "admission webhook", "ValidatingAdmissionPolicy"))


def _first_cause(refused: Refused) -> str:
    causes = refused.details.get("causes") or []
    if not causes:
        return one_line(refused.message)
    first = causes[0]
    more = f" (and {len(causes) - 1} more)" if len(causes) > 1 else ""
    return one_line(": ".join(filter(None, (first.get("field"), first.get("message"))))) + more
