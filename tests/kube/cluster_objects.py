"""Everything an API server keeps besides RayJobs, for the questions of `job=check`: objects by kind, discovery, rights.

objects.add("apps/v1", "deployments", {...})        as somebody applied it
objects.add_build(build("gpu"))                      an overlay, with the status that its controllers give it
objects.hidden.add("list nodes")                     what the user may not do, which SelfSubjectAccessReviews say, too
"""

import copy
import re
import uuid
from collections.abc import Callable
from typing import Any

from tests.kube.apistore import ApiStore, Object, Pod, StatusError, now
from tests.kube.overlays import Build
from tests.kube.rbac import Right

PATH = re.compile(
    r"/(?:api/v1|apis/([^/]+)/([^/]+))(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?$"
)  # group, version, namespace, plural, name
DISCOVERY = re.compile(r"/version$|/apis/([^/]+)(?:/([^/]+))?$")
OTHERS = ("rayjobs", "events")  # kinds that the rest of the server answers for
REVIEW = "selfsubjectaccessreviews"
METADATA_ONLY = "PartialObjectMetadata"
BUILT_IN = {"apps": ["v1"], "networking.k8s.io": ["v1"], "authorization.k8s.io": ["v1"], "discovery.k8s.io": ["v1"]}


class ClusterObjects:
    """What a user asks about; `asked` are paths with the `Accept` header that they were asked with."""

    def __init__(self, store: ApiStore, namespaces: tuple[str, ...]) -> None:
        self.version = "v1.36.0"
        self.groups: dict[str, list[str]] = {**BUILT_IN, "ray.io": ["v1"]}
        self.ray_kinds = ["rayjobs", "rayclusters", "rayservices", "raycronjobs"]
        self.asked: list[tuple[str, str]] = []
        self.pods_made: list[Object] = []
        self.kubelet: Callable[[Pod], None] = lambda pod: None  # what happens to a pod that is created
        self.refuses: Callable[[Object], str] = lambda pod: ""  # why admission does not take a pod
        self.hidden: set[str] = set()  # "VERB RESOURCE"
        self.used: set[Right] = set()  # that requests took
        self.rights: set[Right] | None = None  # that the user has in the namespace `platform`, and no others; None: all
        self._store = store
        self._objects: dict[str, Object] = {}
        for name in namespaces:
            self.add("v1", "namespaces", {"metadata": {"name": name}})

    def add(self, version: str, plural: str, content: Object) -> None:
        """An object of an apiVersion, as it is kept; another of the name is replaced."""
        group, slash, _ = version.partition("/")
        if slash:
            self.groups.setdefault(group, [version.partition("/")[2]])
        root = f"/apis/{version}" if slash else f"/api/{version}"
        meta = {"uid": str(uuid.uuid4()), "creationTimestamp": now()} | content["metadata"]
        within = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
        self._objects[f"{root}{within}/{plural}/{meta['name']}"] = {**content, "metadata": meta}

    def add_build(self, build: Build) -> None:
        """The objects of an overlay as somebody applied it."""
        for content in build.objects:
            self.add(content["apiVersion"], plural(content["kind"]), copy.deepcopy(content))

    def remove(self, plural: str, name: str = "") -> None:
        for path in [path for path in self._objects if re.search(rf"/{plural}/{name or '[^/]+'}$", path)]:
            del self._objects[path]

    def one(self, plural: str, name: str) -> Object:
        """To be changed by a test."""
        (found,) = [held for path, held in self._objects.items() if path.endswith(f"/{plural}/{name}")]
        return found

    def answer(self, method: str, path: str, query: dict[str, str], accept: str, body: Object) -> Object | None:
        """The answer to a request; None: it is for the rest of the server."""
        if found := DISCOVERY.match(path):
            return self._discovery(path, *found.groups())
        found = PATH.match(path)
        if not found or found[4] in OTHERS or (found[4] == "pods" and method == "GET" and not found[5]):
            return None
        group, version, namespace, plural, name = found.groups()
        self.asked.append((path, accept))
        if plural == REVIEW:
            return self._review(body)
        verb = {"POST": "create", "DELETE": "delete"}.get(method, "get" if name else "list")
        self._authorise(verb, group or "", plural, name if plural == "namespaces" else namespace)
        if plural == "pods":
            return self._pods(verb, namespace or "", name or "", body)
        if verb == "create":
            return self._create(f"{group}/{version}", plural, namespace, query, body)
        return self._get(path, plural, name, accept) if name else self._list(path, plural, query)

    def _discovery(self, path: str, group: str | None, version: str | None) -> Object:
        if path == "/version":
            return {"gitVersion": self.version}
        versions = self.groups.get(group or "", [])
        if not versions or (version and version not in versions):
            raise StatusError(404, "", "page")
        if version:
            names = self.ray_kinds if group == "ray.io" else []
            return {"kind": "APIResourceList", "resources": [{"name": name} for name in names]}
        listed = [{"groupVersion": f"{group}/{each}", "version": each} for each in versions]
        return {"kind": "APIGroup", "name": group, "versions": listed, "preferredVersion": listed[0]}

    def _review(self, review: Object) -> Object:
        asked = review["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        allowed = self._may(asked["verb"], asked.get("group") or "", resource, asked.get("namespace"))
        return {**review, "status": {"allowed": allowed}}

    def _may(self, verb: str, group: str, resource: str, namespace: str | None) -> bool:
        given = self.rights is None or (namespace == "platform" and Right(group, resource, verb) in self.rights)
        return given and f"{verb} {resource}" not in self.hidden

    def _authorise(self, verb: str, group: str, plural: str, namespace: str | None) -> None:
        if not self._may(verb, group, plural, namespace):
            where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
            said = f'User "jane" cannot {verb} resource "{plural}" in API group "{group}" {where}'
            raise StatusError(403, "Forbidden", f"{plural} is forbidden: {said}", kind=plural)
        self.used.add(Right(group, plural, verb))

    def _get(self, path: str, plural: str, name: str, accept: str) -> Object:
        if path not in self._objects:
            raise StatusError(404, "NotFound", f'{plural} "{name}" not found', name=name, kind=plural)
        held = copy.deepcopy(self._objects[path])
        return {"kind": METADATA_ONLY, "metadata": held["metadata"]} if METADATA_ONLY in accept else held

    def _list(self, path: str, plural: str, query: dict[str, str]) -> Object:
        """Of a namespace, or, without one, of all."""
        root = path.removesuffix(f"/{plural}")
        held = [
            copy.deepcopy(each)
            for where, each in self._objects.items()
            if re.fullmatch(rf"{re.escape(root)}(/namespaces/[^/]+)?/{plural}/[^/]+", where)
            if _selects(query.get("labelSelector", ""), each["metadata"].get("labels") or {})
        ]
        return {"kind": "List", "items": held}

    def _create(self, version: str, plural: str, namespace: str | None, query: dict[str, str], body: Object) -> Object:
        """Of a kind that the rest of the server does not know: a RayCronJob, which is only tried."""
        assert query.get("dryRun") == "All", f"a check creates {plural}"
        if version == "ray.io/v1" and plural not in self.ray_kinds:
            raise StatusError(404, "", "page")
        return body

    def _pods(self, verb: str, namespace: str, name: str, body: Object) -> Object:
        if verb == "create":
            if why := self.refuses(body):
                raise StatusError(
                    403, "Forbidden", f'pods "{body["metadata"]["name"]}" is forbidden: {why}', kind="pods"
                )
            self.pods_made.append(copy.deepcopy(body))
            pod = Pod({**body, "status": {"phase": "Pending"}})
            with self._store.changed:
                self._store.pods[namespace, body["metadata"]["name"]] = pod
            self.kubelet(pod)
            return pod.object
        with self._store.changed:
            if (namespace, name) not in self._store.pods:
                raise StatusError(404, "NotFound", f'pods "{name}" not found', name=name, kind="pods")
            held = copy.deepcopy(self._store.pods[namespace, name].object)
            if verb == "delete":
                self._store.delete_pod(name, namespace)
        return held


def plural(kind: str) -> str:
    """NetworkPolicy -> networkpolicies, PriorityClass -> priorityclasses."""
    word = kind.lower()
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}es" if word.endswith("s") else f"{word}s"


def _selects(selector: str, labels: dict[str, Any]) -> bool:
    """A selector of terms `key=value` and `key in (a,b)`."""
    for key, values, value in re.findall(r"([\w./-]+)(?: in \(([^)]*)\)|=([\w./-]+))", selector):
        if labels.get(key) not in ([each.strip() for each in values.split(",")] if values else [value]):
            return False
    return True
