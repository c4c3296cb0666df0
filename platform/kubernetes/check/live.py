"""Questions to the API server with the rights of whoever asks: what these do not show is `Hidden`, never an error.

In: a cluster. Out: objects as plain dicts; None and empty lists for what is not there.
"""

from dataclasses import dataclass
from typing import Any

from platform.kubernetes.client import JSON, Cluster, Object, Refused
from platform.kubernetes.refusals import CHECKER

METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


@dataclass(frozen=True)
class Kind:
    """A resource of the API: "" is the core group."""

    group: str
    version: str
    plural: str

    @property
    def root(self) -> str:
        """The path of its version of the API."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def name(self) -> str:
        """As rights and `kubectl auth can-i` write it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None, name: str = "") -> str:
        """The path of one object, or of all; no namespace: of a kind that has none, or in all of them."""
        within = f"/namespaces/{namespace}" if namespace else ""
        return f"{self.root}{within}/{self.plural}" + (f"/{name}" if name else "")


CONFIG_MAPS = Kind("", "v1", "configmaps")
DAEMON_SETS = Kind("apps", "v1", "daemonsets")
DEPLOYMENTS = Kind("apps", "v1", "deployments")
ENDPOINTS = Kind("discovery.k8s.io", "v1", "endpointslices")
LIMIT_RANGES = Kind("", "v1", "limitranges")
NAMESPACES = Kind("", "v1", "namespaces")
NODES = Kind("", "v1", "nodes")
POLICIES = Kind("networking.k8s.io", "v1", "networkpolicies")
PODS = Kind("", "v1", "pods")
PRIORITY_CLASSES = Kind("scheduling.k8s.io", "v1", "priorityclasses")
QUOTAS = Kind("", "v1", "resourcequotas")
RAY_CRON_JOBS = Kind("ray.io", "v1", "raycronjobs")
RAY_JOBS = Kind("ray.io", "v1", "rayjobs")
REVIEWS = Kind("authorization.k8s.io", "v1", "selfsubjectaccessreviews")
SECRETS = Kind("", "v1", "secrets")
SERVICE_ACCOUNTS = Kind("", "v1", "serviceaccounts")
SERVICES = Kind("", "v1", "services")
STORAGE_CLASSES = Kind("storage.k8s.io", "v1", "storageclasses")
VOLUME_CLAIMS = Kind("", "v1", "persistentvolumeclaims")


# What the Role platform-checker shows of its namespace, by the names of kinds.
_SHOWN_BY_ROLE = (
    *(each.name for each in (ENDPOINTS, LIMIT_RANGES, NAMESPACES, POLICIES, QUOTAS, SERVICES, VOLUME_CLAIMS)),
    "localqueues.kueue.x-k8s.io",
)


class Hidden(Exception):
    """The rights of whoever asks do not show it; the message is the right that does, `remedy` the Role that has it."""

    def __init__(self, said: str, remedy: str = "") -> None:
        super().__init__(said)
        self.remedy = remedy


class Live:
    """What a cluster shows. Each question may raise `Hidden`, `Away` and, for what nothing here expects, `Refused`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._rights: dict[tuple[str, str, str | None], bool] = {}
        self._answers: dict[tuple[Any, ...], Object | Hidden | None] = {}  # several checks ask the same

    def get(self, kind: Kind, name: str, namespace: str | None = None, *, accept: str = JSON) -> Object | None:
        """One object; None: there is none."""
        return self._ask("get", kind, namespace, kind.path(namespace, name), accept)

    def metadata(self, kind: Kind, name: str, namespace: str) -> Object | None:
        """The metadata of one object, of which nothing else leaves the server."""
        found = self.get(kind, name, namespace, accept=METADATA_ONLY)
        return found["metadata"] if found else None

    def find(self, kind: Kind, namespace: str | None = None, *, selector: str = "") -> list[Object]:
        """All objects of a namespace, or of all; none where the server does not know the kind."""
        query = {"labelSelector": selector} if selector else {}
        found = self._ask("list", kind, namespace, kind.path(namespace), JSON, **query)
        return (found or {}).get("items") or []

    def find_anywhere(self, kind: Kind, namespace: str, *, selector: str = "") -> list[Object]:
        """The objects of all namespaces, or, with the rights of one only, of `namespace`."""
        try:
            return self.find(kind, selector=selector)
        except Hidden:
            return self.find(kind, namespace, selector=selector)

    def versions(self, group: str) -> list[str]:
        """The versions of an API group, the preferred one first; none: the server does not have the group."""
        found = self._ask("get", Kind(group, "", ""), None, f"/apis/{group}", JSON) or {}
        preferred = (found.get("preferredVersion") or {}).get("version")
        others = [each["version"] for each in found.get("versions") or [] if each["version"] != preferred]
        return [preferred, *others] if preferred else others

    def kinds(self, kind: Kind) -> set[str]:
        """What the API version of `kind` has, as plurals."""
        found = self._ask("get", kind, None, kind.root, JSON) or {}
        return {each["name"] for each in found.get("resources") or []}

    def may(self, verb: str, kind: Kind, namespace: str | None) -> bool:
        """Whether whoever asks may do this."""
        key = (verb, kind.name, namespace)
        if key not in self._rights:
            resource, _, part = kind.plural.partition("/")
            asked = {"verb": verb, "group": kind.group, "resource": resource, "subresource": part}
            review = {
                "apiVersion": f"{REVIEWS.group}/{REVIEWS.version}",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": asked | ({"namespace": namespace} if namespace else {})},
            }
            answer = self.cluster.request("POST", REVIEWS.path(None), review)
            self._rights[key] = bool(answer["status"].get("allowed"))
        return self._rights[key]

    def _ask(self, verb: str, kind: Kind, namespace: str | None, path: str, accept: str, **query: Any) -> Object | None:
        key = (path, accept, *query.items())
        if key not in self._answers:
            try:
                self._answers[key] = self.cluster.request("GET", path, accept=accept, **query)
            except Refused as refused:
                if refused.status not in (403, 404):
                    raise
                where = f" in namespace {namespace}" if namespace else ""
                remedy = f"{CHECKER} has it" if kind.name in _SHOWN_BY_ROLE else ""
                hidden = Hidden(f"needs the right to {verb} {kind.name or kind.group}{where}", remedy)
                self._answers[key] = hidden if refused.status == 403 else None
        answer = self._answers[key]
        if isinstance(answer, Hidden):
            raise answer
        return answer
