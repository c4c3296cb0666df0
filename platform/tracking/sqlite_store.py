"""MLflow's SQLite database looked at without MLflow, which takes seconds to import: can this MLflow use it as it is?

In: the tracking settings. Out: an error or a warning with its remedy before anything is trained; the newest saved view.
"""

import contextlib
import importlib.util
import json
import re
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from platform.cluster.submission import database_file
from platform.config.checks import ConfigError
from platform.config.tracking import TrackingConfig
from platform.tracking.views import TAG

REVISION = re.compile(r"^(?P<kind>revision|down_revision)\b[^=\n]*=\s*(?P<names>.*)$", re.MULTILINE)
TIMEOUT_S = 5.0  # while somebody writes


def require_usable(tracking: TrackingConfig) -> str | None:
    """Check the database of `tracking.uri`, if it is an SQLite file that is there.

    Returns:
        a warning with its remedy; None: there is nothing to say.

    Raises:
        ConfigError: it is of another version of MLflow's, or its experiment is deleted.
    """
    file = database_file(tracking.uri)
    if file is None or not file.exists():
        return None
    try:
        with _opened(file) as database:
            _require_version(database, tracking.uri)
            query = "select experiment_id, lifecycle_stage, artifact_location from experiments where name = ?"
            found = database.execute(query, (tracking.experiment,)).fetchone()
            if found is None:
                return None
            number, stage, place = found
            if stage != "active":
                raise ConfigError(deleted(tracking.experiment, str(number)))
            has_runs = database.execute("select 1 from runs where experiment_id = ? limit 1", (number,)).fetchone()
            return moved(file, tracking.experiment, str(place), has_runs=has_runs is not None)
    except sqlite3.Error:  # empty, locked, no database: MLflow or the check of places says what
        return None


def require_there(tracking: TrackingConfig, wanted: str) -> None:
    """Refuse to read from an SQLite database that is not there: MLflow would make an empty one.

    Args:
        tracking: its settings.
        wanted: what is wanted of it, for the message.

    Raises:
        ConfigError: there is no such file.
    """
    file = database_file(tracking.uri)
    if file is not None and not file.exists():
        raise ConfigError(f"{wanted}, and there is no MLflow database {file}; give the tracking.uri that has it")


def deleted(experiment: str, number: str) -> str:
    """What is said of an experiment that somebody has deleted."""
    return (
        f"MLflow experiment {experiment} is deleted; restore it (mlflow experiments restore --experiment-id "
        f"{number}, or in its pages), or give another tracking.experiment"
    )


def moved(database: Path, experiment: str, place: str, *, has_runs: bool) -> str | None:
    """What is said where a database was moved or copied: MLflow keeps the absolute path of its files in it.

    Args:
        database: the file, as it is called now.
        experiment: its name.
        place: where the database says that the experiment's files are.
        has_runs: whether anything was written there.
    """
    if "://" in place.removeprefix("file://"):
        return None
    noted = Path(unquote(place.removeprefix("file://")))
    beside = database.parent / noted.parent.name / noted.name  # where they are if both were moved with their folder
    if noted.exists() and (not beside.exists() or beside.samefile(noted)):
        return None
    if not beside.exists() and not has_runs:
        return None
    there = f" ({beside} is not used)" if beside.exists() else ""
    link = f"ln -s {shlex.quote(str(beside))} {shlex.quote(str(noted))}"
    if not noted.parent.is_dir():
        link = f"mkdir -p {shlex.quote(str(noted.parent))} && {link}"
    return (
        f"the MLflow database {database} was moved: experiment {experiment} keeps its files in {noted}{there}, "
        f"where new ones go, too; move them back, put a link there ({link}), "
        "or give another tracking.experiment"
    )


def newest_view(file: Path) -> tuple[str, str] | None:
    """The experiment and key of the view that was saved last, by MLflow's ids; None: there is none."""
    try:
        with _opened(file) as database:
            query = (
                "select experiment_id, key, value from experiment_tags join experiments using (experiment_id) "
                "where lifecycle_stage = 'active' and key like ?"
            )
            views = database.execute(query, (f"{TAG}%",)).fetchall()
    except sqlite3.Error:
        return None
    dated = [(_saved_at(value), str(number), key.removeprefix(TAG)) for number, key, value in views]
    return max(dated)[1:] if dated else None


def _saved_at(value: str) -> int:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return int(json.loads(value)["updatedAt"])
    return 0


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """Read only: looking never makes or changes a database."""
    database = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=TIMEOUT_S)
    with contextlib.closing(database):
        yield database


def _require_version(database: sqlite3.Connection, uri: str) -> None:
    """Refuse a database whose tables are of another version of MLflow's.

    Raises:
        ConfigError: with the command that changes that, if there is one.
    """
    newest, known = _revisions()
    versions = [str(row[0]) for row in database.execute("select version_num from alembic_version")]
    odd = [version for version in versions if version != newest]
    if not odd or not newest:
        return
    if odd[0] in known:
        remedy = f"copy the file, then run: mlflow db upgrade {shlex.quote(uri)}"
    else:
        remedy = "a newer MLflow has made it; use that version, or give another tracking.uri"
    raise ConfigError(
        f"the MLflow database of tracking.uri={uri} has tables of version {odd[0]}, not {newest}; {remedy}"
    )


def _revisions() -> tuple[str, set[str]]:
    """The version of the tables of the MLflow that is installed, and all that it knows, from its migrations."""
    found = importlib.util.find_spec("mlflow")  # does not import it
    if found is None or not found.submodule_search_locations:
        return "", set()
    folder = Path(found.submodule_search_locations[0]) / "store" / "db_migrations" / "versions"
    own: set[str] = set()
    before: set[str] = set()
    for file in folder.glob("*.py"):
        for line in REVISION.finditer(file.read_text(encoding="utf-8")):
            names = re.findall(r"['\"](\w+)['\"]", line["names"])
            (own if line["kind"] == "revision" else before).update(names)
    heads = own - before
    return (heads.pop() if len(heads) == 1 else ""), own
