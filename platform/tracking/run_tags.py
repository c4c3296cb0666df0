"""The tags that our MLflow runs begin with: which kind of run, of which experiment, by which command, on what data.

In: an experiment. Out: tags for its parent run and for each member or trial.
"""

import shlex

from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.data.index import Index
from platform.evaluation.report import COLOURS
from platform.redaction import redacted
from platform.tracking.lineage import begun_with, promotion
from platform.tracking.views import GROUP_TAG

TRAINING, ENSEMBLE, TABLE, MEMBER = "training", "ensemble", "table", "member"  # values of `kind`
SWEEP, TRIAL = "sweep", "trial"
COLOUR_TAG, OF_THE_WHOLE = "mlflow.runColor", "#777777"  # of an ensemble: seen on light and dark pages


def kind_of(experiment: Experiment) -> str:
    """What the parent run is: a training of one network, an ensemble, a table whose rows are compared, or a sweep."""
    if experiment.config.job == "sweep":
        return SWEEP
    if experiment.config.ensemble.members and experiment.config.table.has_rows:
        return TABLE
    return ENSEMBLE if experiment.config.ensemble.members else TRAINING


def of_parent(experiment: Experiment, group: str, data: Index | None) -> dict[str, str]:
    """The tags of the parent run; `group` is its key."""
    tags = {"kind": kind_of(experiment), GROUP_TAG: group, "seed": str(experiment.config.seed)}
    tags[COLOUR_TAG] = COLOURS[0] if tags["kind"] == TRAINING else OF_THE_WHOLE
    tags["command"] = command(experiment)
    if data:
        tags["data"] = data_digests(data)
    if promoted := promotion(experiment):
        tags["lineage"] = promoted.text
    return tags | begun_with(experiment.config)


def of_child(experiment: Experiment, config: Config, group: str, number: int, data: Index | None) -> dict[str, str]:
    """The tags of a member's or trial's run; `number` counts them, for its colour: that of the report."""
    own = TRIAL if kind_of(experiment) == SWEEP else MEMBER
    shared = of_parent(experiment, group, data)
    shared |= {"kind": own, "seed": str(config.seed), COLOUR_TAG: COLOURS[number % len(COLOURS)]}
    return shared | begun_with(config)


def command(experiment: Experiment) -> str:
    """The command line that runs the experiment again, without passwords."""
    return redacted(shlex.join(["python", "-m", "platform.launch", *experiment.overrides]))


def data_digests(data: Index) -> str:
    """Which images they are: for each split a digest of its shards."""
    others = {f"also.{name}": other.split("train") for name, other in data.also.items()}
    return ", ".join(f"{name} {split.digest}" for name, split in (data.splits | others).items())
