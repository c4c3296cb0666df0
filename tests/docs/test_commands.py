"""Every command of the pages composes; every target of make that they name is there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform.checkout import ROOT
from platform.compose.composer import HydraComposer
from tests.composing import composing
from tests.docs.pages import LAUNCH, PAGES, commands, fenced, inline
from tests.launching import launched

STAND_INS = {  # of what readers fill in
    "+experiment=NAME": "+experiment=googlenet",
    "googlenet_ens_from_sweep": "googlenet_ens",  # which job=promote writes
    "FOLDER_WITH_train_AND_val": "images",
    "PATH": "images",
    "PHOTOS.tar": "photos.tar",
    "RUN_ID": "0123456789abcdef0123456789abcdef",
    "NAME": "mine",
    "HOST": "127.0.0.1",
    "BUCKET": "bucket",
    "REGISTRY": "registry",
    "N": "10",
}
OPTIONS = ("--help", "--cfg")  # Hydra's, which run nothing
COMMANDS = {command: page for page, command in commands()}  # each once


@pytest.fixture(scope="module")
def composer() -> Iterator[HydraComposer]:
    with composing() as made:
        yield made


def overrides_of(command: str) -> list[str]:
    """With something in the place of every placeholder."""
    for placeholder, value in STAND_INS.items():
        command = re.sub(rf"(?<![\w$]){re.escape(placeholder)}(?!\w)", value, command)
    return shlex.split(command.removeprefix(LAUNCH))


def test_there_are_commands_in_the_pages_that_show_them():
    pages = {page for page, _ in commands()}
    shown = {"start", "experiments", "data", "sweeps", "failures", "speed", "mlflow", "clusters"}
    assert pages >= {"README.md", "k8s/README.md", *(f"docs/{name}.md" for name in shown)}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_composes_to_a_config_that_passes_its_checks(command: str, composer: HydraComposer):
    overrides = overrides_of(command)
    if "--multirun" in overrides:  # a run for each of the values: the first
        overrides = [each.partition(",")[0] for each in overrides if each != "--multirun"]
    if not overrides or any(option in overrides for option in OPTIONS):
        done = launched(*overrides)
        assert done.returncode == 0, f"{COMMANDS[command]}: {done.stderr}"
    else:
        composer.config(overrides)


@pytest.mark.slow
@pytest.mark.parametrize("command", [each for each in COMMANDS if "job=check" in each])
def test_the_checks_pass(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))  # nobody's own cluster is asked
    done = launched(*overrides_of(command))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_errors_that_are_shown_are_those_that_come():
    shown = re.findall(
        rf"^\$ ({LAUNCH} .+)\n(error: .+)$", (ROOT / "docs" / "start.md").read_text(), flags=re.MULTILINE
    )
    assert len(shown) == 2
    for command, error in shown:
        done = launched(*overrides_of(command))
        assert done.stderr.split(" or ")[0].strip() == error.split(" or ")[0]  # what else it may be comes and goes


def test_every_target_of_make_is_there():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for code in fenced(text) + inline(text):
            named |= set(re.findall(r"^make (?:[A-Z]+=\S+ )?([a-z]+)", code, flags=re.MULTILINE))
    assert {"run", "test", "fast", "long", "docs"} <= named <= targets
