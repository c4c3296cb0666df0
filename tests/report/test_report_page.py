"""The report of a finished experiment: all in one page that needs and trusts nothing; what is missing is said."""

import logging
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from platform.config.models import GoogLeNetConfig
from platform.evaluation.images import write_images
from platform.evaluation.verdict import verdict
from platform.models.build import build
from platform.report import networks
from platform.report.artifacts import write_report
from platform.report.page import PARTS
from tests.report.handmade import finished

PICTURES = {
    "errors", "curves-top1", "curves-loss", "disagreement", "confusion", "reliability", "reliability-members", "crops",
    "timeline", "steps", "network",
}  # fmt: skip
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "a", "div", "table", "thead", "tbody",
    "tr", "th", "td", "figure", "img", "b", "dl", "dt", "dd", "svg", "line", "path", "rect", "circle", "text", "image",
}  # fmt: skip


class Page(HTMLParser):
    """Tags, addresses and text of a page; refuses tags that are left open."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def left_out(page: Page) -> list[str]:
    return re.findall(r"Left out[^\n]*", page.text)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "platform")
    return caplog


def test_an_ensemble_has_every_part_and_the_answer_first(tmp_path: Path, warnings: pytest.LogCaptureFixture):
    experiment, folder, scores = finished(tmp_path)
    files = write_report(experiment, folder, scores)
    assert {path.stem for path in files[1:]} == PICTURES
    assert [path.name for path in files if path.suffix == ".html"] == ["report.html"]
    page = Page(files[0])
    assert left_out(page) == []
    assert "axes as in the large diagram" in page.text  # of the ensemble, or of the best of rows
    assert not warnings.records
    assert scores.summary is not None
    answer = verdict(scores.summary)
    assert scores.summary.best in answer
    places = [page.text.index(title) for title in (answer, *(f"\n{title}\n" for title, _ in PARTS.values()))]
    assert places == sorted(places)
    for path in files[1:]:
        ElementTree.fromstring(path.read_text(encoding="utf-8"))


def test_the_page_needs_nothing_else_and_runs_nothing(tmp_path: Path):
    page = Page(write_report(*finished(tmp_path))[0])
    assert page.tags <= ALLOWED
    assert all(link.startswith(("data:image/jpeg;base64,", "data:image/png;base64,", "#")) for link in page.links)
    assert not any(name.startswith("on") for name in page.attributes)
    style = (tmp_path / "runs" / "made" / "report.html").read_text()
    assert "url(" not in style
    assert "@import" not in style


def test_a_single_model_has_a_report_without_the_parts_for_several(tmp_path: Path):
    experiment, folder, scores = finished(tmp_path, members=1)
    files = write_report(experiment, folder, scores)
    assert {path.stem for path in files[1:]} == PICTURES - {"disagreement", "reliability-members"}
    page = Page(files[0])
    assert left_out(page) == ["Left out: one model has nobody to disagree with."]
    assert scores.summary is not None
    assert verdict(scores.summary) in page.text


def test_each_network_that_differs_has_its_table_and_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    experiment, folder, scores = finished(tmp_path, members=4)
    for name, model in {"member_1": GoogLeNetConfig(width=0.5), "member_3": GoogLeNetConfig(init="w.pt")}.items():
        experiment.members[name] = replace(experiment.members[name], model=model)
    files = write_report(experiment, folder, scores)
    assert {path.stem for path in files[1:]} == PICTURES | {"network-member_1"}
    _, parts = Page(files[0]).text.split("\nmember_0, member_2, member_3\n")
    first, second = parts.split("\nmember_1\n")
    for network, part in ((GoogLeNetConfig(), first), (GoogLeNetConfig(width=0.5), second)):
        parameters = sum(each.numel() for each in build(network, 3, 32, 0).parameters())
        assert f" {parameters:,}\n" in part
    monkeypatch.setattr(networks, "MOST", len((folder.path / "pictures" / "network.svg").read_text()))
    files = write_report(experiment, folder, scores)
    assert {path.stem for path in files[1:]} == PICTURES
    assert "in the folder summary beside it: the picture(s) of member_1." in Page(files[0]).text


@pytest.mark.slow
def test_twenty_members_and_a_thousand_classes_are_less_than_five_megabytes(tmp_path: Path):
    """With images of noise, which compress worst."""
    classes = [f"a class with a long name like n{number:08d}, of many" for number in range(1000)]
    experiment, folder, scores = finished(tmp_path, 20, classes, samples=1000, side=400, size=224)
    files = write_report(experiment, folder, scores)
    assert {path.stem for path in files[1:]} == PICTURES
    page = Page(files[0])
    assert left_out(page) == []
    assert len(page.links) > 40  # the images are in it
    assert files[0].stat().st_size < 5_000_000
    assert all(path.stat().st_size < 5_000_000 for path in files)


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b[31m\n", "漢字"])
def test_hostile_text_stays_text(text: str, tmp_path: Path):
    """Of class names, and of what ended a member."""
    experiment, folder, scores = finished(tmp_path, classes=[text, "bee", f"{text}2"])
    attempts = folder.member("member_1").path / "attempts.json"
    escaped = text.replace('"', '\\"').replace("\x1b", "\\u001b").replace("\n", "\\n")
    attempts.write_text(attempts.read_text().replace("its workers died", escaped))
    page = Page(write_report(experiment, folder, scores)[0])
    assert page.tags <= ALLOWED
    assert not any(name.startswith("on") for name in page.attributes)
    if text.isprintable():
        assert page.text.count(text) >= 3


def test_what_is_not_there_any_more_is_left_out_with_a_line(tmp_path: Path, warnings: pytest.LogCaptureFixture):
    experiment, folder, scores = finished(tmp_path)
    shutil.rmtree(tmp_path / "data")
    for name in experiment.members:
        for file in ("attempts.json", "curve.jsonl", "metrics.jsonl"):
            (folder.member(name).path / file).unlink()
    scores.images = None
    page = Page(write_report(experiment, folder, scores)[0])
    said = "\n".join(left_out(page))
    for reason in ("no attempts were recorded", "no evaluation during training", "was not kept", "cannot be read",
                   "no speed of training"):  # fmt: skip
        assert reason in said
    assert "The ensemble of 3 is" in page.text
    assert not warnings.records  # nothing of this is a fault


def test_images_repacked_since_are_not_shown_as_those_evaluated(tmp_path: Path):
    experiment, folder, scores = finished(tmp_path)
    shutil.rmtree(tmp_path / "data")
    finished(tmp_path / "other", samples=61)
    shutil.move(tmp_path / "other" / "data", tmp_path / "data")
    page = Page(write_report(experiment, folder, scores)[0])
    assert left_out(page) == ["Left out: the shards hold 61 images now, and 60 were evaluated."]


def test_an_experiment_without_a_finished_member_has_a_report_of_how_it_went(tmp_path: Path):
    experiment, folder, _ = finished(tmp_path)
    files = write_report(experiment, folder, None)
    assert {path.stem for path in files[1:]} == {"curves-top1", "curves-loss", "crops", "timeline", "steps", "network"}
    text = Page(files[0]).text
    assert "No member is finished" in text
    assert "Without member_1, which is not finished" in text


def test_a_part_that_fails_is_said_and_the_others_are_written(tmp_path: Path, warnings: pytest.LogCaptureFixture):
    experiment, folder, scores = finished(tmp_path)
    assert scores.images is not None
    write_images(folder.images("val"), scores.images, "digest")
    scores.images = None
    assert left_out(Page(write_report(experiment, folder, scores)[0])) == []
    folder.images("val").write_bytes(folder.images("val").read_bytes()[:-50])
    files = write_report(experiment, folder, scores)
    assert {path.stem for path in files[1:]} >= {"errors", "crops", "timeline"}
    assert "confusion" not in {path.stem for path in files}
    assert "Left out by a fault (ConfigError: " in left_out(Page(files[0]))[0]
    messages = [record.getMessage() for record in warnings.records]
    assert any(message.startswith("the report lacks a part: Confusion: ConfigError: ") for message in messages)
    assert all(len(message.splitlines()) == 1 for message in messages)


def test_a_report_that_cannot_be_written_is_said_and_nothing_is_raised(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
):
    experiment, folder, scores = finished(tmp_path)
    (folder.path / "pictures").write_text("in the way")
    assert [path.name for path in write_report(experiment, folder, scores)] == ["report.html"]
    assert "the pictures beside the report could not be written (FileExistsError: " in warnings.records[-1].getMessage()
    (folder.path / "report.html").unlink()
    (folder.path / "report.html").mkdir()
    assert write_report(experiment, folder, scores) == []
    assert "the report could not be written (IsADirectoryError: " in warnings.records[-1].getMessage()


def test_the_test_split_has_a_report_of_its_own(tmp_path: Path):
    experiment, folder, scores = finished(tmp_path)
    write_report(experiment, folder, scores)
    before = (folder.path / "report.html").read_bytes()
    files = write_report(experiment, folder, scores, "test")
    assert files[0].name == "report-test.html"
    assert {path.parent.name for path in files[1:]} == {"pictures-test"}
    assert (folder.path / "report.html").read_bytes() == before
    page = Page(files[0])
    assert "60 test images" in page.text
    assert left_out(page)  # the shards have no test split to show images of
