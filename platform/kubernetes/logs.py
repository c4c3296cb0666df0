"""The log of a RayJob's submitters, one after another: every line once, however often the connection breaks.

In: the cluster and the RayJob's name. Out: lines in a queue, filled by a thread; None after the last.
"""

import queue
import re
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from platform.kubernetes.client import Away, Cluster, Object, Patience, Refused
from platform.kubernetes.refusals import forbidden
from platform.text import first_line, one_line

WAITING_LINES = 10_000  # read and not printed yet, at most
AFTER_END_S = 30.0  # of the job, in which the submitter prints its last lines; clocks of nodes may differ by as much
FAILURES = 3  # after which it is said; of an older pod the next one is read then: its node may be lost
SUBMITTER = "ray-job-submitter"  # the container; a mesh may put others beside it
_KUBELET = re.compile(r"https?://(?:[^/@ ]*@)?(?P<node>[^/:]+|\[[^]]+\]):\d+/containerLogs/[^ ]*: (?P<why>.*)")
# What `ray job logs` says before a traceback of its own, which follows this close code alone.
_BROKEN = re.compile(r"INFO sdk\.py:\d+ -- WebSocket closed for job \S+ with close code 1006\b")
_USUAL = ("ContainerCreating", "PodInitializing")  # what a container waits for that starts


class SubmitterLogs:
    """Reads the logs of all submitters of a RayJob on a daemon thread, in the order in which the pods were created."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, patience: Patience) -> None:
        self.lines: queue.Queue[str | None] = queue.Queue(WAITING_LINES)
        self.trouble = ""  # why a log cannot be read, the newest; of a server that is away `follow` tells
        self._cluster, self._namespace, self._name, self._patience = cluster, namespace, name, patience
        self._pods: dict[str, PodLog] = {}  # by uid
        self._said: dict[str, Counter[int]] = {}  # hashes of the lines of a submission, by its Job's uid
        self._over, self._stopped = threading.Event(), threading.Event()
        self._until: int | None = None  # seconds since 1970, after which a line is of no job any more

    def start(self) -> None:
        threading.Thread(target=self._run, name="submitter-logs", daemon=True).start()

    def finish(self, ended: float = 0.0) -> None:
        """Let the thread read the rest of the log, and end.

        Args:
            ended: when the job ended, in seconds since 1970; 0: not known. A submitter without a head goes on waiting
                for one, and saying so, after the operator has given up: those lines are not read.
        """
        self._until = int(ended + AFTER_END_S) if ended else None
        self._over.set()

    def stop(self) -> None:
        """End the thread; no more lines are needed."""
        self._stopped.set()
        self._over.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            over = self._over.is_set()  # before reading, which then finds all lines until now
            try:
                self._read_all()
                if over:
                    break
                self._over.wait(self._patience.poll_s)
            except Away:  # `follow` reports it
                self._stopped.wait(min(1.0, self._patience.poll_s))
            except Exception as error:  # or the reader of the lines would wait for a dead thread
                self.trouble = f"{type(error).__name__}: {first_line(error)}"
                break
        self._put(None)

    def _read_all(self) -> None:
        """Read the new lines of all pods into the queue.

        Raises:
            Away: the server does not answer; lines read before are in the queue.
        """
        try:
            pods = self._cluster.pods(self._namespace, f"job-name={self._name}")
            pods.sort(key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]))
            for pod in pods:
                self._read(pod, newest=pod is pods[-1])
        except Refused as refused:
            if refused.status == 401:  # the token has just expired: the next one is fetched
                raise Away(str(refused)) from refused
            kubectl = self._cluster.kubectl(self._namespace)
            self.trouble = (
                forbidden(refused, kubectl, self._namespace) if refused.status == 403 else one_line(str(refused))
            )

    def _read(self, pod: Object, *, newest: bool) -> None:
        """Read the new lines of one pod into the queue.

        Raises:
            Refused: we may not read the log.
            Away: the server does not answer, and reading is worth another attempt.
        """
        log = self._log(pod)
        follow = newest and not self._over.is_set()  # an older pod that still "runs" is on a lost node
        try:
            for line in log.read(self._cluster, self._namespace, pod, follow=follow):
                if log.is_new(line):
                    self._said[log.job][hash(line)] += 1
                    self._put(line)
                if _BROKEN.search(line):
                    self._put(f"{log.name} has lost its connection to the head, and ends; the next submitter goes on")
                    log.end()  # what follows is a traceback of Ray's
                    return
                if self._stopped.is_set() or log.is_after(self._until):
                    return
            log.answers = 0
        except Refused as refused:
            if refused.status == 404 and log.is_untouched:
                self.trouble = f"pod {log.name} was deleted before its log was read ({one_line(str(refused))})"
            elif refused.status == 400 and not any(each in refused.message for each in _USUAL):
                self.trouble = one_line(str(refused))  # such as: it waits for an image that cannot be pulled
            elif refused.status not in (400, 404):  # 400: it has not started yet; 404: it is gone already
                raise
        except Away as away:
            log.failures += 1
            log.answers = log.answers + 1 if away.answer else 0
            if log.answers >= FAILURES:
                self.trouble = _unreadable(log.name, away)
            if newest or log.failures < FAILURES:
                raise

    def _log(self, pod: Object) -> "PodLog":
        uid = pod["metadata"]["uid"]
        if uid not in self._pods:
            log = self._pods[uid] = PodLog(pod)
            log.expected = Counter(self._said.setdefault(log.job, Counter()))
        return self._pods[uid]

    def _put(self, line: str | None) -> None:
        while not self._stopped.is_set():
            try:
                self.lines.put(line, timeout=1.0)
                return
            except queue.Full:
                continue


class PodLog:
    """One pod's log: how far it was read."""

    def __init__(self, pod: Object) -> None:
        owners = pod["metadata"].get("ownerReferences") or [{}]
        self.name = str(pod["metadata"]["name"])
        self.job = str(owners[0].get("uid") or pod["metadata"]["uid"])  # the Kubernetes Job, one a submission
        self.expected: Counter[int] = Counter()  # hashes of the lines that earlier pods of this submission said
        self.failures = 0  # to read it
        self.answers = 0  # of these, one after another, those that the server explained
        self._last: tuple[int, str] | None = None  # time of the last line that was handed on
        self._last_as_said = ""
        self._with_last = 0  # lines handed on with that very time
        self._timeless = ""  # the last line without one: the node's own complaint
        self._done = False

    def is_new(self, line: str) -> bool:
        """Whether no earlier pod has printed the line: a second submitter prints the Ray job's whole log again."""
        if self.expected[hash(line)] > 0:
            self.expected[hash(line)] -= 1
            return False
        return True

    def end(self) -> None:
        """Read no more of it."""
        self._done = True

    def is_after(self, seconds: int | None) -> bool:
        """Whether its newest line is of a later time than that (since 1970)."""
        return seconds is not None and self._last is not None and self._last[0] > seconds

    @property
    def is_untouched(self) -> bool:
        """Whether nothing of it was read."""
        return self._last is None and not self._timeless

    def read(self, cluster: Cluster, namespace: str, pod: Object, *, follow: bool) -> Iterator[str]:
        """The lines that were not handed on yet, to the end of the connection."""
        if self._done:
            return
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        chunks = cluster.log(
            namespace,
            self.name,
            since=self._last_as_said or None,
            follow=follow and not ended,
            container=_container(pod),
        )
        yield from self._new(_lines(chunks, with_rest=ended))
        self._done = ended

    def _new(self, lines: Iterator[str]) -> Iterator[str]:
        """`lines` without those of an earlier connection: the server repeats those of the last second."""
        last, repeats = self._last, self._with_last
        for line in lines:
            said, _, text = line.partition(" ")
            time = _time(said)
            if time is None:
                if line != self._timeless:
                    yield line
                self._timeless = line
                continue
            if last and time < last:
                continue
            if last and time == last and repeats > 0:
                repeats -= 1
                continue
            if last and time > last:
                last = None  # from here on all are new, even if the node's clock is set back
            self._with_last = self._with_last + 1 if time == self._last else 1
            self._last, self._last_as_said = time, said
            yield text


def _container(pod: Object) -> str | None:
    names = [container.get("name") for container in (pod.get("spec") or {}).get("containers") or []]
    return SUBMITTER if len(names) > 1 and SUBMITTER in names else None


def _unreadable(pod: str, away: Away) -> str:
    """Why a log does not come while the server answers other questions: it asks the kubelet of the pod's node."""
    if found := _KUBELET.search(away.answer):
        return f"the kubelet of node {found['node']} (pod {pod}) does not answer ({found['why']}); it is asked again"
    return f"that of pod {pod} does not come ({away}); it is asked for again"


def _lines(chunks: Iterator[bytes], *, with_rest: bool) -> Iterator[str]:
    """Whole lines of a stream. `with_rest`: what is left without an end is one, too, as nobody will write its end."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if with_rest and rest:
        yield rest.decode(errors="replace")


def _time(said: str) -> tuple[int, str] | None:
    """A time of RFC 3339 as something that sorts: seconds, and a fraction of nine digits. None: it is no time."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", said)
    if not found:
        return None
    return int(datetime.fromisoformat(found[1] + found[3]).timestamp()), (found[2] or "").ljust(9, "0")
