"""What a person sees in MLflow's pages at the link that a run prints: a fresh browser, a real server, made-up runs.

The saved view is an internal format of MLflow's pages: this is what notices when another version reads it otherwise.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow.tracking import MlflowClient

from platform.chaos.servers import MlflowServer
from platform.config.sections import TrackingConfig
from platform.tracking.journal import Journal
from platform.tracking.links import Pages, pages
from platform.tracking.operations import RUN_ID, View
from platform.tracking.run_tags import COLOURS
from platform.tracking.tracker import Tracker
from platform.tracking.views import GROUP_TAG
from tests.browser import Page, browser, needs_chromium

pytestmark = [pytest.mark.slow, pytest.mark.long, needs_chromium, pytest.mark.timeout(300)]
ACCURACY = {"seven": 0.98, "plain": 0.91, "wider": 0.97, "small_crops": 0.93, "photometric": 0.95}
VERDICT = "The ensemble is better than its best member wider by 1.00 points."
NOTE = f"**{VERDICT}**\n\n![table](/get-artifact?path=table.png&run_uuid={RUN_ID})"
NAMES = "[...document.querySelectorAll('[role=row] a[href*=\"/runs/\"]')].map(a => a.innerText)"
HEADS = """[...document.querySelectorAll("[role=columnheader]")]
    .map(each => [each.getBoundingClientRect().x, each.innerText.trim()])
    .sort((one, other) => one[0] - other[0]).map(each => each[1])"""
CHOSEN = "[...document.querySelectorAll('[class*=selection-item-content]')].map(each => each.innerText).join()"


@dataclass
class Shown:
    """A server with an ensemble of four, and a browser that nobody used."""

    page: Page
    pages: Pages
    uri: str
    ids: dict[str, str]  # MLflow's, by name


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("pages")
    with MlflowServer(folder) as server, browser() as page:
        tracker = Tracker(TrackingConfig(uri=server.url), Journal(folder / "tracking.jsonl"))
        keys = filled(tracker)
        assert tracker.close() == 0
        found = {name: tracker.delivered(key) for name, key in keys.items()}
        ids = {name: known[1] for name, known in found.items() if known}
        yield Shown(page, pages(TrackingConfig(uri=server.url), "1", ids["seven"], keys["seven"][:12]), server.url, ids)


def filled(tracker: Tracker) -> dict[str, str]:
    """An ensemble as a run leaves it; our keys by name."""
    parent = tracker.start("seven", {"optim": {"lr": 0.1}}, tags={GROUP_TAG: "x"})
    tracker.view(View(parent, parent[:12], "seven", ["sampling.name", "order_seed"], group="x"))
    keys = {"seven": parent}
    for number, name in enumerate(ACCURACY):
        if name != "seven":
            config = {"checkpoint": {"keep": 2}, "sampling": {"name": name}, "order_seed": number, "optim": {"lr": 0.1}}
            tags = {GROUP_TAG: "x", "mlflow.runColor": COLOURS[number]}
            keys[name] = tracker.start(name, config, parent=parent, tags=tags)
            curves(tracker, keys[name], ACCURACY[name])
        final = {"accuracy_val_top1": ACCURACY[name], "accuracy_val_top1_1_view": 0.5, "accuracy_val_top5": 0.99}
        others = {"loss_val": 1 - ACCURACY[name], "goodput_attempts": 1, "time_training_s": 60}
        tracker.summary(keys[name], final | others)
    tracker.tag(parent, "mlflow.note.content", NOTE)
    for key in reversed(keys.values()):
        tracker.finish(key, "FINISHED")
    return keys


def curves(tracker: Tracker, run: str, accuracy: float) -> None:
    for step in range(10, 210, 10):
        loss = 2 * math.exp(-step / 80)
        means = {"train/loss": loss, "train/top1": 1 - loss / 2, "progress": step / 200}
        tracker.log(run, step, {"data/wait_share": 0.01} | means)
        if step % 50 == 0:
            tracker.log(run, step, {"val/top1": accuracy * step / 200, "val/loss": loss})


def test_the_link_opens_the_members_the_best_first_with_our_columns(shown: Shown):
    shown.page.open(shown.pages.runs)
    text = shown.page.wait_for("5 matching runs", "wider", "0.97")
    assert "Trace" not in text[text.index("Run Name") :]
    names = shown.page.evaluate(NAMES)
    best_first = sorted(ACCURACY, key=lambda name: -ACCURACY[name])
    assert [name.strip() for name in names] == best_first
    heads = shown.page.evaluate(HEADS)
    assert heads.index("accuracy_val_top1") < heads.index("sampling.name") < heads.index("order_seed")
    assert "checkpoint.keep" not in text


def test_the_charts_are_scores_and_curves_and_the_rest_is_folded(shown: Shown):
    shown.page.open(shown.pages.runs + "&compareRunsMode=CHART")
    text = shown.page.wait_for("accuracy_val_top1", "accuracy_val_top5", "\ngoodput\n")
    order = [text.index(f"\n{section}\n") for section in ("accuracy", "val", "train", "time", "loss", "goodput")]
    assert order == sorted(order)
    assert "accuracy_val_top1_1_view" not in text
    assert "goodput_attempts" not in text


def test_the_page_of_the_parent_has_the_verdict_first_and_its_pictures(shown: Shown):
    shown.page.open(shown.pages.parent)
    text = shown.page.wait_for("Description", "accuracy_val_top1")
    assert text.index(VERDICT) < text.index("accuracy_val_top1")
    source = shown.page.wait_until("document.querySelector('img[src*=get-artifact]')?.getAttribute('src')")
    assert source == f"/get-artifact?path=table.png&run_uuid={shown.ids['seven']}"


def test_comparing_opens_on_what_differs_and_an_accuracy(shown: Shown):
    members = [shown.ids[name] for name in ACCURACY if name != "seven"]
    query = f"runs={quote(json.dumps(members))}&experiments={quote(json.dumps(['1']))}"
    shown.page.open(f"{shown.uri}/#/compare-runs?{query}")
    shown.page.wait_for("Comparing 4 Runs")
    chosen = shown.page.wait_until(CHOSEN)
    assert set(chosen.split(",")) == {"order_seed", "sampling.name", "train/top1"}


def test_a_search_for_a_score_finds_it(shown: Shown):
    found = MlflowClient(shown.uri).search_runs(["1"], "metrics.`accuracy_val_top1` > 0.96")
    assert {run.info.run_name for run in found} == {"seven", "wider"}


def test_pictures_of_the_pages(shown: Shown, tmp_path: Path):
    """For people: with --basetemp the files stay."""
    for name, address in (("runs", shown.pages.runs), ("parent", shown.pages.parent)):
        shown.page.open(address)
        shown.page.wait_for("seven")
        shown.page.screenshot(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
