"""What the command line says about itself."""

import pytest

from platform.checkout import ROOT
from tests.launching import launched

OURS = ("googlenet", "googlenet_ens", "sampling_schedule_sweep")  # others may be there: job=promote writes them


def test_help_has_a_line_for_every_group():
    said = launched("--help").stdout.partition("Groups\n")[2].partition("Choices")[0]
    described = [line.split(maxsplit=1)[0] for line in said.splitlines() if line.strip()]
    assert sorted(described) == sorted(
        each.name for each in (ROOT / "conf").iterdir() if each.is_dir() and each.name != "hydra"
    )


def test_help_names_the_reference_and_every_job():
    said = launched("--help").stdout
    assert "docs/reference.md" in said
    assert all(file.stem in said for file in (ROOT / "jobs").glob("[a-z]*.py"))
    assert max(map(len, said.splitlines())) <= 120


@pytest.mark.parametrize("name", OURS)
def test_the_list_says_what_an_experiment_needs(name: str):
    said = launched().stdout.partition(f"  {name}\n")[2].splitlines()
    what, needs = said[:2]
    assert len(what.strip()) > 20
    assert needs.strip().startswith("Needs: ")
    assert len(needs.split("; ")) >= 3  # data, hardware, time
