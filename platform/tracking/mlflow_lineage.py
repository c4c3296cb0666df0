"""The way from a sweep's run to the experiments that were promoted from it, as a tag and a link in its description.

In: MLflow's ids, and descriptions as they are set. Out: both on the sweep's run, if it is there.
"""

import logging
import re

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

log = logging.getLogger("platform")
DESCRIPTION = "mlflow.note.content"
MISSING = "RESOURCE_DOES_NOT_EXIST"
LENGTH = 8000  # of a tag; MLflow's limit
PROMOTED = "promoted."  # NAME, a tag whose value is MLflow's id of the run that trains it
_SENTENCE = re.compile(r"(?:\n\n|^)Promoted and trained as \[[^\n]*\]\(#/experiments/[^\n]*\)\.(?=\n\n|$)")


def note_promoted(client: MlflowClient, sweep: str, name: str, run: str) -> None:
    """Note a promotion, once; nothing where the sweep's run is in another MLflow, or was deleted.

    Args:
        client: of this MLflow.
        sweep: id of the sweep's run.
        name: of the promoted experiment.
        run: id of its run.
    """
    if not _experiment_of(client, sweep):
        log.info("the sweep's run %s is not in this MLflow: it does not point to %s", sweep, name)
        return
    client.set_tag(sweep, f"{PROMOTED}{name}", run)
    said = client.get_run(sweep).data.tags.get(DESCRIPTION, "")
    client.set_tag(sweep, DESCRIPTION, with_promoted(client, sweep, said))


def with_promoted(client: MlflowClient, sweep: str, said: str) -> str:
    """A description of a run with a link to each experiment that was promoted from it, as long as there is room.

    Args:
        client: of this MLflow.
        sweep: id of the run; another than a sweep's has no such links.
        said: the description; older links in it are replaced.
    """
    whole = _SENTENCE.sub("", said)
    for key, run in client.get_run(sweep).data.tags.items():
        if not key.startswith(PROMOTED) or not (experiment := _experiment_of(client, run)):
            continue
        name = key.removeprefix(PROMOTED)
        sentence = f"Promoted and trained as [{name}](#/experiments/{experiment}/runs/{run})."
        longer = "\n\n".join(part for part in (whole, sentence) if part)
        if len(longer) <= LENGTH:
            whole = longer
        else:
            log.warning("no room for a link to %s in the description of MLflow run %s; its tags have it", name, sweep)
    return whole


def _experiment_of(client: MlflowClient, run: str) -> str:
    """MLflow's id of the experiment that a run is in; empty: there is no such run, or it was deleted."""
    try:
        found = client.get_run(run).info
    except MlflowException as error:
        if error.error_code != MISSING:
            raise
        return ""
    return found.experiment_id if found.lifecycle_stage == "active" else ""
