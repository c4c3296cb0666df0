"""The images: what the Dockerfile says, and one pin of Ray in images, manifests, pyproject.toml and constraints.txt."""

import ast
import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from platform.checkout import ROOT
from platform.config.kubernetes import KubeConfig
from platform.experiment.origin import git_commit
from tests.kube.dockerfile import Stage, commands, stages

ARGUMENTS, STAGES = stages(ROOT / "Dockerfile")
FINAL = {stage.name: stage for stage in STAGES if stage.name in ("platform", "mlflow")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))


def chain(stage: Stage) -> list[Stage]:
    """A stage after those it begins from."""
    below = {each.name: each for each in STAGES}.get(stage.base)
    return [*chain(below), stage] if below else [stage]


def environment(stage: Stage) -> dict[str, str]:
    return {
        name: value
        for each in chain(stage)
        for text in each.all("ENV")
        for name, _, value in (word.partition("=") for word in text.split())
    }


def test_ray_has_one_pin_which_image_manifests_and_project_share() -> None:
    (required,) = [each for each in PROJECT["project"]["dependencies"] if each.startswith("ray[")]
    assert required == f"ray[default,serve,train,tune]=={PINS['ray']}"
    image = f"platform:{PROJECT['project']['version']}-ray{PINS['ray']}"
    assert KubeConfig().image == image
    assert f"-t {image} ." in (ROOT / "Dockerfile").read_text()
    assert f"-t {image} ." in (ROOT / "k8s" / "overlays" / "dev" / "kustomization.yaml").read_text()
    for file in (ROOT / "k8s").rglob("*.yaml"):
        found = set(re.findall(r"\bplatform:\d+\.[\w.-]+", file.read_text()))
        assert found <= {image}, file
        assert set(re.findall(r"rayVersion: '?\"?([\d.]+)", file.read_text())) <= {PINS["ray"]}, file


def test_mlflow_has_one_pin_in_its_image_too() -> None:
    image = f"platform-mlflow:{PROJECT['project']['version']}-mlflow{PINS['mlflow']}"
    assert f"-t {image} " in (ROOT / "Dockerfile").read_text()
    for file in (ROOT / "k8s").rglob("*.yaml"):
        assert set(re.findall(r"platform-mlflow:[\w.-]+", file.read_text())) <= {image}, file


def test_images_are_built_in_stages_from_one_pinned_base() -> None:
    assert STAGES[-1].name == "platform"  # what `docker build .` makes
    (base,) = [stage for stage in STAGES if stage.base not in {each.name for each in STAGES}]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base.base)
    for stage in FINAL.values():
        assert [each.name for each in chain(stage)] == ["base", "runtime", stage.name]  # no build tools
        assert not any("pip install --no-cache-dir" in run for each in chain(stage) for run in each.all("RUN"))


def test_images_run_as_a_user_without_rights_under_an_init() -> None:
    for stage in FINAL.values():
        assert stage.all("USER") == ["1000:1000"]
        assert stage.instructions.index(("USER", "1000:1000")) > max(
            number for number, (word, _) in enumerate(stage.instructions) if word in ("RUN", "COPY")
        )
        (entrypoint,) = [ast.literal_eval(text) for each in chain(stage) for text in each.all("ENTRYPOINT")]
        assert entrypoint == ["/usr/bin/tini", "-g", "--"]
        assert environment(stage)["HOME"] == "/tmp"


def test_the_repository_comes_first_on_the_path_of_every_process() -> None:
    platform = FINAL["platform"]
    assert environment(platform)["PYTHONPATH"] == "/opt/platform"
    assert platform.all("WORKDIR") == ["/opt/platform"]


def test_debian_brings_an_init_and_jpegtran_and_nothing_else() -> None:
    """KubeRay's commands call /bin/bash, which Debian has, and `ray`; its submitter waits for the head with Python."""
    brought = [
        word
        for stage in STAGES
        for run in stage.all("RUN")
        for command in commands(run)
        if command[:2] == ["apt-get", "install"]
        for word in command[2:]
        if not word.startswith("--")
    ]
    assert brought == ["libjpeg-turbo-progs", "tini"]


def test_what_the_images_copy_is_let_through_and_nothing_else_is() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for stage in STAGES
        for text in stage.all("COPY")
        if not text.startswith("--from=")
        for source in text.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
    assert not any(fnmatch.fnmatch(secret, source) for secret in (".env", ".git", "runs") for source in copied)


def test_images_say_what_they_are() -> None:
    for name, stage in FINAL.items():
        said = labels(stage)
        assert said["org.opencontainers.image.title"] == ("platform" if name == "platform" else "platform-mlflow")
        assert said["org.opencontainers.image.licenses"] == PROJECT["project"]["license"]
        assert said["org.opencontainers.image.version"] == PROJECT["project"]["version"]
        assert said["org.opencontainers.image.revision"] == "${COMMIT}"
        assert said["org.opencontainers.image.created"] == "${CREATED}"
        assert said["org.opencontainers.image.description"]


def labels(stage: Stage) -> dict[str, str]:
    return {
        name: value
        for each in chain(stage)
        for text in each.all("LABEL")
        for name, _, value in (word.partition("=") for word in shlex.split(text))
    }


def test_a_commit_changes_no_layer() -> None:
    """What differs from commit to commit is named after the last RUN and COPY."""
    for stage in FINAL.values():
        words = [word for word, _ in stage.instructions]
        arguments = stage.instructions.index(("ARG", 'COMMIT="" CREATED=""'))
        assert not {"RUN", "COPY"} & set(words[arguments:])


@pytest.mark.slow
def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "make setup brings it"
    done = subprocess.run([hadolint, "--no-color", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_run_of_an_image_names_the_commit_it_was_built_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment(FINAL["platform"])["PLATFORM_COMMIT"] == "${COMMIT}"
    git_commit.cache_clear()
    monkeypatch.setenv("PLATFORM_COMMIT", "0123abc")
    assert git_commit() == "0123abc"
    git_commit.cache_clear()


def test_manifests_start_mlflow_through_the_images_init() -> None:
    """`command` would take the place of the entry point, and a server that is process 1 does not hear SIGTERM."""
    for file in (ROOT / "k8s" / "base" / "mlflow").glob("*.yaml"):
        for document in yaml.safe_load_all(file.read_text()):
            for container in document.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
                assert "command" not in container
