"""The few calls of the Kubernetes API that submitting and following a RayJob takes.

In: a connection of `kubeconfig`. Out: objects as plain dicts. There are two errors: `Away`, after
which a request may be tried again, and `Refused`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import urllib3
from kubernetes.client import ApiClient, ApiException, CoreV1Api, CustomObjectsApi

from platform.text import first_line

GROUP, VERSION, PLURAL = "ray.io", "v1", "rayjobs"
Object = dict[str, Any]  # of Kubernetes, as its JSON
JSON = "application/json"
_PAGE = 500  # objects of a list that come at once, as kubectl asks for them


@dataclass(frozen=True)
class Patience:
    """Time limits and intervals in seconds."""

    connect_s: float = 5.0
    answer_s: float = 15.0  # between two bytes of an answer
    poll_s: float = 2.0  # between two looks at the job
    quiet_log_s: float = 60.0  # without a line, after which the log is opened again: the connection may be dead
    away_s: float = 300.0  # without an answer of the API server, after which following ends
    last_lines_s: float = 30.0  # for the rest of the log once the job is over
    operator_s: float = 30.0  # without a status of the job, after which the operator is probably missing


class Away(Exception):
    """The API server does not answer, or answers that it cannot now. The message is one line."""

    answer = ""  # what it says, if it does


@dataclass
class Refused(Exception):
    """The API server refuses a request."""

    status: int
    message: str
    reason: str = ""
    details: Object = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.message or self.reason} ({self.status})"

    @property
    def is_of_webhook(self) -> bool:
        """Whether a webhook that the server has to ask does not answer: 500, and the server itself is well."""
        return "failed calling webhook" in self.message


class Cluster:
    """The API server of a context. Every request may raise `Away` or `Refused`."""

    def __init__(self, api: ApiClient, context: str | None, patience: Patience) -> None:
        self.host = api.configuration.host
        self.context = context
        self._api = api
        self._objects, self._core = CustomObjectsApi(api), CoreV1Api(api)
        self._times = {"_request_timeout": (patience.connect_s, patience.answer_s)}
        self._log_times = (patience.connect_s, patience.quiet_log_s)

    def kubectl(self, namespace: str) -> str:
        """The beginning of a kubectl command for this cluster and namespace, for messages."""
        return f"kubectl {f'--context {self.context} ' if self.context else ''}-n {namespace}"

    def rayjob(self, namespace: str, name: str) -> Object | None:
        """The RayJob of that name; None: there is none."""
        try:
            return self._call(self._objects.get_namespaced_custom_object, GROUP, VERSION, namespace, PLURAL, name)
        except Refused as refused:
            if refused.status == 404 and refused.details.get("name") == name:
                return None
            raise

    def create(self, manifest: Object, *, dry_run: bool = False) -> Object:
        """Create a RayJob; the object as the server stores it, with defaults. Unknown fields are refused."""
        return self._call(
            self._objects.create_namespaced_custom_object,
            GROUP,
            VERSION,
            manifest["metadata"]["namespace"],
            PLURAL,
            manifest,
            field_manager="platform",
            field_validation="Strict",
            **({"dry_run": "All"} if dry_run else {}),
        )

    def delete(self, namespace: str, name: str, uid: str) -> None:
        """Delete the RayJob with this name and uid; it stays until everything it owns is gone."""
        # In the foreground: the next RayJob's submitter has the same name, and must not find this one's.
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Foreground"}
        delete = self._objects.delete_namespaced_custom_object
        try:
            self._call(delete, GROUP, VERSION, namespace, PLURAL, name, body=body)
        except Refused as refused:
            if refused.status not in (404, 409):  # it is gone already, or its name is another RayJob's
                raise

    def pods(self, namespace: str, selector: str) -> list[Object]:
        return self._list(self._core.list_namespaced_pod, namespace, label_selector=selector)

    def warnings(self, namespace: str) -> list[Object]:
        """The namespace's events of type Warning, all of them: the server has them by name, not by time."""
        return self._list(self._core.list_namespaced_event, namespace, field_selector="type=Warning")

    def log(
        self, namespace: str, pod: str, *, since: str | None, follow: bool, container: str | None = None
    ) -> Iterator[bytes]:
        """Yield a pod's log in chunks of bytes as it arrives; each line begins with its time.

        Args:
            namespace: of the pod.
            pod: its name.
            since: time of the first line in RFC 3339; lines of that second are sent again. None: from the beginning.
            follow: go on until the container ends.
            container: which; None: the pod has one.
        """
        # The generated method takes only an age in seconds, which depends on two clocks.
        query = [("timestamps", "true"), ("follow", str(follow).lower()), *([("sinceTime", since)] if since else [])]
        query += [("container", container)] if container else []
        request = self._api.param_serialize(
            "GET",
            "/api/v1/namespaces/{namespace}/pods/{name}/log",
            path_params={"namespace": namespace, "name": pod},
            query_params=query,
            header_params={"Accept": "*/*"},
            auth_settings=["BearerToken"],
        )
        response: urllib3.BaseHTTPResponse | None = None
        try:
            answer = self._api.call_api(*request, _request_timeout=self._log_times)
            response = answer.response
            if answer.status == 204:  # the pod is on no node yet
                return
            if answer.status != 200:
                raise _translated(ApiException(http_resp=_with_data(answer)), self.host)
            yield from answer.response.stream(65536)
        except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _translated(error, self.host) from error
        finally:
            if response is not None:
                response.close()  # or the unread rest of the log would be read as the next answer

    def request(
        self, method: str, path: str, body: Object | None = None, *, accept: str = JSON, **query: str
    ) -> Object:
        """Send a request that none of the methods above sends; the answer as JSON."""
        headers = {"Accept": accept} | ({"Content-Type": JSON} if body is not None else {})
        request = self._api.param_serialize(
            method, path, query_params=[*query.items()], header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            answer = self._api.call_api(*request, **self._times)
            answer.read()
            if not 200 <= answer.status < 300:
                raise _translated(ApiException(http_resp=answer), self.host)
            return json.loads(answer.data or b"{}")
        except (ApiException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _translated(error, self.host) from error

    def _list(self, method: Any, namespace: str, **query: Any) -> list[Object]:
        """All objects of a list, page by page."""
        found: list[Object] = []
        while True:
            # As JSON: the client's classes refuse what newer servers say.
            response = self._call(method, namespace, _preload_content=False, limit=_PAGE, **query)
            try:
                page = json.loads(response.data)
                found += page.get("items") or []
                rest = (page.get("metadata") or {}).get("continue")
            except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
                raise _translated(error, self.host) from error
            if not rest:
                return found
            query["_continue"] = rest

    def _call(self, method: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(*args, **options, **self._times)
        except (ApiException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _translated(error, self.host) from error


def _with_data(answer: Any) -> Any:
    answer.read()
    return answer


def _translated(error: Exception, host: str) -> Away | Refused:
    if isinstance(error, ApiException) and error.status:
        return _of_answer(error, host)
    return Away(f"the API server {host} cannot be reached: {_cause(error)}")


def _of_answer(error: ApiException, host: str) -> Away | Refused:
    """The error for an answer, with only the message and the details of its Status."""
    try:
        body = json.loads(error.body or "")
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    message = str(body.get("message") or error.reason or "")
    status = int(error.status or 0)
    refused = Refused(status, message, str(body.get("reason") or ""), body.get("details") or {})
    if (status >= 500 or status in (408, 429)) and not refused.is_of_webhook:
        said = first_line(ValueError(message))
        away = Away(f"the API server {host} answers {status}: {said}")
        away.answer = said
        return away
    return refused


def _cause(error: Exception) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return first_line(error).rpartition(": ")[2]
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return "it does not answer"
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "it takes the connection and says nothing"
    text = error.reason if isinstance(error, ApiException) else str(error)  # an SSLError, wrapped
    return " ".join(str(text or type(error).__name__).split())[:300]
