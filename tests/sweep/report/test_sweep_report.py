"""The files of a report, and that the page needs and trusts nothing."""

from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from platform.config.jobs import SweepConfig
from platform.sweep.report.artifacts import metrics, write
from platform.sweep.report.outcome import Curves
from platform.sweep.report.ranking import rank
from platform.sweep.report.verdict import cautions, verdict
from platform.sweep.trial_store import FAILED, STOPPED, WAITING, TrialStore
from tests.sweep.stores import curve, realistic, right_images, store_of

DATE = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)


class Page(HTMLParser):
    """The tags, attributes and text of a page; refuses tags that are left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def report(
    store: TrialStore, curves: Curves, folder: Path, *, objectives: tuple[str, ...] = ("top1",), name: str = "s"
) -> list[str]:
    sweep = SweepConfig(space={"optim.lr": [0.01, 0.1]}, seeds=3, search="tpe", points=14, objectives=list(objectives))
    files = write(
        rank(store, curves, objectives, 360, right_images(store, curves)), store, curves, sweep, name, folder, DATE
    )
    assert all(path.stat().st_size for path in files)
    assert sorted(files) == sorted(folder.iterdir())
    return sorted(path.name for path in files)


def page_of(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_files(tmp_path: Path):
    texts = ["ranking.csv", "ranking.md", "ranking.png", "report.html"]
    assert report(*realistic(), tmp_path / "one") == ["curves.png", "importance.png", *texts]
    both = report(*realistic(), tmp_path / "two", objectives=("top1", "images_per_s"))
    assert both == ["curves.png", "front.png", "importance.png", *texts]
    assert (tmp_path / "two" / "front.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_page_says_what_one_needs(tmp_path: Path):
    store, curves = realistic()
    report(store, curves, tmp_path, name="first-sweep")
    page = page_of(tmp_path)
    ranking = rank(store, curves, ["top1"], 360, right_images(store, curves))
    for text in (verdict(ranking), *cautions(ranking), "p013", "first-sweep", "796c801f3c2b", "2026-11-22 12:30 UTC",
                 "optim.lr", "3 a point", "29 finished, 9 stopped, 4 failed of 42", "How to read it"):  # fmt: skip
        assert text in page.text
    assert page.text.index(verdict(ranking)) < page.text.index("Ranking") < page.text.index("How to read it")


@pytest.mark.slow
def test_the_page_needs_nothing_else(tmp_path: Path):
    report(*realistic(), tmp_path)
    page = page_of(tmp_path)
    assert len(page.links) == 3
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "$x^{",
        "$$",
        "\x1b[31m\n",
        "\ud800",
        "漢字",
        "x" * 500,
    ],
)
def test_hostile_text_stays_text(text: str, tmp_path: Path):
    values = [{"a": text, text: number} for number in range(5)]
    store, curves = store_of([0.1, 0.2], [0.3, 0.3], [0.5], [0.6], [0.7], values=values)
    store.commit = text
    store.trials[0].state, store.trials[0].reason = FAILED, text
    report(store, curves, tmp_path, name=text)
    page = page_of(tmp_path)
    assert "script" not in page.tags
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    if text.isprintable():
        assert text in page.text


def test_an_empty_store(tmp_path: Path):
    assert report(TrialStore(), {}, tmp_path) == ["ranking.csv", "ranking.md", "report.html"]
    assert "nothing to rank" in page_of(tmp_path).text


def test_nothing_finished(tmp_path: Path):
    store, curves = store_of([0.9], [0.8], [0.7])
    for trial, state, until in zip(store.trials, (FAILED, STOPPED, WAITING), (1, 4, 0), strict=True):
        trial.state, trial.reason = state, f"because {state}"
        curves[trial.name] = curve(0.9, until=until) if until else []
    assert report(store, curves, tmp_path) == ["curves.png", "ranking.csv", "ranking.md", "report.html"]
    assert "because stopped" in page_of(tmp_path).text


def test_one_point_with_one_seed(tmp_path: Path):
    assert "ranking.png" in report(*store_of([0.9]), tmp_path)
    assert "rests on one seed" in page_of(tmp_path).text
    assert "Not known: 1 point(s) finished" in page_of(tmp_path).text


@pytest.mark.slow
def test_many_points(tmp_path: Path):
    report(*store_of(*([0.5 + number / 200] * 2 for number in range(60))), tmp_path)
    assert page_of(tmp_path).tags.count("tr") == 61


def test_metrics():
    ranking = rank(*realistic(), ["top1"], 360)
    assert metrics(ranking) == {
        "best_top1": ranking.points[0].mean, "best_sd": ranking.points[0].sd, "best_seeds": 3,
        "best_top1_low": pytest.approx(0.936, abs=1e-3), "best_top1_high": pytest.approx(0.976, abs=1e-3),
        "best_lead": ranking.lead, "best_lead_p_seeds": ranking.points[1].p_best,
        "trials_finished": 29, "trials_stopped": 9, "trials_diverged": 0, "trials_failed": 4,
    }  # fmt: skip
    ends = ("finished", "stopped", "diverged", "failed")
    assert metrics(rank(TrialStore(), {}, ["top1"], 360)) == {f"trials_{end}": 0 for end in ends}
    one = metrics(rank(*store_of([0.9], [0.8]), ["top1"], 360))
    assert "best_sd" not in one  # not known, which is not 0
    assert not [key for key in one if "lead_p" in key]


def test_no_lead_over_a_point_that_is_not_ranked_by_its_score():
    """One seed that is higher would make it negative, with the p of being worse."""
    found = metrics(rank(*store_of([0.90, 0.91, 0.905], [0.99]), ["top1"], 360))
    assert found["best_top1"] == pytest.approx(0.905)
    assert not [key for key in found if "lead" in key]
