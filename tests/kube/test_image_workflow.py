"""How the images are built: the workflow file, the names it gives, the commits of what it uses."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform.checkout import ROOT
from platform.config.kubernetes import KubeConfig
from tests.kube.dockerfile import stages

FOLDER = ROOT / ".github" / "workflows"
BUILD = "docker/build-push-action"


def workflow(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text())


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yml")), ids=lambda file: file.name)
def test_every_action_is_a_commit_and_says_its_version(file: Path) -> None:
    used = re.findall(r"uses: (.+)", file.read_text())
    assert used
    for each in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


def test_an_action_has_one_commit_everywhere() -> None:
    found = {use for file in FOLDER.glob("*.yml") for use in re.findall(r"uses: (\S+)", file.read_text())}
    assert len(found) == len({use.partition("@")[0] for use in found})


def test_only_a_tag_of_a_release_is_pushed_no_pull_request_and_no_branch() -> None:
    written = workflow("image.yml")
    assert written["env"]["PUSH"] == "${{ startsWith(github.ref, 'refs/tags/v') }}"
    (build,) = [step for step in steps("image.yml") if step.get("uses", "").startswith(BUILD)]
    assert "push=${{ env.PUSH }}" in build["with"]["outputs"]
    assert written["jobs"]["publish"]["if"] == "startsWith(github.ref, 'refs/tags/v')"
    (login,) = [step for step in written["jobs"]["build"]["steps"] if "login-action" in step.get("uses", "")]
    assert login["if"] == "env.PUSH == 'true'"
    assert written["permissions"] == {"contents": "read"}


def test_images_come_with_their_parts_and_their_provenance_and_are_the_same_each_time() -> None:
    (build,) = [step for step in steps("image.yml") if step.get("uses", "").startswith(BUILD)]
    assert build["with"]["sbom"] is True
    assert build["with"]["provenance"] == "mode=max"
    assert "rewrite-timestamp=true" in build["with"]["outputs"]
    arguments = dict(line.split("=", 1) for line in build["with"]["build-args"].splitlines())
    assert arguments["SOURCE_DATE_EPOCH"] == "0"
    _, found = stages(ROOT / "Dockerfile")
    known = {word.partition("=")[0] for stage in found for text in stage.all("ARG") for word in text.split()}
    assert arguments.keys() - {"SOURCE_DATE_EPOCH"} <= known
    assert {each.name for each in found} >= {"platform", "mlflow"}
    assert re.findall("'([a-z]+)'", build["with"]["target"]) == ["platform", "platform", "mlflow"]


def test_both_architectures_are_built_where_they_run() -> None:
    build = workflow("image.yml")["jobs"]["build"]
    assert build["strategy"]["matrix"]["arch"] == ["amd64", "arm64"]
    assert "ubuntu-24.04-arm" in build["runs-on"]
    script = "\n".join(step.get("run", "") for step in workflow("image.yml")["jobs"]["publish"]["steps"])
    assert '"$name-amd64" "$name-arm64"' in script


@pytest.mark.parametrize("image", ["platform", "platform-mlflow"])
def test_the_workflow_names_images_as_the_manifests_do(image: str) -> None:
    done = subprocess.run(
        ["k8s/image/names.sh", image], cwd=ROOT, env={"PATH": "/usr/bin:/bin", "REPOSITORY": "registry.test/Owner"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    name = done.stdout.strip().removeprefix("registry.test/owner/")
    server = (ROOT / "k8s" / "base" / "mlflow" / "server.yaml").read_text()
    wanted = {KubeConfig().image, *re.findall(r"image: (platform-mlflow:\S+)", server)}
    assert name in wanted
    assert name.startswith(f"{image}:")


def test_another_name_is_refused() -> None:
    done = subprocess.run([ROOT / "k8s/image/names.sh", "ray"], capture_output=True, text=True, env={"PATH": "/bin"})
    assert (done.returncode, done.stderr) == (2, "ray is no image; platform or platform-mlflow\n")
