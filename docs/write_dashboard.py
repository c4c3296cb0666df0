"""Grafana's dashboard, k8s/components/monitoring/dashboard.json, from the table of its panels.

In: nothing. Out: the file, in Grafana's classic JSON model (schemaVersion 39: Grafana 11 and newer read it).
`python -m docs.write_dashboard` writes it.
"""

import json
from itertools import count
from typing import Any

from docs.dashboard_panels import COLLAPSED, OF_EXPERIMENT, ROWS, Panel
from platform.checkout import ROOT

FILE = ROOT / "k8s" / "components" / "monitoring" / "dashboard.json"
WIDTH, HEIGHT = 24, 8  # of Grafana's grid
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> dict[str, Any]:
    """The whole, as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    numbers, top = count(1), 0
    for title, row in ROWS.items():
        place, within = {"x": 0, "y": top, "w": WIDTH, "h": 1}, list[dict[str, Any]]()
        head = {"id": next(numbers), "type": "row", "title": title, "collapsed": title in COLLAPSED, "gridPos": place}
        panels.append(
            head | {"panels": within if title in COLLAPSED else []}
        )  # Grafana keeps those of a closed row in it
        left, top = 0, top + 1
        height = 0
        for each in row:
            if left + each.width > WIDTH:
                left, top = 0, top + height
            height = 4 if each.kind == "stat" else HEIGHT
            within.append(_panel(each, next(numbers), {"x": left, "y": top, "w": each.width, "h": height}))
            left += each.width
        if title not in COLLAPSED:
            panels += within
            top += height
    return {
        "uid": "platform-runs",
        "title": "platform: runs",
        "description": "Trainings, ensembles and sweeps: docs/monitoring.md has what each metric means.",
        "tags": ["platform"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,  # the same time is marked in all panels
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "annotations": {"list": []},
        "links": [],
        "templating": {
            "list": [
                _source(),
                _variable("experiment", "platform_members"),
                _variable("member", f"platform_time_seconds{OF_EXPERIMENT}"),
            ]
        },
        "panels": panels,
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    is_table = panel.kind == "table"
    instant = {"instant": True, "range": False} | ({"format": "table"} if is_table else {})
    now = panel.kind in ("stat", "bargauge", "table")
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.most is not None:
        defaults["max"] = panel.most
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1, "fillOpacity": 20 if panel.stacked else 0, "showPoints": "never", "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none"},
        }  # fmt: skip
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "targets": [
            {"refId": "ABCDEF"[at], "datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto"}
            | (instant if now else {"range": True})
            for at, (query, legend) in enumerate(panel.queries)
        ],
    }  # fmt: skip


def _options(panel: Panel) -> dict[str, Any]:
    newest = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match panel.kind:
        case "stat":
            return {"reduceOptions": newest, "colorMode": "none", "graphMode": "none", "textMode": "value"}
        case "bargauge":
            return {"reduceOptions": newest, "displayMode": "basic", "orientation": "horizontal", "valueMode": "text"}
        case "table":
            return {"showHeader": True}
        case _:
            return {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }


def _source() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }


def _variable(label: str, series: str) -> dict[str, Any]:
    query = f"label_values({series}, {label})"
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": label},
        "refresh": 2,  # when the time range changes: runs come and go
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "sort": 1,
        "hide": 0,
    }


def text() -> str:
    """The file's."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
