"""What is told to MLflow, one dataclass an operation; in the tracking journal each is a line of JSON.

Runs have keys of our own, made before MLflow has heard of them: `mlflow_store` knows which MLflow run each is.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Start:
    """Make a run, or take it up again: RUNNING, without its "error" tag; made anew if somebody has deleted it."""

    run: str
    name: str
    parent: str | None
    began: float  # seconds since the epoch
    tags: dict[str, str]


@dataclass(frozen=True)
class Params:
    """Settings of a run; the first launch's stay."""

    run: str
    values: dict[str, str]


@dataclass(frozen=True)
class Text:
    """A small file; the first launch's stays."""

    run: str
    path: str
    text: str


@dataclass(frozen=True)
class Metrics:
    """Points (metric, value, step) of one moment."""

    run: str
    at_ms: int  # since the epoch
    points: list[tuple[str, float, int]]
    summary: bool = False  # written whether or not the run has later points


@dataclass(frozen=True)
class Tag:
    run: str
    key: str
    value: str


@dataclass(frozen=True)
class Artifact:
    """A file, uploaded as it is when MLflow answers."""

    run: str
    path: str
    folder: str | None


@dataclass(frozen=True)
class Finish:
    run: str
    status: str
    at_ms: int
    if_running: bool = False  # leave one that has ended as it is


Operation = Start | Params | Text | Metrics | Tag | Artifact | Finish
KINDS: dict[str, type[Operation]] = {
    "start": Start,
    "params": Params,
    "text": Text,
    "metrics": Metrics,
    "tag": Tag,
    "artifact": Artifact,
    "finish": Finish,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def encode(operation: Operation) -> dict[str, Any]:
    return {"do": NAMES[type(operation)], **asdict(operation)}


def decode(content: dict[str, Any]) -> Operation:
    """
    Raises:
        ValueError: another version of the platform wrote it.
    """
    fields = dict(content)
    try:
        return KINDS[fields.pop("do")](**fields)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an operation: {str(content)[:100]}") from error
