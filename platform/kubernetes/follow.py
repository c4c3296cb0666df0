"""Follow a RayJob to its end: a line for every change, the job's log, the job's exit code.

In: a RayJob. Out: text on the terminal. The job is polled every two seconds and not watched: a failed request is simply
repeated, and no change is missed.
"""

import queue
import sys
import time

from platform.console import clock
from platform.kubernetes.client import Away, Cluster, Object, Patience, Refused
from platform.kubernetes.logs import SubmitterLogs
from platform.kubernetes.refusals import reason_of
from platform.kubernetes.states import OVER, deployment_of, ended_at, ending, is_stopped, outlives_a_stop, then
from platform.kubernetes.status import Status
from platform.text import as_on_terminal

_WAITS = "Waiting for Ray Dashboard"  # what KubeRay's submitter says every two seconds while there is no head
LOST = 75  # sysexits' EX_TEMPFAIL: the job goes on, but we cannot see it


def follow(cluster: Cluster, job: Object, patience: Patience) -> int:
    """Print the RayJob's status and log until its end.

    Args:
        cluster: where it runs.
        job: as it was created or found.
        patience: time limits.

    Returns:
        0 if it succeeded, else its exit code; `LOST` if the API server does not answer any more.
    """
    return _Follower(cluster, job, patience).follow()


class _Follower:
    def __init__(self, cluster: Cluster, job: Object, patience: Patience) -> None:
        meta = job["metadata"]
        self._cluster, self._patience, self._job = cluster, patience, job
        self._namespace, self._name, self._uid = meta["namespace"], meta["name"], meta["uid"]
        self._logs = SubmitterLogs(cluster, self._namespace, self._name, patience)
        self._started = self._answered = time.monotonic()
        self._away = ""  # what the server that is away was last heard of
        self._said: set[str] = set()  # what is said once
        self._status = Status(cluster, self._namespace, self._name, patience, self._say_once)
        self._line = ""  # the newest status
        self._newest = ""  # line of the log
        self._colours = sys.stdout.isatty()

    def follow(self) -> int:
        self._logs.start()
        try:
            while True:
                job = self._look()
                if job is None:
                    return self._gone()
                if not self._away:
                    self._show(job)
                    if deployment_of(job) in OVER:
                        break
                elif time.monotonic() - self._answered > self._patience.away_s:
                    return self._lost()
                self._print_log(self._patience.poll_s)
            self._logs.finish(ended_at(job))
            self._print_rest()
        finally:
            self._logs.stop()
        code, text = ending(job)
        self._say(text)
        if is_stopped(job):
            self._clear_away(job)
        return code

    def _clear_away(self, job: Object) -> None:
        """Delete a job that somebody stopped: nothing else ends its pods."""
        if not outlives_a_stop(job):
            return
        try:
            self._cluster.delete(self._namespace, self._name, self._uid)
            self._say(f"rayjob {self._namespace}/{self._name} is deleted: a stop through Ray does not end its pods")
        except (Away, Refused) as trouble:
            kubectl, why = self._cluster.kubectl(self._namespace), reason_of(trouble, self._cluster, self._namespace)
            self._say(f"its pods stay until {kubectl} delete rayjob {self._name} --wait=false ({why})")

    def _look(self) -> Object | None:
        """The job as it is now, or as it was last seen if the server does not answer; None: it was deleted."""
        try:
            job = self._cluster.rayjob(self._namespace, self._name)
        except (Away, Refused) as trouble:
            plain, patience = reason_of(trouble, self._cluster, self._namespace), clock(self._patience.away_s)
            if not self._away:
                self._say(f"{plain}; the job goes on, waiting up to {patience} for an answer")
            self._away = plain
            return self._job
        if self._away:
            self._say("the API server answers again")
        self._away, self._answered = "", time.monotonic()
        if job is None or job["metadata"]["uid"] != self._uid:
            return None
        self._job = job
        return job

    def _show(self, job: Object) -> None:
        line = self._status.of(job)
        if line != self._line and deployment_of(job) not in OVER:
            self._say(line)
        self._line = line
        self._say_log_trouble()

    def _say_log_trouble(self) -> None:
        if self._logs.trouble:
            self._say_once(f"no log of the job: {self._logs.trouble}")

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)

    def _print_log(self, seconds: float) -> None:
        """Print the lines that arrive within so many seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                line = self._logs.lines.get(timeout=left)
            except queue.Empty:
                return
            if line is not None:
                self._print(line)

    def _print_rest(self) -> None:
        while True:
            try:
                line = self._logs.lines.get(timeout=self._patience.last_lines_s)
            except queue.Empty:
                self._say("the log may be longer: its end did not come")
                return
            if line is None:
                self._say_log_trouble()
                return
            self._print(line)

    def _print(self, line: str) -> None:
        if line == self._newest and line.startswith(_WAITS):
            return
        self._newest = line
        print(as_on_terminal(line, colours=self._colours), flush=True)

    def _say(self, text: str) -> None:
        print(f"{clock(time.monotonic() - self._started)} {text}", flush=True)

    def _gone(self) -> int:
        self._logs.finish()
        self._print_rest()
        status = self._job.get("status") or {}
        if status.get("jobStatus") == "SUCCEEDED":
            self._say("Complete: the job succeeded, and the RayJob was deleted")
            return 0
        self._say(f"the RayJob was deleted before its end; the same command makes it anew and {then(self._job)}")
        return 1

    def _lost(self) -> int:
        look = f"{self._cluster.kubectl(self._namespace)} get rayjob {self._name}"
        waited = clock(self._patience.away_s)
        self._say(f"{self._away} for {waited}; the job goes on: the same command follows it again, {look} shows it")
        return LOST
