"""The dashboard as Grafana would use it: its queries with variables filled in, its panels."""

import json
import re
from collections.abc import Iterator
from typing import Any

from platform.checkout import ROOT

FILE = ROOT / "k8s" / "components" / "monitoring" / "dashboard.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
ROWS = [panel for panel in DASHBOARD["panels"] if panel["type"] == "row"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
PANELS += [panel for row in ROWS for panel in row["panels"]]  # of closed rows
VARIABLES = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
METRIC = re.compile(r"\bplatform_\w+")
NEIGHBOURS = re.compile(r"\b(?:kuberay|kueue|DCGM)_\w+")  # metrics of others


def queries() -> Iterator[tuple[str, str]]:
    """(title of the panel, query) of each line."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def filled(query: str, *, experiment: str = ".*", member: str = ".*", seconds: int = 600) -> str:
    """A query as Grafana sends it: of all members, of some minutes."""
    values = {"experiment": experiment, "member": member, "__range": f"{seconds}s", "__rate_interval": "60s"}
    for name, value in values.items():
        query = query.replace(f"${name}", value)
    assert "$" not in query.replace('"$1"', ""), query  # a group of label_replace
    return query
