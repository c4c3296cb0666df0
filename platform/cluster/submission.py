"""An experiment as a job of a cluster that is elsewhere: its command there, its name, and what it would not find there.

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

from platform.config.checks import ConfigError, require
from platform.config.cluster import ClusterConfig
from platform.config.identity import identity
from platform.config.sections import MEMORY, MLFLOW_SCHEMES, Config, Experiment
from platform.overrides import key_of
from platform.redaction import holds_secret

NAME, FOLDER, JOB, BY = "platform.name", "platform.folder", "platform.job", "platform.by"  # keys of a job's metadata
COMMAND = ["python", "-m", "platform.launch"]
HERE_ONLY = ("promote",)  # jobs whose result is in this checkout


def is_submitted(cluster: ClusterConfig) -> bool:
    """Whether `cluster.address` is that of a Ray Jobs API, and not of a cluster to join."""
    return (cluster.address or "").startswith(("http://", "https://"))


@dataclass(frozen=True)
class Submission:
    """What a cluster is told. Two with the same name, folder and job are the same work."""

    name: str
    folder: str
    job: str
    digest: str  # of what the experiment is
    entrypoint: str  # for a shell
    by: str

    @property
    def metadata(self) -> dict[str, str]:
        return {NAME: self.name, FOLDER: self.folder, JOB: self.job, BY: self.by}

    def is_work_of(self, metadata: dict[str, str] | None) -> bool:
        """Whether a job with this metadata does the same."""
        return all((metadata or {}).get(key) == self.metadata[key] for key in (NAME, FOLDER, JOB))

    def id(self, taken: set[str]) -> str:
        """The first that is free: an id is used once, also of a job that has ended."""
        first = f"{self.name}-{self.digest}"
        number, found = 1, first
        while found in taken:
            number += 1
            found = f"{first}-{number}"
        return found


def submission(experiment: Experiment, as_given: Config, overrides: list[str]) -> Submission:
    """`as_given`: the config before its paths were made absolute against this machine's directory.

    Raises:
        ConfigError: something that means another thing on the cluster, or that others there must not read.
    """
    config = experiment.config
    require(config.job not in HERE_ONLY, f"job={config.job} writes into this checkout; leave out cluster.address")
    _refuse_relative(as_given)
    refuse_passwords(
        words_there(overrides),
        "which everybody who sees the cluster's jobs could read; leave it out and set it where Ray's nodes start "
        "(MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, PGPASSWORD)",
    )
    what = [config.job, {name: identity(asdict(member)) for name, member in experiment.members.items()}]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return Submission(experiment.name, str(experiment.folder), config.job, digest, entrypoint(overrides), _who())


def entrypoint(overrides: list[str]) -> str:
    """The command that a person on the head would type."""
    return shlex.join([*COMMAND, *words_there(overrides)])


def words_there(overrides: list[str]) -> list[str]:
    """The same words, but of the cluster that they are on."""
    return [word for word in overrides if key_of(word) != "cluster.address"] + ["cluster.address=auto"]


def different_words(ours: str, theirs: str) -> str:
    """How an entrypoint differs from another, as `a=1 instead of a=2`; empty: it does not."""
    mine, other = _words(ours), _words(theirs)
    more = " ".join(word for word in mine if word not in other) or "nothing"
    less = " ".join(word for word in other if word not in mine) or "nothing"
    return f"{more} instead of {less}" if sorted(mine) != sorted(other) else ""


def _words(entrypoint: str) -> list[str]:
    return shlex.split(entrypoint)[len(COMMAND) :]


def _refuse_relative(config: Config) -> None:
    """A job's directory on the cluster is a temporary one, of which nothing is left."""
    relative = [(key, path) for key, path in _local_paths(config) if not path.startswith("/")]
    if relative:
        given = ", ".join(f"{key}={_prefix(config, key)}{path}" for key, path in relative)
        remedy = " ".join(f"{key}={_prefix(config, key)}/PATH/{path.removeprefix('./')}" for key, path in relative)
        raise ConfigError(
            f"{given}: relative, and would be lost with the job's directory on the cluster; "
            f"give paths that every node sees, or URLs: {remedy}"
        )


def _local_paths(config: Config) -> Iterator[tuple[str, str]]:
    """The settings that name places on a disk and matter for this job."""
    yield "output_dir", config.output_dir
    if "://" not in config.data.shards:
        yield "data.shards", config.data.shards
    elif config.storage.cache != MEMORY:
        yield "storage.cache", config.storage.cache
    if config.data.source and ":" not in config.data.source:
        yield "data.source", config.data.source
    if config.checkpoint.copy_to and "://" not in config.checkpoint.copy_to:
        yield "checkpoint.copy_to", config.checkpoint.copy_to
    if (file := tracking_file(config.tracking.uri)) is not None:
        yield "tracking.uri", file
    if config.job == "bench":
        yield from (("bench.json", config.bench.json),) if config.bench.json else ()
        yield from (("bench.photos", config.bench.photos),) if config.bench.photos else ()


def tracking_file(uri: str) -> str | None:
    """The path of an MLflow store that is on a disk."""
    prefix = _file_prefix(uri)
    return None if prefix is None else uri.removeprefix(prefix)


def _file_prefix(uri: str) -> str | None:
    """What stands before the path: `sqlite:///`, `file://`, or nothing; None: it is not on a disk."""
    if match := re.match(r"sqlite(\+\w+)?:///|file:(//)?", uri):
        return match[0]
    return None if "://" in uri or uri in MLFLOW_SCHEMES else ""


def _prefix(config: Config, key: str) -> str:
    return (_file_prefix(config.tracking.uri) or "") if key == "tracking.uri" else ""


def refuse_passwords(words: list[str], remedy: str) -> None:
    """
    Raises:
        ConfigError: a word with an address that holds one; `remedy` says who could read it, and where it belongs.
    """
    for word in words:
        require(not holds_secret(word), f"{key_of(word)} holds a password or token, {remedy}")


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
