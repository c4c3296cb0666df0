"""The way from a sweep's run to the experiments that were promoted from it, as a tag and a link in its description.

In: MLflow's ids. Out: both on the sweep's run, if it is there.
"""

import logging

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

log = logging.getLogger("platform.tracking.tracker")
DESCRIPTION = "mlflow.note.content"
MISSING = "RESOURCE_DOES_NOT_EXIST"
LENGTH = 8000  # of a tag; MLflow's limit


def note_promoted(client: MlflowClient, sweep: str, name: str, experiment: str, run: str) -> None:
    """Note a promotion, once; nothing where the sweep's run is in another MLflow, or was deleted.

    Args:
        client: of this MLflow.
        sweep: id of the sweep's run.
        name: of the promoted experiment.
        experiment: id of MLflow's experiment with its run.
        run: id of its run.
    """
    try:
        found = client.get_run(sweep)
    except MlflowException as error:
        if error.error_code != MISSING:
            raise
        log.info("the sweep's run %s is not in this MLflow: it does not point to %s", sweep, name)
        return
    if found.info.lifecycle_stage != "active":
        return
    client.set_tag(sweep, f"promoted.{name}", run)
    said, place = found.data.tags.get(DESCRIPTION, ""), f"#/experiments/{experiment}/runs/{run}"
    whole = "\n\n".join(part for part in (said, f"Promoted and trained as [{name}]({place}).") if part)
    if place not in said and len(whole) <= LENGTH:
        client.set_tag(sweep, DESCRIPTION, whole)
