"""Tracking that never waits: runs and metrics are queued in a journal on disk, which `delivery` delivers.

In: runs, metrics, files and ends, from the launcher. Out: the same in MLflow, in order and once. MLflow may be away at
any time (refusing, failing, hanging), and the launcher may be killed: then the next one delivers.
"""

import contextlib
import getpass
import time
import uuid
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from platform.config.identity import flatten
from platform.config.tracking import TrackingConfig
from platform.experiment.origin import environment, git_commit
from platform.redaction import redacted
from platform.tracking.delivery import AWAY_S, Delivery
from platform.tracking.journal import Journal
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
    Promoted,
    Start,
    Tag,
    Text,
    View,
    encode,
)
from platform.tracking.parameters import name_of
from platform.tracking.points import SYSTEM, in_order, is_kept


class Tracker:
    """The runs of one experiment. Every call but `close` returns at once, whatever MLflow does."""

    def __init__(self, tracking: TrackingConfig, journal: Journal, *, held: bool = False) -> None:
        """Start the thread, which first delivers what is queued from earlier launches; where it is `held`, when
        `deliver` is called."""
        self._journal = journal
        self._began: dict[str, float] = {}  # run -> seconds since the epoch
        self._newest: dict[tuple[str, str], int] = {}  # (run, metric) -> step of its newest point in the journal
        self._remember()
        self._delivery = Delivery(tracking, journal, held=held)

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
        self._put(Params(run, {name_of(key): redacted(str(value)) for key, value in values.items()}))
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

    def promoted(self, run: str, name: str, sweep: str) -> None:
        """Have the run of a sweep point to a run that trains its winners; `sweep` is MLflow's id of that run."""
        self._put(Promoted(run, name, sweep))

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
        weights: Path | None = None,
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
            weights: a file that the run gets where MLflow takes no models, as before 3.0; None: none.

        Returns:
            our key of the model: another folder has another one.
        """
        key = model_key(folder)
        self._put(NewModel(run, key, name, tags, str(weights.absolute()) if weights else ""))
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
        """Wait for the delivery as long as it makes progress, then end it.

        Args:
            wait_s: seconds without progress after which to give up while MLflow is away.

        Returns:
            number of entries still queued in the journal.
        """
        self._delivery.close(wait_s)
        self._journal.close()
        return self._journal.waiting

    def deliver(self) -> None:
        """MLflow gets what is queued from now on; returns at once."""
        self._delivery.release()

    @property
    def is_delivered(self) -> bool:
        """Whether MLflow gets what is queued."""
        return self._delivery.is_released

    @property
    def queued(self) -> int:
        """Number of entries of the journal that MLflow has not got yet."""
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
        self._delivery.go_on()


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


def _tags() -> dict[str, str]:
    tags = {"mlflow.source.name": "platform.launch", "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(KeyError, OSError):  # a container's user may have no name
        tags |= {"mlflow.user": getpass.getuser()}
    return tags | ({"mlflow.source.git.commit": commit} if (commit := git_commit()) else {})
