"""The layers of the image: what is in which, what they weigh, that each is made of its own list alone."""

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from platform.checkout import ROOT
from tests.kube.dockerfile import commands, stages
from tests.kube.image_layers import Wheel, code_mb, megabytes, script, uv, wheels

_, STAGES = stages(ROOT / "Dockerfile")
STAGE = {stage.name: stage for stage in STAGES}
LAYERS = script().LAYERS
SPLIT: Callable[[str], dict[str, list[str]]] = script().split
HASHED_UNCHECKED = b"\x01\0\0\0"  # the flags of bytecode that is never compared with its source
UNREACHABLE = re.compile("dns error|error sending request|Failed to fetch|Could not connect")


def resolved(machine: str) -> list[Wheel]:
    if not uv():
        pytest.skip("no uv beside this Python; make setup brings it")
    try:
        return wheels(machine)
    except subprocess.CalledProcessError as error:
        if UNREACHABLE.search(error.stderr):
            pytest.skip("no package index within reach")
        raise AssertionError(error.stderr) from error


def installs(stage: str) -> list[list[str]]:
    """The `uv pip install` of each RUN."""
    return [
        command
        for run in STAGE[stage].all("RUN")
        for command in commands(run)
        if command[:3] == ["uv", "pip", "install"]
    ]


def test_every_package_is_in_one_layer() -> None:
    lines = ["nvidia-cublas==1 ; sys_platform == 'linux'", "cuda-bindings==1", "triton==1", "torch==1", "ray==1"]
    ours = ["nvidia-ml-py==1", "nvidia-nvimgcodec-cu13==1", "hydra-core==1"]
    assert SPLIT("\n".join(lines + ours)) == {
        "cuda": lines[:2], "torch": lines[2:4], "large": ["ray==1", ours[1]], "small": [ours[0], ours[2]],
    }  # fmt: skip


def test_a_line_that_pins_nothing_ends_the_build() -> None:
    with pytest.raises(SystemExit, match="ray>=2"):
        SPLIT("torch==1\nray>=2\n")


def test_each_layer_is_installed_from_its_own_list_in_the_order_of_how_seldom_it_changes() -> None:
    found = installs("platform")
    assert [command[-2:] for command in found] == [["-r", f"/lists/{name}.txt"] for name in LAYERS]
    assert all("--no-deps" in command for command in found + installs("mlflow"))
    runs = [run for run in STAGE["platform"].all("RUN") if "uv pip install" in run]
    for name, run in zip(LAYERS, runs, strict=True):
        assert re.findall(r"from=lists,source=(\S+?),", run) == [f"/lists/{name}.txt"]  # another list changes nothing
    words = [word for word, _ in STAGE["platform"].instructions]
    assert words.index("COPY") > max(STAGE["platform"].instructions.index(("RUN", run)) for run in runs)


def test_lists_and_installs_are_those_of_a_developers_machine() -> None:
    (pinned,) = re.findall(r"^UV := (\S+)$", (ROOT / "Makefile").read_text(), re.M)
    assert f"UV={pinned}" in STAGE["tools"].all("ARG")
    compiled = [
        command
        for run in STAGE["lists"].all("RUN")
        for command in commands(run)
        if command[:3] == ["uv", "pip", "compile"]
    ]
    assert all("-c constraints.txt" in " ".join(command) for command in compiled)
    assert "pyproject.toml" in compiled[0]
    assert "--group" in compiled[1]
    for stage in ("platform", "mlflow"):  # the file system is read-only later, and layers are to be the same each time
        assert any("UV_COMPILE_BYTECODE=1" in text for text in STAGE[stage].all("ARG"))
        assert any("PYC_INVALIDATION_MODE=UNCHECKED_HASH" in text for text in STAGE[stage].all("ARG"))
    (compile_all,) = [run for run in STAGE["platform"].all("RUN") if "compileall" in run]
    assert "--invalidation-mode unchecked-hash" in compile_all


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_change_of_code_or_of_a_small_package_pulls_megabytes(machine: str) -> None:
    found = resolved(machine)
    assert {"torch", "ray", "mlflow", "kubernetes"} <= {each.package for each in found}
    assert code_mb() < 10
    assert megabytes(found, "small") + code_mb() < 60
    assert megabytes(found, "large") < 400
    assert megabytes(found, "cuda") + megabytes(found, "torch") > 0.85 * sum(each.megabytes for each in found)
    assert [each for each in found if each.layer == "small" and each.megabytes > 4] == []
    light = [each.package for each in found if each.layer == "large" and each.megabytes < 3]
    assert light == ["mlflow-tracing"]  # it shares files with mlflow
    large = {each.package for each in found if each.layer == "large"}
    assert large == set(script().LARGE)  # no name in the list that nothing brings


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_both_architectures_have_wheels_of_everything_that_is_compiled(machine: str) -> None:
    for wheel in resolved(machine):
        if not wheel.file:
            assert wheel.package == "antlr4-python3-runtime"  # source only, and only Python
        else:
            assert wheel.file.endswith("none-any.whl") or machine in wheel.file, wheel


@pytest.mark.slow
@pytest.mark.parametrize("name", ["platform", "mlflow"])
def test_the_constraints_pin_all_that_an_image_installs(name: str, tmp_path: Path) -> None:
    """The Dockerfile's own commands."""
    lists = make_lists(tmp_path)
    lines = [line for layer in (LAYERS if name == "platform" else ["mlflow"]) for line in lists[layer]]
    got = {re.split(" ;", line)[0].strip() for line in lines}
    pinned = re.findall(r"^([\w.-]+==\S+)", (ROOT / "constraints.txt").read_text(), re.M)
    assert got <= set(pinned)
    packages = {line.partition("==")[0] for line in got}
    if name == "mlflow":
        assert {"mlflow", "psycopg2-binary", "boto3", "flask-wtf"} <= packages
        assert not {"torch", "ray"} & packages


def make_lists(folder: Path) -> dict[str, list[str]]:
    """What the stage `lists` makes of this checkout; skips where there is no index."""
    if not uv():
        pytest.skip("no uv beside this Python; make setup brings it")
    (text,) = STAGE["lists"].all("COPY")
    for name in text.split()[:-1]:
        (folder / Path(name).name).write_bytes((ROOT / name).read_bytes())
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for run in STAGE["lists"].all("RUN"):
        script_ = run.replace("/lists", str(folder / "lists"))
        done = subprocess.run(
            ["bash", "-euc", script_], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        if UNREACHABLE.search(done.stderr):
            pytest.skip("no package index within reach")
        assert done.returncode == 0, done.stderr
    return {file.stem: file.read_text().splitlines() for file in (folder / "lists").glob("*.txt")}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_layers_made_one_after_the_other_are_the_environment_of_the_platform(tmp_path: Path) -> None:
    """The Dockerfile's installs, from uv's cache: none touches what is below it, together they run the launcher."""
    make_lists(tmp_path)
    (mode,) = STAGE["platform"].all("ARG")[:1]
    environment = {
        **os.environ, **dict(word.split("=") for word in mode.split()), "UV_OFFLINE": "1", "UV_LINK_MODE": "hardlink",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    seen: dict[Path, tuple[int, int]] = {}
    for run in [each for each in STAGE["platform"].all("RUN") if "uv pip install" in each]:
        words = " ".join(word for word in run.split() if not word.startswith("--mount="))
        text = words.replace("/lists", str(tmp_path / "lists")).replace("/opt/venv", str(tmp_path / "venv"))
        text = text.replace("--cache-dir /root/.cache/uv", "").replace(
            "--no-project", f"--no-project -p {sys.executable}"
        )
        done = subprocess.run(["bash", "-euc", text], env=environment, capture_output=True, text=True, timeout=900)
        if "not found in the cache" in done.stderr or "Network connectivity is disabled" in done.stderr:
            pytest.skip("the wheels are not in uv's cache, and 3 GB are not pulled for a test")
        assert done.returncode == 0, done.stderr
        now = {
            file: (file.lstat().st_mtime_ns, file.lstat().st_size)
            for file in (tmp_path / "venv").rglob("*")
            if not file.is_dir()
        }
        assert {file: now.get(file) for file in seen} == seen  # a layer only adds
        seen = now
    compiled = [file for file in seen if file.suffix == ".pyc"]
    assert len(compiled) > 10_000
    assert {file.read_bytes()[4:8] for file in compiled} == {HASHED_UNCHECKED}
    version = sysconfig.get_python_version()
    assert (tmp_path / "venv" / "lib" / f"python{version}" / "site-packages" / "torch").is_dir()
    done = subprocess.run(
        [tmp_path / "venv" / "bin" / "python", "-m", "platform.launch", "--info", "defaults"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}, cwd=tmp_path,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
