"""Where the results are shown: the pages of MLflow that a run prints, and what starts them.

In: the tracking settings, and MLflow's ids of runs. Out: addresses and commands.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from platform.checkout import ROOT
from platform.cluster.submission import database_file
from platform.config.experiment import Experiment
from platform.config.tracking import TrackingConfig
from platform.experiment.folder import ExperimentFolder
from platform.tracking.journal import Journal
from platform.tracking.views import link

KEY_LENGTH = 12  # of a view's, in the link
LOCAL = "http://127.0.0.1:5000"  # of `make ui` and `mlflow ui`


@dataclass(frozen=True)
class Pages:
    """The pages of one experiment of ours."""

    runs: str  # the saved view of its members or trials
    parent: str  # the parent's run, with its report
    starts: str  # the command that starts the server; "": it is one already

    def lines(self, word: str) -> list[str]:
        """For the terminal: `word` (at most nine letters) and the link, and how to start the pages."""
        return [f"{word:<9} {self.runs}"] + ([f"{'':<9} started by: {self.starts}"] if self.starts else [])


def pages(tracking: TrackingConfig, experiment: str, parent: str, view: str) -> Pages:
    """The addresses.

    Args:
        tracking: the server or database.
        experiment: MLflow's id.
        parent: MLflow's id of the parent run.
        view: key of the saved view.
    """
    base = server_of(tracking.uri) or LOCAL
    starts = "" if server_of(tracking.uri) else start_command(tracking)
    run = f"{base}/#/experiments/{experiment}/runs/{parent}?workflowType=machine_learning"
    return Pages(link(base, experiment, view), run, starts)


def view_key(parent: str) -> str:
    """Key of the saved view of an experiment, by our key of its parent run."""
    return parent[:KEY_LENGTH]


def pages_of(experiment: Experiment) -> Pages | None:
    """Where MLflow shows the runs of an experiment that is over; None: MLflow has not got them."""
    folder = ExperimentFolder(experiment.folder)
    parent = folder.record().parent_run if folder.exists() else None
    known = Journal(folder.tracking, for_reading=True).notes.get(parent or "")
    if not parent or not known or not known.get("experiment"):
        return None
    return pages(experiment.config.tracking, known["experiment"], known["id"], view_key(parent))


def start_command(tracking: TrackingConfig) -> str:
    """What starts MLflow's pages on the database of `tracking.uri`."""
    file = database_file(tracking.uri)
    if file == ROOT / "mlflow.db" and Path.cwd() == ROOT:
        return "make ui"
    uri = f"sqlite:///{file}" if file else tracking.uri
    mlflow = shlex.quote(str(ROOT / ".venv" / "bin" / "mlflow"))
    return f"{mlflow} ui --backend-store-uri {shlex.quote(uri)}"


def server_of(uri: str) -> str:
    """The address of a server, without name and password; empty: it is none."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
