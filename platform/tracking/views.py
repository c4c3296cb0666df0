"""What MLflow's page shows at the link that a run prints: a saved view of the runs, with our columns, order and charts.

In: which runs. Out: the tag of an MLflow experiment that holds the view, and the address that opens it. MLflow has no
API for views: this is what the page of version 3.17 saves; `tests/tracking/test_mlflow_page.py` looks at it in a
browser.
"""

import base64
import json
import uuid
import zlib
from typing import Any
from urllib.parse import urlencode

from platform.tracking.operations import View

TAG = "mlflow.sharedViewState."
GROUP_TAG = "platform.experiment"  # of a parent and its children: the parent's key
COLUMN_WIDTH = 150  # pixels
BEST = "accuracy_val_top1"
COLUMNS = (BEST, "accuracy_val_top5", "loss_val", "speed_images_per_s", "time_training_s", "progress")
# Sections in their order, and their charts: (metric, kind of chart). Others follow, folded.
CHARTS: dict[str, tuple[tuple[str, str], ...]] = {
    "accuracy": ((BEST, "BAR"), ("accuracy_val_top5", "BAR")),
    "val": (("val/top1", "LINE"), ("val/loss", "LINE"), ("val/top5", "LINE")),
    "train": (("train/loss", "LINE"), ("train/top1", "LINE"), ("train/lr", "LINE"), ("train/images_per_s", "LINE")),
    "time": (("time_training_s", "BAR"), ("time_evaluation_s", "BAR"), ("time_queue_s", "BAR")),
}
FOLDED = ("data", "Model metrics", "System metrics")  # where metrics without a slash are, and system/...
NAMESPACE = uuid.UUID("5e0b7a3c-6e0f-4c53-9e63-0d5b3f3d2f11")  # of the ids of charts: the same view has the same


def tag(view: View, parent: str) -> tuple[str, str]:
    """The experiment's tag that holds a view.

    Args:
        view: which.
        parent: MLflow's id of the parent run.

    Returns:
        its key and value.
    """
    packed = base64.b64encode(zlib.compress(json.dumps(state(view, parent)).encode(), 9)).decode()
    content = {"name": view.name, "createdAt": view.at_ms, "updatedAt": view.at_ms, "state": f"deflate;{packed}"}
    return f"{TAG}{view.key}", json.dumps(content)


def state(view: View, parent: str) -> dict[str, Any]:
    """The page's state as it is saved: columns, the best first, and charts."""
    shown = f"tags.`{GROUP_TAG}` = '{view.group}'" if view.group else f"tags.`mlflow.parentRunId` = '{parent}'"
    columns = [_column("metrics", COLUMNS[0])]
    columns += [_column("params", key) for key in view.params]
    columns += [_column("metrics", key) for key in COLUMNS[1:]]
    return {
        "searchFilter": shown,
        "orderByKey": columns[0],
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, COLUMN_WIDTH),
        "runsHiddenMode": "FIRST_20_RUNS",
        "isAccordionReordered": True,
        "compareRunSections": [
            {"uuid": _id(name), "name": name, "display": name in CHARTS, "isReordered": True, "isGenerated": True}
            for name in (*CHARTS, *FOLDED)
        ],
        "compareRunCharts": [_chart(section, *chart) for section, charts in CHARTS.items() for chart in charts],
    }


def link(base: str, experiment: str, key: str, *, charts: bool = False) -> str:
    """The address of the view.

    Args:
        base: of the MLflow server, as http://127.0.0.1:5000
        experiment: MLflow's id.
        key: of the view.
        charts: open its charts instead of its table.
    """
    query = {"workflowType": "machine_learning", "viewStateShareKey": key}
    return (
        f"{base}/#/experiments/{experiment}/runs?{urlencode(query | ({'compareRunsMode': 'CHART'} if charts else {}))}"
    )


def _column(kind: str, key: str) -> str:
    return f"{kind}.`{key}`"


def _chart(section: str, metric: str, kind: str) -> dict[str, Any]:
    own = {
        "BAR": {},
        "LINE": {"lineSmoothness": 0, "scaleType": "linear", "xAxisKey": "step", "useGlobalXaxisKey": True},
    }
    return {
        "uuid": _id(f"{section} {metric}"),
        "type": kind,
        "runsCountToCompare": 20,
        "metricSectionId": _id(section),
        "deleted": False,
        "isGenerated": True,
        "metricKey": metric,
        "displayName": metric.rpartition("/")[2],
        **own[kind],
    }


def _id(name: str) -> str:
    return str(uuid.uuid5(NAMESPACE, name))
