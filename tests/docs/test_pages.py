"""Links lead somewhere, generated pages are what the code makes, the README stays one page."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from docs import write_dashboard, write_metrics, write_networks
from docs.write_reference import PAGE, comments_of, page, sections
from platform.checkout import ROOT
from platform.config.cluster import ClusterConfig
from platform.config.sections import Config
from tests.docs.pages import MADE, PAGES, anchors, links
from tests.test_imports import ROOMS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        target = MADE.get(target.resolve(), target)
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 1000


def test_the_reference_is_what_the_settings_say():
    assert PAGE.read_text(encoding="utf-8") == page(), "make docs writes it anew"


def test_the_table_of_networks_is_what_they_are():
    text = write_networks.PAGE.read_text(encoding="utf-8")
    assert text == write_networks.page(text), "make docs writes it anew"
    named = {row.choice for row in write_networks.ROWS}
    assert named == {path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")}, "a row for each choice"


def test_the_table_of_metrics_and_the_dashboard_are_what_there_is():
    text = write_metrics.PAGE.read_text(encoding="utf-8")
    assert text == write_metrics.page(text), "make docs writes it anew"
    assert write_dashboard.FILE.read_text() == write_dashboard.text(), "make docs writes it anew"


def test_every_setting_says_what_it_means():
    assert [each.key for section in sections(Config) for each in section.settings if not each.meaning] == []


def test_comments_above_and_behind_a_setting_are_its_meaning():
    comments = comments_of(ClusterConfig)
    assert "HOST:PORT" in comments["address"]
    assert "side by side" in comments["lanes"]


def test_the_architecture_page_names_every_room():
    named = re.findall(r"`(\w+)`", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert set(ROOMS) <= set(named)


@pytest.mark.slow
def test_the_site_builds_without_a_dead_link(tmp_path: Path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("kubernetes", "kubernetes-upgrades", "kubernetes-images"):
        assert (tmp_path / "site" / name / "index.html").exists()
    upgrades = (tmp_path / "site" / "kubernetes-upgrades" / "index.html").read_text(encoding="utf-8")
    assert 'href="../kubernetes-images/">workflow<' in upgrades, "its links lead to the pages of the site"


def test_pre_commit_has_the_same_ruff():
    pinned = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    ruff = next(each for each in pinned if isinstance(each, str) and each.startswith("ruff=="))
    assert f"rev: v{ruff.removeprefix('ruff==')}" in (ROOT / ".pre-commit-config.yaml").read_text()
