"""What MLflow's pages take for large experiments: a fresh Chromium for each page, of a store by `made_runs`.

In: the folder of the store. Out: for each page the seconds to its first row or chart and until it stands still, memory,
requests: `python -m tests.tracking.measure_pages FOLDER --times 3` (medians); --pictures FOLDER.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from platform.chaos.servers import MlflowServer
from platform.tracking.links import KEY_LENGTH
from platform.tracking.mlflow_store import KEY_TAG
from platform.tracking.run_tags import ENSEMBLE, SWEEP
from platform.tracking.views import link
from tests.browser import Page, browser

STILL_S = 4.0  # without a change: the page is done
LONGEST_S = 180.0
ROWS = "document.querySelectorAll('[role=row] a[href*=\"/runs/\"]').length"
CHARTS = "document.querySelectorAll('.js-plotly-plot .main-svg, .js-plotly-plot canvas').length"
TEXT = "document.body.innerText.length"
STATE = f"[{ROWS}, {CHARTS}, {TEXT}, performance.getEntriesByType('resource').length]"
LOADED = """(() => {
    const all = performance.getEntriesByType('resource');
    const api = all.filter(each => /ajax-api|graphql|get-artifact/.test(each.name));
    const sum = some => some.reduce((bytes, each) => bytes + each.encodedBodySize, 0);
    return [all.length, sum(all), api.length, sum(api)];
})()"""


class Served(MlflowServer):
    """The store of a folder, served as `make ui` does."""

    def _command(self, port: int) -> list[str]:
        return [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}",
        ]  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """What one page took."""

    first_s: float  # to the first row of a table; of a page without one, to the first chart
    charts_s: float  # to the first chart; NaN: it has none
    still_s: float  # to the last change
    busy_s: float  # of its main thread
    heap_mb: float
    api_requests: int
    api_mb: float
    rows: int
    charts: int


def addresses(client: MlflowClient, base: str) -> Iterator[tuple[str, str]]:
    """The pages that a person opens: name and address."""
    experiment = client.get_experiment_by_name("platform")
    assert experiment
    number = experiment.experiment_id
    for kind in (ENSEMBLE, SWEEP):
        [parent] = client.search_runs([number], f"tags.kind = '{kind}'")
        view = parent.data.tags[KEY_TAG][:KEY_LENGTH]
        children = client.search_runs([number], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", max_results=1000)
        own = f"{base}/#/experiments/{number}/runs/{{}}?workflowType=machine_learning"
        yield f"{kind}: the link", link(base, number, view)
        yield f"{kind}: the link's charts", link(base, number, view, charts=True)
        yield f"{kind}: its run", own.format(parent.info.run_id)
        chosen = [run.info.run_id for run in sorted(children, key=_accuracy)]
        yield f"{kind}: a child's run", own.format(chosen[0])
        metrics = f"{base}/#/experiments/{number}/runs/{chosen[0]}/model-metrics"
        yield f"{kind}: a child's model metrics", metrics
        for count in (10, 100) if kind == SWEEP else (7,):
            yield f"{kind}: compare {count}", compare(base, number, chosen[:count])
        if kind == ENSEMBLE:
            yield f"{kind}: metric train/loss of 7", metric(base, number, chosen, "train/loss")


def compare(base: str, experiment: str, runs: list[str]) -> str:
    """MLflow's page that compares runs."""
    return f"{base}/#/compare-runs?runs={quote(json.dumps(runs))}&experiments={quote(json.dumps([experiment]))}"


def metric(base: str, experiment: str, runs: list[str], key: str) -> str:
    """MLflow's page of one metric of some runs."""
    given = {"runs": runs, "metric": key, "experiments": [experiment], "plot_metric_keys": [key], "plot_layout": {}}
    query = "&".join(f"{name}={quote(json.dumps(value))}" for name, value in given.items())
    return f"{base}/#/metric?{query}&x_axis=step&y_axis_scale=linear&line_smoothness=1&show_point=false"


def measured(page: Page, address: str) -> Taken:
    """Open a page in a browser that nobody used, and wait until it stands still."""
    page.call("Performance.enable")
    began = changed = time.monotonic()
    page.open(address)
    seen, first, chart = None, float("nan"), float("nan")
    while time.monotonic() - changed < STILL_S and time.monotonic() - began < LONGEST_S:
        now = page.evaluate(f"document.body ? {STATE} : null")
        if now != seen:
            seen, changed = now, time.monotonic()
            if seen and seen[0] and first != first:
                first = changed - began
            if seen and seen[1] and chart != chart:
                chart = changed - began
        time.sleep(0.1)
    page.call("HeapProfiler.collectGarbage")
    figures = {each["name"]: each["value"] for each in page.call("Performance.getMetrics")["metrics"]}
    _, _, requests, size = page.evaluate(LOADED)
    assert seen
    return Taken(
        first, chart, changed - began, figures["TaskDuration"], figures["JSHeapUsedSize"] / 1e6, requests, size / 1e6,
        seen[0], seen[1],
    )  # fmt: skip


def _accuracy(run: Run) -> float:
    return -run.data.metrics.get("accuracy_val_top1", 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only", default="", help="pages whose name has this")
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    folder = given.folder.absolute()
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    print("| page | row, s | chart, s | done, s | main thread, s | heap, MB | API requests | API MB | rows | charts |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    with Served(folder) as server:
        for name, address in addresses(client, server.url):
            if given.only not in name:
                continue
            found = []
            for number in range(given.times):
                with browser() as page:
                    found.append(measured(page, address))
                    if given.pictures and not number:
                        given.pictures.mkdir(parents=True, exist_ok=True)
                        page.screenshot(given.pictures / f"{name.replace(' ', '-').replace('/', '-')}.png")
            columns = [statistics.median(each) for each in zip(*(vars(one).values() for one in found), strict=True)]
            cells = [
                "" if value != value else f"{value:.1f}" if isinstance(value, float) else f"{value:.0f}"
                for value in columns
            ]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
