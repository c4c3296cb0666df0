"""Tracking that never waits: runs and metrics are queued in a journal on disk, and a daemon thread delivers it.

In: runs, metrics, files and ends, from the launcher. Out: the same in MLflow, in order and once. MLflow may be away at
any time (refusing, failing, hanging), and the launcher may be killed: then the next one delivers.
"""

import contextlib
import getpass
import logging
import threading
import time
import uuid
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from platform.config.identity import flatten
from platform.config.sections import TrackingConfig
from platform.daemon_thread import DaemonThread
from platform.experiment.origin import environment, git_commit
from platform.redaction import redacted
from platform.text import first_line
from platform.tracking.journal import Entry, Journal
from platform.tracking.operations import (
    Artifact,
    DatasetInput,
    Finish,
    Inputs,
    Metrics,
    ModelFile,
    ModelReady,
    NewModel,
    Operation,
    Params,
    Start,
    Tag,
    Text,
    View,
    decode,
    encode,
)
from platform.tracking.points import SYSTEM, in_order, is_kept

if TYPE_CHECKING:
    from platform.tracking.mlflow_store import DeliveredRun, Replica

log = logging.getLogger("platform.tracking.tracker")
ENTRIES_PER_BATCH = 1000
GATHER_S = 0.2  # between batches, so that they are worth their transaction
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # between attempts while MLflow is away
STUCK_AFTER = 8  # failures (about two minutes) of one operation while MLflow answers others: it is skipped
SAID_AFTER_S = 5.0  # without progress in `close`, before the wait is reported
AWAY_S, STALLED_S = 10.0, 60.0  # without progress in `close`, before it gives up: while MLflow is away, and otherwise


class Tracker:
    """The runs of one experiment. Every call but `close` returns at once, whatever MLflow does."""

    def __init__(self, tracking: TrackingConfig, journal: Journal) -> None:
        """Start the thread, which first delivers what is queued from earlier launches."""
        self._tracking, self._journal = tracking, journal
        self._began: dict[str, float] = {}  # run -> seconds since the epoch
        self._newest: dict[tuple[str, str], int] = {}  # (run, metric) -> step of its newest point in the journal
        self._remember()
        self._more = threading.Event()  # something to deliver, or the end
        self._hurry, self._closing = threading.Event(), threading.Event()
        self._progress = threading.Condition()
        self._away = False
        self._failures = 0  # of the operation in hand, while MLflow answers others
        self._said: set[str] = set()
        self._more.set()
        self._thread = DaemonThread("tracking", self._deliver_all)

    def start(
        self,
        name: str,
        config: dict[str, Any],
        *,
        parent: str | None = None,
        again: str | None = None,
        parameters: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
        began: float | None = None,
    ) -> str:
        """Start a run, or resume it.

        Args:
            name: shown by MLflow.
            config: the artifact config.yaml.
            parent: key of the parent run.
            again: key of a run to resume, or to make under this key.
            parameters: dotted key -> value; None: all of `config`.
            tags: more tags of a new run.
            began: seconds since the epoch, of a run that is new; None: now.

        Returns:
            our key of the run.
        """
        run = again or new_key()
        began = self._began.setdefault(run, began or time.time())
        values = flatten(config) if parameters is None else parameters
        self._put(Start(run, name, parent, began, _tags() | (tags or {})))
        self._put(Params(run, {key: redacted(str(value)) for key, value in values.items()}))
        self._put(Text(run, "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config))))
        self._put(Text(run, "environment.txt", environment()))
        return run

    def log(
        self, run: str, step: int, metrics: dict[str, float], at: float | None = None, total: int | None = None
    ) -> None:
        """Log metrics. Steps that the run has already are left out: a restarted member repeats steps.

        Args:
            run: key.
            step: global; for metrics named system/... the seconds since the run began are used instead.
            metrics: name -> value.
            at: seconds since the epoch; None: now.
            total: steps of the whole run, by which long series are thinned; None: they are not.
        """
        at = at or time.time()
        points = []
        for key, value in in_order(metrics).items():
            place = int(at - self._began.get(run, at)) if key.startswith(SYSTEM) else step
            if is_kept(key, value, place, self._newest.get((run, key)), total):
                self._newest[run, key] = place
                points.append((key, float(value), place))
        if points:
            self._put(Metrics(run, int(at * 1000), points))

    def summary(self, run: str, metrics: dict[str, float]) -> None:
        """Log final figures at step 0, whether or not the run has earlier ones."""
        points = [(key, float(value), 0) for key, value in metrics.items()]
        self._put(Metrics(run, int(time.time() * 1000), points, summary=True))

    def tag(self, run: str, key: str, value: str) -> None:
        """Set a tag of a run."""
        self._put(Tag(run, key, redacted(value)))

    def artifact(self, run: str, path: Path, folder: str | None = None) -> None:
        """Upload a file into a folder of the run's artifacts; it must stay where it is until it is delivered."""
        self._put(Artifact(run, str(path.absolute()), folder))

    def inputs(self, run: str, datasets: list[DatasetInput]) -> None:
        """Note the data sets that a run reads."""
        self._put(Inputs(run, datasets))

    def view(self, view: View) -> None:
        """Have MLflow's page show the runs of a parent as the link that is printed opens it."""
        self._put(view)

    def model(
        self,
        run: str,
        name: str,
        folder: Path,
        tags: dict[str, str],
        scores: dict[str, float],
        dataset: DatasetInput | None,
        *,
        leave_out: str = "",
    ) -> str:
        """Log a model folder as a model of a run, with its scores; once, however often this is called.

        Args:
            run: key.
            name: shown by MLflow.
            folder: in MLflow's format; it must stay where it is until it is delivered.
            tags: of the model.
            scores: final metrics of the model.
            dataset: the images that were scored; None: not known.
            leave_out: ending of files that are not uploaded; empty: all are.

        Returns:
            our key of the model: another folder has another one.
        """
        key = model_key(folder)
        self._put(NewModel(run, key, name, tags))
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        for file in files:
            if not (leave_out and file.name.endswith(leave_out)):
                within = file.parent.relative_to(folder).as_posix()
                self._put(ModelFile(run, key, str(file.absolute()), None if within == "." else within))
        self.model_output(run, key, scores, dataset)
        return key

    def model_output(self, run: str, model: str, scores: dict[str, float], dataset: DatasetInput | None) -> None:
        """Note a model that is logged as an output of a run, with scores."""
        images = [dataset.name, dataset.digest] if dataset else []
        self._put(ModelReady(run, model, int(time.time() * 1000), scores, images))

    def finish(self, run: str, status: str, *, at: float | None = None, if_running: bool = False) -> None:
        """End a run as FINISHED, FAILED or KILLED.

        Args:
            run: key.
            status: one of these.
            at: seconds since the epoch; None: now.
            if_running: only one that MLflow has, and that has not ended.
        """
        self._put(Finish(run, status, int((at or time.time()) * 1000), if_running))

    def close(self, wait_s: float = AWAY_S) -> int:
        """Wait for the delivery as long as it makes progress, then end the thread.

        Args:
            wait_s: seconds without progress after which to give up while MLflow is away.

        Returns:
            number of entries still queued in the journal.
        """
        self._hurry.set()
        self._more.set()
        waiting, since, said = self._journal.waiting, time.monotonic(), False
        with self._progress:
            while (
                waiting and self._thread.is_alive() and time.monotonic() - since < (wait_s if self._away else STALLED_S)
            ):
                self._progress.wait(0.2)
                if self._journal.waiting < waiting:
                    waiting, since = self._journal.waiting, time.monotonic()
                elif not said and not self._away and time.monotonic() - since > SAID_AFTER_S:
                    said = True
                    log.warning("waiting for MLflow at %s, %s", self._tracking.uri, self._thread.where())
        self._closing.set()
        self._more.set()
        self._thread.join(1)  # it may hang in a request, which the next launch repeats: it is a daemon thread
        self._journal.close()
        return self._journal.waiting

    def delivered(self, run: str) -> tuple[str, str] | None:
        """MLflow's ids of a run's experiment and of the run; None: MLflow has not got it yet."""
        known = self._journal.notes.get(run)
        return (known["experiment"], known["id"]) if known and known.get("experiment") else None

    def _remember(self) -> None:
        """Collect when runs began and the newest step of each metric, delivered or queued."""
        for run, known in self._journal.notes.items():
            self._began[run] = known["began"]
            self._newest |= {(run, key): step for key, step in known["newest"].items()}
        for entry in self._journal.on_disk():
            match entry.content:
                case {"do": "start", "run": run, "began": began}:
                    self._began[run] = began
                case {"do": "metrics", "run": run, "points": points, "summary": False}:
                    self._newest |= {(run, key): step for key, _, step in points}

    def _put(self, operation: Operation) -> None:
        self._journal.append(encode(operation))
        self._more.set()

    def _deliver_all(self) -> None:
        """The thread's loop: deliver batches, with growing pauses between attempts while MLflow is away."""
        replica: Replica | None = None
        pause_s = FIRST_PAUSE_S
        entries: list[Entry] = []  # read, and not delivered: reading them again for each batch would take longer
        while not self._closing.is_set():
            entries = entries or self._journal.read(ENTRIES_PER_BATCH)
            batch = _first_batch(entries)
            if not batch:
                self._wait_for_more()
                continue
            try:
                replica = replica or self._replica()
                self._deliver(replica, batch)
            except Exception as error:  # MLflow raises what SQLAlchemy, requests and its own code raise
                self._say_away(error)
                self._pause(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            pause_s, self._failures, entries = FIRST_PAUSE_S, 0, entries[len(batch) :]
            runs = {entry.content.get("run") for entry in batch}
            self._note(batch[-1].number, {run: known for run, known in replica.runs.items() if run in runs})

    def _replica(self) -> "Replica":
        from platform.tracking.mlflow_store import DeliveredRun, Replica  # MLflow takes seconds to import

        return Replica(self._tracking, {run: DeliveredRun(**known) for run, known in self._journal.notes.items()})

    def _deliver(self, replica: "Replica", batch: list[Entry]) -> None:
        """Deliver a batch without what MLflow refuses for good, which is reported."""
        try:
            replica.deliver([decode(entry.content) for entry in batch])
        except Exception as error:  # of any of MLflow's libraries
            if not self._leaves_out(replica, error):
                raise
            if len(batch) > 1:  # find out which of them
                for entry in batch:
                    self._deliver(replica, [entry])
            else:
                self._say_refused(batch[0], error)

    def _leaves_out(self, replica: "Replica", error: Exception) -> bool:
        from platform.tracking.mlflow_connection import Unreachable, refuses

        if refuses(error):
            return True
        if isinstance(error, Unreachable) or not replica.answers():
            self._failures = 0
        else:
            self._failures += 1
        return self._failures >= STUCK_AFTER

    def _note(self, number: int, runs: dict[str, "DeliveredRun"]) -> None:
        if self._away:
            self._away = False
            log.warning("MLflow at %s is back", self._tracking.uri)
        if not self._closing.is_set():  # else the journal may be another's by now
            self._journal.delivered(number, {run: asdict(known) for run, known in runs.items()})
        with self._progress:
            self._progress.notify_all()

    def _wait_for_more(self) -> None:
        self._more.wait()
        self._more.clear()
        self._hurry.wait(GATHER_S)

    def _pause(self, seconds: float) -> None:
        if self._hurry.wait(seconds):
            self._closing.wait(FIRST_PAUSE_S)

    def _say_away(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            log.warning(
                "MLflow at %s does not answer (%s); training goes on, metrics are queued in %s",
                self._tracking.uri,
                first_line(error),
                self._journal.path,
            )

    def _say_refused(self, entry: Entry, error: Exception) -> None:
        """Once for each reason."""
        content = entry.content
        message = f"MLflow at {self._tracking.uri} refuses {content.get('do')} of run {content.get('run')}"
        message += f" ({first_line(error)}); it is left out"
        if message not in self._said:
            self._said.add(message)
            log.warning("%s", message)


def model_key(folder: Path) -> str:
    """The key of a model in MLflow's format: that of its making."""
    import yaml

    return yaml.safe_load((folder / "MLmodel").read_text())["model_uuid"]


def new_key() -> str:
    """A new key for a run, before MLflow knows of it."""
    return uuid.uuid4().hex


def mlflow_ids(journal: Path) -> dict[str, str]:
    """Our keys of runs -> MLflow's run ids, of the runs that are delivered."""
    return {run: known["id"] for run, known in Journal(journal, for_reading=True).notes.items()}


def require_answer(tracking: TrackingConfig) -> None:
    """Check that MLflow answers, which is asked for by `tracking.required`.

    Raises:
        ConfigError: nothing answers at `tracking.uri`, or its experiment is deleted.
    """
    from platform.tracking.mlflow_connection import ask  # MLflow takes seconds to import

    ask(tracking)


def _first_batch(entries: list[Entry]) -> list[Entry]:
    """The metrics up to the first operation of another kind, or that one operation."""
    return list(takewhile(lambda entry: entry.content.get("do") == "metrics", entries)) or entries[:1]


def _tags() -> dict[str, str]:
    tags = {"mlflow.source.name": "platform.launch", "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(KeyError, OSError):  # a container's user may have no name
        tags |= {"mlflow.user": getpass.getuser()}
    return tags | ({"mlflow.source.git.commit": commit} if (commit := git_commit()) else {})
