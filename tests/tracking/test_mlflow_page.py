"""What a person sees in MLflow's pages: a fresh browser, a real server, an experiment of each kind.

The saved view is an internal format of MLflow's pages, and what their other pages open on follows from names: this is
what notices when another version reads either otherwise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from platform.chaos.servers import MlflowServer
from platform.config.data import DataConfig
from platform.config.tracking import TrackingConfig
from platform.evaluation.report import COLOURS
from platform.tracking.links import Pages, pages_of
from tests.browser import Page, browser, needs_chromium
from tests.tracking.made_runs import made_sweep, made_training
from tests.tracking.measure_pages import compare, metric
from tests.tracking.page_pictures import CLOSES_ASSISTANT

pytestmark = [pytest.mark.slow, pytest.mark.long, needs_chromium, pytest.mark.timeout(600)]
NAMES = "[...document.querySelectorAll('[role=row] a[href*=\"/runs/\"]')].map(a => a.innerText.trim())"
HEADS = """[...document.querySelectorAll("[role=columnheader]")]
    .map(each => [each.getBoundingClientRect().x, each.innerText.trim()])
    .sort((one, other) => one[0] - other[0]).map(each => each[1])"""
CHOSEN = "[...document.querySelectorAll('[class*=selection-item-content]')].map(each => each.innerText).join()"
SELECTED = "[...document.querySelectorAll('select, [role=combobox]')].map(each => each.value || each.innerText.trim())"
PARAMETERS = ["changed.sampling", "changed.model.width", "changed.order_seed"]
TAB = """(() => {{
    const tab = [...document.querySelectorAll('[role=tab]')].find(each => each.innerText.trim() === '{}');
    tab?.dispatchEvent(new MouseEvent('mousedown', {{bubbles: true}}));
    tab?.click();
    return tab?.getAttribute('aria-selected') === 'true';
}})()"""


@dataclass
class Shown:
    """A server with an ensemble, two single trainings and a sweep, and a browser that nobody used."""

    page: Page
    url: str
    pages: dict[str, Pages]  # by experiment
    runs: dict[str, list[Run]]  # by kind, the best first

    def ids(self, kind: str) -> list[str]:
        return [run.info.run_id for run in self.runs[kind]]

    def run(self, kind: str, tab: str = "") -> str:
        return f"{self.url}/#/experiments/1/runs/{self.ids(kind)[0]}{tab}?workflowType=machine_learning"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, digits_data: DataConfig) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("pages")
    small = {"steps": 200, "images": 200}
    with MlflowServer(folder) as server, browser() as page, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        place = folder, TrackingConfig(uri=server.url), digits_data
        single = "+experiment=googlenet", "evaluation.views=[1,10]"
        made = [
            made_training(*place, "+experiment=googlenet_ens", "evaluation.views=[1,10]", **small),
            made_training(*place, *single, "name=slow", "optim.lr=0.1", **small),
            made_training(*place, *single, "name=fast", "optim.lr=0.2", **small),
            made_sweep(*place, trials=24, **small),
        ]
        pages = {each.name.partition("-")[0]: found for each in made if (found := pages_of(each))}
        client, runs = MlflowClient(server.url), dict[str, list[Run]]()
        for run in client.search_runs(["1"], order_by=["metrics.accuracy_val_top1 DESC"]):
            runs.setdefault(run.data.tags["kind"], []).append(run)
        page.open(server.url)
        page.wait_until(CLOSES_ASSISTANT)
        yield Shown(page, server.url, pages, runs)


def order(text: str, *words: str) -> None:
    """Assert that a text has these lines in this order."""
    place = 0
    for word in words:
        assert f"\n{word}\n" in text[place:], (word, text)
        place = text.index(f"\n{word}\n", place) + 1


def test_the_link_of_an_ensemble_opens_its_members_the_best_first_with_how_they_differ(shown: Shown):
    shown.page.open(shown.pages["googlenet_ens"].runs)
    text = shown.page.wait_for("8 matching runs", "wider", "photometric")
    assert "Trace" not in text[text.index("Run Name") :]
    names = shown.page.evaluate(NAMES)
    scores = {run.info.run_name: run.data.metrics["accuracy_val_top1"] for run in shown.runs["member"]}
    scores |= {run.info.run_name: run.data.metrics["accuracy_val_top1"] for run in shown.runs["ensemble"]}
    assert set(names) == set(scores)
    assert [scores[name] for name in names] == sorted(scores.values(), reverse=True)
    heads = shown.page.evaluate(HEADS)
    places = [heads.index(each) for each in ("accuracy_val_top1", *PARAMETERS)]
    assert places == sorted(places)
    assert "checkpoint.keep" not in text
    assert {run.data.tags["mlflow.runColor"] for run in shown.runs["member"]} == set(COLOURS)


def test_the_link_of_a_sweep_opens_its_trials_the_best_first_with_their_points(shown: Shown):
    shown.page.open(shown.pages["sampling_schedule_sweep"].runs)
    shown.page.wait_for("24 matching runs", "changed.optim.lr")
    assert shown.page.evaluate(NAMES)[0] == shown.runs["trial"][0].info.run_name
    heads = shown.page.evaluate(HEADS)
    assert heads.index("accuracy_val_top1") < heads.index("changed.sampling") < heads.index("changed.optim.lr")


def test_the_link_of_a_single_training_opens_it_with_what_its_command_changed(shown: Shown):
    shown.page.open(shown.pages["slow"].runs)
    shown.page.wait_for("1 matching run", "slow", "changed.optim.lr", "0.1")


@pytest.mark.parametrize("kind", ["googlenet_ens", "sampling_schedule_sweep", "slow"])
def test_the_charts_of_a_link_are_scores_and_curves_and_the_rest_is_folded(shown: Shown, kind: str):
    shown.page.open(shown.pages[kind].runs + "&compareRunsMode=CHART")
    text = shown.page.wait_for("accuracy_val_top1", "accuracy_val_top5", "\nModel metrics\n")
    order(text, "accuracy", "val", "train", "time", "data", "Model metrics")
    assert "accuracy_val_top1_1_view" not in text
    assert "goodput_attempts" not in text


def test_the_page_of_the_parent_has_the_verdict_first_and_its_pictures(shown: Shown):
    shown.page.open(shown.pages["googlenet_ens"].parent)
    text = shown.page.wait_for("Description", "accuracy_val_top1")
    description = shown.runs["ensemble"][0].data.tags["mlflow.note.content"]
    verdict = description.splitlines()[0].strip("*")
    assert verdict.startswith("The ensemble of 7 ")
    assert text.index(verdict[:60]) < text.index("accuracy_val_top1")
    source = shown.page.wait_until("document.querySelector('img[src*=get-artifact]')?.getAttribute('src')")
    assert source == f"/get-artifact?path=table.png&run_uuid={shown.ids('ensemble')[0]}"


@pytest.mark.parametrize(
    ("kinds", "parameters", "metrics"),
    [
        (["ensemble", "member"], PARAMETERS, {"accuracy_val_top1"}),
        (["member"], PARAMETERS, {"train/top1", "val/top1"}),  # the first that was logged
        (["trial"], ["changed.sampling", "changed.schedule", "changed.optim.lr"], {"train/top1", "val/top1"}),
        (["training"], ["changed.optim.lr", "optim.lr"], {"train/top1", "val/top1"}),
    ],
)
def test_parallel_coordinates_open_on_what_differs_and_an_accuracy(
    shown: Shown, kinds: list[str], parameters: list[str], metrics: set[str]
):
    runs = [run for kind in kinds for run in shown.ids(kind)]
    shown.page.open(compare(shown.url, "1", runs))
    shown.page.wait_for(f"Comparing {len(runs)} Runs")
    chosen = shown.page.wait_until(CHOSEN).split(",")
    assert set(chosen[:-1]) == set(parameters)
    assert chosen[-1] in metrics


@pytest.mark.parametrize(
    ("kinds", "scatter", "contour"),
    [
        (["ensemble", "member"], "changed.model.width", ("changed.model.width", "changed.order_seed")),
        (["member"], "changed.model.width", ("changed.model.width", "changed.order_seed")),
        (["trial"], "changed.optim.lr", ("changed.optim.lr", "sampling.area.max")),
        (["training"], "changed.optim.lr", None),  # which needs two numbers that differ, and says so
    ],
)
def test_scatter_and_contour_open_on_the_accuracy_over_what_was_varied(
    shown: Shown, kinds: list[str], scatter: str, contour: tuple[str, str] | None
):
    shown.page.open(compare(shown.url, "1", [run for kind in kinds for run in shown.ids(kind)]))
    shown.page.wait_for("Scatter Plot")
    shown.page.wait_until(TAB.format("Scatter Plot"))
    assert shown.page.wait_until(SELECTED)[:2] == [f"param-{scatter}", "metric-accuracy_val_top1"]
    shown.page.wait_until(TAB.format("Contour Plot"))
    if contour:
        axes = [*(f"param-{each}" for each in contour), "metric-accuracy_val_top1"]
        assert shown.page.wait_until(SELECTED)[:3] == axes
        shown.page.wait_until("document.querySelectorAll('.contourlayer path').length")
    else:
        shown.page.wait_for("have enough unique data points")


def test_the_box_plot_opens_on_nothing(shown: Shown):
    shown.page.open(compare(shown.url, "1", shown.ids("member")))
    shown.page.wait_for("Box Plot")
    shown.page.wait_until(TAB.format("Box Plot"))
    shown.page.wait_for("Select parameters/metrics to plot.")


def test_the_model_metrics_of_a_run_open_on_curves(shown: Shown):
    shown.page.open(shown.run("member", "/model-metrics"))
    order(shown.page.wait_for("wait_share", "\nepoch\n", "\nModel metrics\n"), "data", "train", "val", "Model metrics")
    shown.page.wait_until("document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length")
    assert shown.page.evaluate("document.querySelectorAll('.js-plotly-plot .barlayer .trace').length") == 0


def test_the_page_of_a_metric_shows_all_runs(shown: Shown):
    shown.page.open(metric(shown.url, "1", shown.ids("member"), "train/loss"))
    text = shown.page.wait_for("Completed Runs", "7/7", "Latest")
    assert {str(run.info.run_name) for run in shown.runs["member"]} <= set(text.split())


def test_without_a_view_the_table_has_the_experiments_and_their_charts_are_curves(shown: Shown):
    plain = f"{shown.url}/#/experiments/1/runs?workflowType=machine_learning"
    shown.page.open(plain)
    shown.page.wait_for("slow", "fast", "Created")
    assert set(shown.page.evaluate(NAMES)) == {"googlenet_ens-digits", "slow", "fast", "sampling_schedule_sweep-digits"}
    shown.page.open(f"{plain}&compareRunsMode=CHART")
    order(shown.page.wait_for("\nval\n", "\nModel metrics\n"), "data", "train", "val", "Model metrics")


def test_a_search_for_a_score_finds_it_without_quotes(shown: Shown):
    found = MlflowClient(shown.url).search_runs(["1"], "metrics.accuracy_val_top1 > 0.9 and tags.kind = 'member'")
    assert found
    assert all(run.data.metrics["accuracy_val_top1"] > 0.9 for run in found)


def test_pictures_of_the_pages(shown: Shown, tmp_path: Path):
    """For people, light and dark: with --basetemp the files stay."""
    addresses = {name: pages.runs for name, pages in shown.pages.items()} | {
        "parent": shown.pages["googlenet_ens"].parent, "metrics": shown.run("member", "/model-metrics"),
    }  # fmt: skip
    for dark in (False, True):
        shown.page.dark(dark=dark)
        for name, address in addresses.items():
            shown.page.open(address)
            shown.page.wait_for("platform")
            file = tmp_path / f"{name}-{'dark' if dark else 'light'}.png"
            shown.page.screenshot(file)
            assert file.read_bytes().startswith(b"\x89PNG")
