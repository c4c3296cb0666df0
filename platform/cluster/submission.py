"""An experiment as a job of a remote cluster: its command and name there, and checks of what it would not find there.

In: the command line and what it composes to here. Out: plain strings; neither Ray nor the cluster is asked.
"""

import getpass
import hashlib
import json
import os
import re
import shlex
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from platform.config.checks import ConfigError, require
from platform.config.cluster import ClusterConfig
from platform.config.data import MEMORY
from platform.config.experiment import Experiment
from platform.config.identity import identity
from platform.config.sections import Config
from platform.config.tracking import MLFLOW_SCHEMES
from platform.overrides import key_of
from platform.redaction import holds_secret

NAME, FOLDER, JOB, BY = "platform.name", "platform.folder", "platform.job", "platform.by"  # keys of a job's metadata
COMMAND = ["python", "-m", "platform.launch"]
HERE_ONLY = ("promote",)  # jobs whose result is in this checkout


def is_submitted(cluster: ClusterConfig) -> bool:
    """Whether `cluster.address` is of a Ray Jobs API, and not of a cluster to join."""
    return (cluster.address or "").startswith(("http://", "https://"))


@dataclass(frozen=True)
class Submission:
    """A job as it is submitted. Two with the same name, folder and job do the same work."""

    name: str
    folder: str
    job: str
    digest: str  # of the experiment's identity
    entrypoint: str  # for a shell
    by: str

    @property
    def metadata(self) -> dict[str, str]:
        return {NAME: self.name, FOLDER: self.folder, JOB: self.job, BY: self.by}

    def is_work_of(self, metadata: dict[str, str] | None) -> bool:
        """Whether a job with this metadata does the same work."""
        return all((metadata or {}).get(key) == self.metadata[key] for key in (NAME, FOLDER, JOB))

    def id(self, taken: set[str]) -> str:
        """The first id that is not taken: ids of ended jobs are not used again."""
        first = f"{self.name}-{self.digest}"
        number, found = 1, first
        while found in taken:
            number += 1
            found = f"{first}-{number}"
        return found


def submission(experiment: Experiment, as_given: Config, overrides: list[str]) -> Submission:
    """Describe the job to submit.

    Args:
        experiment: as composed.
        as_given: its config before paths were made absolute in this machine's directory.
        overrides: of the command line.

    Raises:
        ConfigError: a setting means something else on the cluster, or has a secret that others there could read.
    """
    config = experiment.config
    require(config.job not in HERE_ONLY, f"job={config.job} writes into this checkout; leave out cluster.address")
    require(
        config.job != "serve",
        f"cluster.address is {config.cluster.address}, of Ray's Jobs API, and job=serve answers where it is started; "
        "start it on the cluster's head with cluster.address=auto",
    )
    _refuse_relative(as_given)
    refuse_passwords(
        overrides_there(overrides),
        "which everybody who sees the cluster's jobs could read; leave it out and set it where Ray's nodes start "
        "(MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, PGPASSWORD)",
    )
    what = [config.job, {name: identity(asdict(member)) for name, member in experiment.members.items()}]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return Submission(experiment.name, str(experiment.folder), config.job, digest, entrypoint(overrides), _who())


def entrypoint(overrides: list[str]) -> str:
    """The shell command that runs the experiment on the cluster's head."""
    return shlex.join([*COMMAND, *overrides_there(overrides)])


def overrides_there(overrides: list[str]) -> list[str]:
    """The overrides for the cluster's head, which joins its own cluster."""
    return [override for override in overrides if key_of(override) != "cluster.address"] + ["cluster.address=auto"]


def difference(ours: str, theirs: str) -> str:
    """How an entrypoint differs from another, as `a=1 instead of a=2`; "": it does not."""
    mine, other = _overrides(ours), _overrides(theirs)
    more = " ".join(each for each in mine if each not in other) or "nothing"
    less = " ".join(each for each in other if each not in mine) or "nothing"
    return f"{more} instead of {less}" if sorted(mine) != sorted(other) else ""


def _overrides(entrypoint: str) -> list[str]:
    return shlex.split(entrypoint)[len(COMMAND) :]


def _refuse_relative(config: Config) -> None:
    """Refuse relative paths: a job's directory on the cluster is removed at its end."""
    relative = [(key, path) for key, path in _local_paths(config) if not path.startswith("/")]
    if relative:
        given = ", ".join(f"{key}={_prefix(config, key)}{path}" for key, path in relative)
        remedy = " ".join(f"{key}={_prefix(config, key)}/PATH/{path.removeprefix('./')}" for key, path in relative)
        raise ConfigError(
            f"{given}: relative, and would be lost with the job's directory on the cluster; "
            f"give paths that every node sees, or URLs: {remedy}"
        )


def _local_paths(config: Config) -> Iterator[tuple[str, str]]:
    """The settings that this job uses and that are paths on a disk: (key, path)."""
    yield "output_dir", config.output_dir
    shards = config.data.places
    yield from ((key, place) for key, place in shards.items() if "://" not in place)
    if config.storage.cache != MEMORY and any("://" in place for place in shards.values()):
        yield "storage.cache", config.storage.cache
    if config.data.source and ":" not in config.data.source:
        yield "data.source", config.data.source
    if config.checkpoint.copy_to and "://" not in config.checkpoint.copy_to:
        yield "checkpoint.copy_to", config.checkpoint.copy_to
    if (file := tracking_file(config.tracking.uri)) is not None:
        yield "tracking.uri", file
    if config.job == "predict":
        yield from (("predict.images", source) for source in config.predict.sources if "://" not in source)
        places = {"model": config.predict.model, "output": config.predict.output, "sheet": config.predict.sheet}
        yield from ((f"predict.{key}", path) for key, path in places.items() if path and ":/" not in path)
    if config.job == "bench":
        yield from (("bench.json", config.bench.json),) if config.bench.json else ()
        yield from (("bench.photos", config.bench.photos),) if config.bench.photos else ()


def tracking_file(uri: str) -> str | None:
    """The path of an MLflow store on a disk; None: it is a server."""
    prefix = _file_prefix(uri)
    return None if prefix is None else uri.removeprefix(prefix)


def database_file(uri: str) -> Path | None:
    """The file of an SQLite database; None: it is something else, or in memory."""
    name = tracking_file(uri) if uri.startswith("sqlite") else None
    name = (name or "").partition("?")[0]
    return None if not name or name.startswith((":memory:", "file:")) else Path(name).absolute()


def _file_prefix(uri: str) -> str | None:
    """The part of the URI before the path: `sqlite:///`, `file://`, or nothing; None: it is not on a disk."""
    if match := re.match(r"sqlite(\+\w+)?:///|file:(//)?", uri):
        return match[0]
    return None if "://" in uri or uri in MLFLOW_SCHEMES else ""


def _prefix(config: Config, key: str) -> str:
    return (_file_prefix(config.tracking.uri) or "") if key == "tracking.uri" else ""


def refuse_passwords(overrides: list[str], remedy: str) -> None:
    """Refuse overrides with a password or token in an address.

    Args:
        overrides: of a command that others can read.
        remedy: the end of the message: who could read it, and where it belongs.

    Raises:
        ConfigError: one has a secret.
    """
    for override in overrides:
        require(not holds_secret(override), f"{key_of(override)} holds a password or token, {remedy}")


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
