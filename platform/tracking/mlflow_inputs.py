"""The data sets that a run reads, as MLflow's inputs: its page shows them, and finds the runs that read the same.

In: data sets by name, digest and place. Out: inputs of an MLflow run.
"""

import json

from mlflow.entities import Dataset, InputTag
from mlflow.entities import DatasetInput as MlflowInput
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from platform.redaction import redacted
from platform.tracking.operations import DatasetInput

SOURCE_TYPE = "webdataset"
DIGEST_LENGTH = 36  # characters, MLflow's limit


def log_inputs(client: MlflowClient, run_id: str, datasets: list[DatasetInput]) -> None:
    """Note data sets of a run; those that it has already stay as they are."""
    client.log_inputs(run_id, [_input(each) for each in datasets])


def _input(each: DatasetInput) -> MlflowInput:
    source = json.dumps({"uri": redacted(each.source)})
    dataset = Dataset(each.name, each.digest[:DIGEST_LENGTH], SOURCE_TYPE, source, profile=json.dumps(each.profile))
    return MlflowInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, each.context)])
