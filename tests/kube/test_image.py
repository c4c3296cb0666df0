"""The images: what the Dockerfile says, and one pin of Ray in images, manifests, pyproject.toml and constraints.txt."""

import ast
import fnmatch
import os
import re
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
    assert len(STAGES) >= 4
    assert STAGES[-1].name == "platform"  # what `docker build .` makes
    names: set[str] = set()
    for stage in STAGES:
        assert stage.base in names or re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm(@sha256:\w{64})?", stage.base)
        names.add(stage.name)
    for stage in FINAL.values():
        assert [each.name for each in chain(stage)] == ["runtime", stage.name]  # no build tools


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


def test_the_image_of_ray_has_what_kuberays_own_commands_call() -> None:
    """/bin/bash comes with Debian; `ray job submit` with ray[default]; the submitter waits for the head with wget."""
    assert any("install" in run and run.split("&&")[1].split()[-1] == "wget" for run in FINAL["platform"].all("RUN"))
    assert FINAL["platform"].base == "runtime"
    assert all(stage.base.endswith("-slim-bookworm") for stage in STAGES if ":" in stage.base)


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


def test_everything_is_installed_by_the_makefiles_uv_with_the_same_constraints() -> None:
    (pinned,) = re.findall(r"^UV := (\S+)$", (ROOT / "Makefile").read_text(), re.M)
    build = next(stage for stage in STAGES if stage.name == "build")
    assert f"UV={pinned}" in build.all("ARG")
    assert environment(build)["UV_COMPILE_BYTECODE"] == "1"  # the file system is read-only later
    assert any("compileall" in run for run in FINAL["platform"].all("RUN"))
    installs = installed()
    assert len(installs) == 2
    for command in installs.values():
        assert command[-2:] == ["-c", "constraints.txt"]
    assert installs["build"][-4:-2] == ["-r", "pyproject.toml"]
    assert "--group" in installs["build-mlflow"]


def installed() -> dict[str, list[str]]:
    """The `uv pip install` of each stage that has one."""
    return {
        stage.name: command
        for stage in STAGES
        for run in stage.all("RUN")
        for command in commands(run)
        if command[:3] == ["uv", "pip", "install"]
    }


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["build", "build-mlflow"])
def test_the_constraints_pin_all_that_an_image_installs(stage: str, tmp_path: Path) -> None:
    """The Dockerfile's own command, as a dry run in an empty environment (uv is there after `make setup`)."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not uv:
        pytest.skip("no uv beside this Python; make setup brings it")
    subprocess.run([uv, "venv", "-q", "--no-project", "--python", sys.executable, tmp_path / "venv"], check=True)
    words = installed()[stage][3:]
    words[words.index("--python") + 1] = str(tmp_path / "venv" / "bin" / "python")
    command = [uv, "pip", "install", "--dry-run", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    if re.search("dns error|error sending request|Failed to fetch", done.stderr):
        pytest.skip("no package index within reach")
    assert done.returncode == 0, done.stderr
    resolved = dict(re.findall(r"^ \+ ([\w.-]+)==(\S+)$", done.stderr, re.M))
    assert resolved
    pinned = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M)  # some twice, by Python
    assert set(resolved.items()) <= set(pinned)
    if stage == "build-mlflow":
        assert {"mlflow", "psycopg2-binary", "boto3"} <= resolved.keys()
        assert not {"torch", "ray"} & resolved.keys()
    else:
        assert {"torch", "ray", "mlflow", "kubernetes"} <= resolved.keys()


def test_a_run_of_an_image_names_the_commit_it_was_built_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 'COMMIT=""' in FINAL["platform"].all("ARG")
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
