"""The API server's refusals as one line with the remedy.

In: the answer and the manifest. Out: a ConfigError.
"""

import re

from platform.config.checks import ConfigError
from platform.kubernetes.client import Away, Cluster, Object, Refused
from platform.text import one_line

OPERATOR = (
    "helm repo add kuberay https://ray-project.github.io/kuberay-helm/ && "
    "helm install kuberay-operator kuberay/kuberay-operator --version 1.7.0 -n kuberay-system --create-namespace"
)
ROLE = "the Role platform-submitter (k8s/components/submitters)"  # whoever submits needs this and no more
QUEUE_ROLE = "the Role platform-submitter (k8s/components/submitters-queue)"  # and with a queue this
CHECKER = "the Role platform-checker (k8s/components/checkers)"  # what `job=check` reads of the namespace
_CANNOT = re.compile(
    r'(?:User "(?P<user>[^"]+)" )?cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"'
    r'(?: in API group "(?P<group>[^"]*)")?'
)
_WEBHOOK = re.compile(r'failed calling webhook "(?P<name>[^"]+)"')
_SERVICE = re.compile(r"https://(?P<service>[\w-]+)\.(?P<namespace>[\w-]+)\.svc")


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
            return ConfigError(forbidden(refused, kubectl, namespace))
        case 404 if "namespaces" in (refused.details.get("kind"), refused.message.partition(" ")[0]):
            return ConfigError(
                f"namespace {namespace} does not exist on {cluster.host}; is it the right cluster "
                "(cluster.kube.context)? Else whoever runs it applies its overlay: k8s/README.md"
            )
        case 404:
            return ConfigError(f"the API server {cluster.host} knows no RayJobs; install KubeRay: {OPERATOR}")
        case 409:
            return ConfigError(
                f"rayjob {namespace}/{name} was made by somebody just now; the same command compares and follows it"
            )
        case 400 | 422:
            return ConfigError(f"the API server finds the RayJob invalid: {_first_cause(refused)}")
        case 500 if refused.is_of_webhook:
            return ConfigError(_webhook(refused, kubectl))
    return ConfigError(f"the API server {cluster.host} refuses ({refused.status}): {said}")


def forbidden(refused: Refused, kubectl: str, namespace: str) -> str:
    """What you may not do (403), which Role gives it, and the command that tells."""
    found = _CANNOT.search(refused.message)
    if not found:
        said = one_line(refused.message)
        return f"you may not do this in namespace {namespace} (403): {said}; {ROLE} gives what it takes"
    resource, _, part = found["resource"].partition("/")
    named = f"{resource}.{found['group']}" if found["group"] else resource
    who = f"you ({found['user']})" if found["user"] else "you"
    role = QUEUE_ROLE if resource == "workloads" else ROLE
    return (
        f"{who} may not {found['verb']} {named}{f'/{part}' if part else ''} in namespace {namespace} (403); "
        f"{role} gives it, an administrator adds you to its group: "
        f"{kubectl} auth can-i {found['verb']} {named}{f' --subresource={part}' if part else ''} tells"
    )


def reason_of(trouble: Away | Refused, cluster: Cluster, namespace: str) -> str:
    """Why the API server gives no answer, or not this one, in a line."""
    if isinstance(trouble, Refused) and trouble.status == 403:
        return forbidden(trouble, cluster.kubectl(namespace), namespace)
    return one_line(str(trouble))


def _webhook(refused: Refused, kubectl: str) -> str:
    """A webhook that the API server has to ask about each RayJob, and that does not answer it."""
    name, service = _WEBHOOK.search(refused.message), _SERVICE.search(refused.message)
    everywhere = kubectl.partition(" -n ")[0]
    look = f"-n {service['namespace']} get pods,endpointslices" if service else "get validatingwebhookconfigurations"
    of = f" (service {service['service']} in namespace {service['namespace']})" if service else ""
    return (
        f"the cluster's webhook {name['name'] if name else ''}{of} does not answer, and no RayJob gets past it; your "
        f"network is fine: its pods have to run again, {everywhere} {look} shows them ({one_line(refused.message)})"
    )


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
