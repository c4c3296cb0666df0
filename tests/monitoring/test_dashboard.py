"""Grafana's dashboard: its file, its queries. Each is asked of a real Prometheus that has scraped a launch."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from platform.experiment.folder import ExperimentFolder
from platform.lanes.attempts import Attempts
from platform.lanes.mailbox import GroupEvent
from platform.lanes.monitor import Monitor
from platform.monitoring.endpoint import Endpoint
from platform.monitoring.metrics import METRICS
from tests.lanes.test_monitor import LOGGED, beat
from tests.monitoring.dashboard import DASHBOARD, METRIC, PANELS, VARIABLES, filled, queries
from tests.monitoring.prometheus import prometheus

# Units of Grafana's that the panels use: @grafana/data's valueFormats.
UNITS = {"short", "percentunit", "s", "cps", "hertz", "sci", "decbytes", "watt"}


def test_it_names_every_metric_that_is_exported_and_no_other():
    named = {name for _, query in queries() for name in METRIC.findall(query)}
    named |= {name for each in VARIABLES.values() for name in METRIC.findall(each.get("definition", ""))}
    assert named == {each.name for each in METRICS}


def test_queries_name_labels_that_their_metrics_have():
    labels = {each.name: set(each.labels) for each in METRICS}
    for title, query in queries():
        known = set().union(*(labels[name] for name in METRIC.findall(query)))
        for part in query.split("by (")[1:]:
            assert set(part.split(")")[0].replace(" ", "").split(",")) <= known, title


def test_panels_have_units_a_place_of_their_own_and_a_title_of_their_own():
    titles = [panel["title"] for panel in PANELS]
    assert len(titles) - len(set(titles)) == 1, "Images per second is there of all and of each"
    assert {panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS} == UNITS
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


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


@pytest.mark.slow
def test_every_query_has_an_answer(tmp_path: Path):
    """Of a launch that is told what workers with a GPU tell, restarts and all."""
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
        with prometheus(tmp_path / "prometheus", endpoint.url.split("/")[2]) as server:
            end = time.monotonic() + 60
            while len(server.query("count_over_time(platform_steps[1m]) > 3")) < 2 and time.monotonic() < end:
                tell()
                time.sleep(0.5)
            empty = [(title, query) for title, query in queries() if not server.query(filled(query))]
            assert empty == []
            chosen = {title for title, query in queries() if server.query(filled(query, experiment="other"))}
            assert chosen == set(), "the variable of experiments has no effect"
            for name in ("experiment", "member"):
                series, label = VARIABLES[name]["definition"].removeprefix("label_values(").rstrip(")").rsplit(", ", 1)
                assert (
                    server.label_values(label, filled(series)) == {"experiment": ["made"], "member": ["a", "b"]}[name]
                )
            (restarts,) = server.query('platform_restarts_total{member="a",cause="failed"}')
            assert restarts["value"][1] == "1"
    finally:
        endpoint.close()
