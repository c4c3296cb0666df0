"""Grafana's dashboard: its file, its queries. Each is asked of a real Prometheus that has scraped a launch."""

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from platform.experiment.folder import ExperimentFolder
from platform.lanes.attempts import Attempts
from platform.lanes.mailbox import GroupEvent
from platform.lanes.monitor import Monitor
from platform.monitoring.endpoint import Endpoint
from platform.monitoring.metrics import METRICS
from tests.lanes.test_monitor import LOGGED, beat
from tests.monitoring.dashboard import DASHBOARD, METRIC, NEIGHBOURS, PANELS, ROWS, VARIABLES, filled, queries
from tests.monitoring.neighbours import LABELS, OPERATORS, exporter, gpus
from tests.monitoring.prometheus import prometheus

# Units of Grafana's that the panels use: @grafana/data's valueFormats.
UNITS = {"short", "percentunit", "s", "cps", "hertz", "sci", "decbytes", "watt"}


def test_it_names_every_metric_that_is_exported_and_no_other():
    named = {name for _, query in queries() for name in METRIC.findall(query)}
    named |= {name for each in VARIABLES.values() for name in METRIC.findall(each.get("definition", ""))}
    assert named == {each.name for each in METRICS}
    of_others = {name for _, query in queries() for name in NEIGHBOURS.findall(query)}
    assert of_others == LABELS.keys() - {"kuberay_cluster_info"}, "that one is asked by an alert"


def test_queries_name_labels_that_their_metrics_have():
    labels = {each.name: set(each.labels) for each in METRICS} | LABELS
    for title, query in queries():
        known = set().union(*(labels[name] for name in METRIC.findall(query) + NEIGHBOURS.findall(query)))
        for part in query.split("by (")[1:]:
            assert set(part.split(")")[0].replace(" ", "").split(",")) <= known, title


def test_panels_have_units_a_place_of_their_own_and_a_title_of_their_own():
    titles = [panel["title"] for panel in PANELS]
    assert len(titles) - len(set(titles)) == 1, "Images per second is there of all and of each"
    assert {panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS} == UNITS
    taken = set()
    for panel in [*ROWS, *PANELS]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in [*ROWS, *PANELS]}) == len(ROWS) + len(PANELS)


def test_it_has_what_grafanas_model_asks_for():
    """By its schema of a dashboard (classic model, version 39); what Grafana does not know it drops in silence."""
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time"} <= DASHBOARD.keys()
    for panel in PANELS:
        assert panel["type"] in ("timeseries", "stat", "bargauge", "table")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert {"refId", "expr", "legendFormat", "datasource"} <= target.keys()
            assert target.get("instant", False) != target.get("range", False)
    assert list(VARIABLES) == ["datasource", "experiment", "member"]
    for name in ("experiment", "member"):
        assert VARIABLES[name]["query"]["query"] == VARIABLES[name]["definition"]
        assert VARIABLES[name]["allValue"] == ".*"


def test_a_row_of_metrics_that_not_everybody_has_is_closed_and_holds_its_panels():
    assert {row["title"]: len(row["panels"]) for row in ROWS if row["collapsed"]} == {"GPUs by DCGM": 3}
    assert all(not row["panels"] for row in ROWS if not row["collapsed"])
    asked = {query for row in ROWS for panel in row["panels"] for query in (t["expr"] for t in panel["targets"])}
    assert asked == {query for _, query in queries() if "DCGM_" in query}


NODE = beat("a", 0, world=2, step=0).node
DCGM = {"DCGM_FI_DEV_GPU_UTIL": 50.0, "DCGM_FI_DEV_FB_USED": 1024.0, "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": 0.25}


def monitored(target: str, honor_labels: bool = False) -> dict[str, Any]:
    """As a ServiceMonitor asks: the exporter's own pod and namespace are labels, too."""
    own = {"targets": [target], "labels": {"namespace": "gpu-operator", "pod": "exporter-x"}}
    return {"job_name": target, "honor_labels": honor_labels, "static_configs": [own]}


@pytest.mark.slow
def test_every_query_has_an_answer(tmp_path: Path):
    """Of a launch that is told what workers with a GPU tell, restarts and all; with others' metrics beside it."""
    attempts = Attempts(ExperimentFolder(tmp_path / "made"), ["a", "b", "c"])
    monitor = Monitor("made", attempts)
    endpoint, step = Endpoint("127.0.0.1:0", monitor.samples), 0
    (tmp_path / "prometheus").mkdir()

    def tell() -> None:
        nonlocal step
        step += 5
        for member in ("a", "b"):
            for rank in range(2):
                told = replace(beat(member, rank, world=2, step=step), lane="ab".index(member), started=began)
                attempts.beat(told)
                monitor.beat(told)
            monitor.metrics(member, LOGGED)

    began = time.time()
    try:
        tell()
        attempts.event(GroupEvent(0, "failed", "rank 1 died", time.time()))
        began = time.time()
        with (
            exporter(OPERATORS) as operators,
            exporter(gpus([(NODE, "0"), ("theirs", "1")], DCGM)) as plain,
            exporter(gpus([(NODE, "2"), ("theirs", "3")], DCGM)) as honoured,
            prometheus(
                tmp_path / "prometheus",
                endpoint.url.split("/")[2],
                more=[monitored(operators, True), monitored(plain), monitored(honoured, True)],
            ) as server,
        ):
            end = time.monotonic() + 60
            while len(server.query("count_over_time(platform_steps[1m]) > 3")) < 2 and time.monotonic() < end:
                tell()
                time.sleep(0.5)
            # A point of a subquery lies up to 15 s away.
            empty = [(title, query) for title, query in queries() if not server.wait_for(filled(query), 30)]
            assert empty == []
            chosen = {
                title
                for title, query in queries()
                if not re.search("kuberay_|kueue_", query) and server.query(filled(query, experiment="other"))
            }
            assert chosen == set(), "the variable of experiments has no effect"
            for name in ("experiment", "member"):
                series, label = VARIABLES[name]["definition"].removeprefix("label_values(").rstrip(")").rsplit(", ", 1)
                assert (
                    server.label_values(label, filled(series)) == {"experiment": ["made"], "member": ["a", "b"]}[name]
                )
            waits = [query for _, query in queries() if "count_over_time" in query and "kuberay_" in query]
            assert {each["metric"]["name"] for each in server.query(filled(waits[0]))} == {"waits", "new"}
            for title, value in (("GPU busy", 0.5), ("GPU memory in use", 2.0**30), ("Tensor cores busy", 0.25)):
                found = server.query(filled(dict(queries())[title]))  # not the other pod's
                assert {each["metric"]["gpu"]: float(each["value"][1]) for each in found} == {"0": value, "2": value}
            (restarts,) = server.query('platform_restarts_total{member="a",cause="failed"}')
            assert restarts["value"][1] == "1"
    finally:
        endpoint.close()
