"""What the command line says about itself."""

import pytest

from platform.checkout import ROOT
from tests.launching import launched

OURS = ("googlenet", "googlenet_ens", "sampling_schedule_sweep")  # others may be there: job=promote writes them


@pytest.fixture(scope="module")
def help_page() -> str:
    return launched("--help").stdout


@pytest.fixture(scope="module")
def listed() -> str:
    return launched().stdout


def test_help_has_a_line_for_every_group(help_page: str):
    said = help_page.partition("Groups\n")[2].partition("Choices")[0]
    described = [line.split(maxsplit=1)[0] for line in said.splitlines() if line.strip()]
    assert sorted(described) == sorted(
        each.name for each in (ROOT / "conf").iterdir() if each.is_dir() and each.name != "hydra"
    )


def test_help_lists_the_choices_of_every_group_and_no_more(help_page: str):
    said = help_page.partition("Choices\n")[2].partition("More:")[0].replace("\n    ", " ").split("\n")
    groups = {line.partition(":")[0]: line.partition(": ")[2].split(", ") for line in said if line.strip()}
    folders = [each for each in (ROOT / "conf").iterdir() if each.is_dir() and each.name != "hydra"]
    assert groups == {each.name: sorted(file.stem for file in each.glob("*.yaml")) for each in folders}


def test_help_names_the_reference_and_every_job(help_page: str):
    assert "docs/reference.md" in help_page
    assert all(file.stem in help_page for file in (ROOT / "jobs").glob("[a-z]*.py"))
    assert max(map(len, help_page.splitlines())) <= 120


@pytest.mark.parametrize("name", OURS)
def test_the_list_says_what_an_experiment_needs(name: str, listed: str):
    said = listed.partition(f"  {name}\n")[2].splitlines()
    what, needs = said[:2]
    assert len(what.strip()) > 20
    assert needs.strip().startswith("Needs: ")
    assert len(needs.split("; ")) >= 3  # data, hardware, time
