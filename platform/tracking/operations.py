"""The operations on MLflow, a dataclass each; in the tracking journal each is a line of JSON.

Runs have keys of our own, made before MLflow knows of them; `mlflow_store` maps them to MLflow's run ids.
"""

from dataclasses import asdict, dataclass
from typing import Any

RUN_ID = "{run id}"  # in texts that are written before MLflow has given one


@dataclass(frozen=True)
class Start:
    """Make a run, or resume it: RUNNING, without its "error" tag; made again if somebody has deleted it."""

    run: str
    name: str
    parent: str | None
    began: float  # seconds since the epoch
    tags: dict[str, str]


@dataclass(frozen=True)
class Params:
    """Parameters of a run; those that it has already stay, as MLflow does not change any."""

    run: str
    values: dict[str, str]


@dataclass(frozen=True)
class Text:
    """A small text file among the artifacts; one that is there already stays."""

    run: str
    path: str
    text: str


@dataclass(frozen=True)
class Metrics:
    """Points (metric, value, step) logged at the same time."""

    run: str
    at_ms: int  # since the epoch
    points: list[tuple[str, float, int]]
    summary: bool = False  # written whether or not the run has later points


@dataclass(frozen=True)
class Tag:
    """Set a tag of a run; RUN_ID in its value becomes MLflow's id of the run."""

    run: str
    key: str
    value: str


@dataclass(frozen=True)
class Artifact:
    """Upload a file, with the content it has when MLflow answers."""

    run: str
    path: str
    folder: str | None


@dataclass(frozen=True)
class DatasetInput:
    """A data set that a run reads."""

    name: str
    digest: str  # of its index
    source: str  # folder or URL of its shards
    profile: dict[str, Any]  # counts
    context: str  # training, validation or test


@dataclass(frozen=True)
class Inputs:
    """Note the data sets that a run reads; known ones stay."""

    run: str
    datasets: list[DatasetInput]


@dataclass(frozen=True)
class Promoted:
    """Note on the run of a sweep that a run trains its winners; nothing where this MLflow has no such run."""

    run: str
    name: str  # of the promoted experiment
    sweep: str  # MLflow's id of the sweep's run


@dataclass(frozen=True)
class View:
    """Have MLflow's page of the experiment show the runs of one parent; written again, it is replaced."""

    run: str  # the parent's
    key: str  # in the link
    name: str
    params: list[str]  # that get a column
    group: str = ""  # value of the tag that the runs to show have; "": the children of the parent
    at_ms: int = 0  # since the epoch


@dataclass(frozen=True)
class NewModel:
    """Make a model of a run's, not ready yet; one of this key that is there stays."""

    run: str
    model: str  # our key
    name: str
    tags: dict[str, str]
    weights: str = ""  # a file for the run where MLflow takes no models; empty: none


@dataclass(frozen=True)
class ModelFile:
    """Upload a file into a folder of a model that is not ready yet."""

    run: str
    model: str
    path: str
    folder: str | None


@dataclass(frozen=True)
class ModelReady:
    """A model has all its files: it is ready, an output of the run, and has the scores."""

    run: str
    model: str
    at_ms: int  # since the epoch
    scores: dict[str, float]
    dataset: list[str]  # name and digest of the images that were scored; empty: not known


@dataclass(frozen=True)
class Finish:
    """End a run as FINISHED, FAILED or KILLED."""

    run: str
    status: str
    at_ms: int
    if_running: bool = False  # a run that has ended keeps its status


Operation = (
    Start
    | Params
    | Text
    | Metrics
    | Tag
    | Artifact
    | Inputs
    | Promoted
    | View
    | NewModel
    | ModelFile
    | ModelReady
    | Finish
)
KINDS: dict[str, type[Operation]] = {
    "start": Start,
    "params": Params,
    "text": Text,
    "metrics": Metrics,
    "tag": Tag,
    "artifact": Artifact,
    "inputs": Inputs,
    "promoted": Promoted,
    "view": View,
    "new_model": NewModel,
    "model_file": ModelFile,
    "model_ready": ModelReady,
    "finish": Finish,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def encode(operation: Operation) -> dict[str, Any]:
    """An operation as a plain dict for the journal."""
    return {"do": NAMES[type(operation)], **asdict(operation)}


def decode(content: dict[str, Any]) -> Operation:
    """The operation that `encode` has made a dict of.

    Raises:
        ValueError: another version of the platform wrote it.
    """
    fields = dict(content)
    try:
        kind = KINDS[fields.pop("do")]
        if kind is Inputs:
            fields["datasets"] = [DatasetInput(**each) for each in fields["datasets"]]
        return kind(**fields)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an operation: {str(content)[:100]}") from error
