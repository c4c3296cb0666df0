"""What each layer of the image holds and weighs, from the pins and the sizes of their wheels.

    python -m tests.kube.image_layers [aarch64]

A wheel is a zip: about what its files weigh compressed in a layer, which is what a node pulls.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from platform.checkout import ROOT

BASE_MB = {"x86_64": 47.8, "aarch64": 47.5}  # the base as docker-library/repo-info records it, compressed
GIGABIT_MB_S = 125


@dataclass(frozen=True)
class Wheel:
    package: str
    layer: str
    megabytes: float
    file: str  # its name; empty where there is only the source


def uv() -> str | None:
    """`make setup` brings it."""
    return shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")


def script() -> ModuleType:
    """k8s/image/layers.py, as a module."""
    spec = importlib.util.spec_from_file_location("image_layers", ROOT / "k8s" / "image" / "layers.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def wheels(machine: str) -> list[Wheel]:
    """What the image installs on a machine of that kind; raises CalledProcessError where no index is within reach."""
    with TemporaryDirectory() as folder:
        lock = Path(folder) / "pylock.toml"
        command = [
            uv() or "uv", "pip", "compile", "--quiet", "--python-version", "3.11", "--python-platform",
            f"{machine}-manylinux_2_36", "pyproject.toml", "-c", "constraints.txt", "--format", "pylock.toml",
            "-o", str(lock),
        ]  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300)
        packages = tomllib.loads(lock.read_text())["packages"]
    layer = script().layer
    return [_wheel(each, layer(each["name"])) for each in packages]


def _wheel(package: dict[str, Any], layer: str) -> Wheel:
    """The most particular one of those that fit: a package that is compiled also as pure Python is not chosen so."""
    found = package.get("wheels") or []
    chosen = max(found, key=lambda each: each["size"], default=package.get("sdist") or {})
    file = chosen["url"].rpartition("/")[2] if found else ""
    return Wheel(package["name"], layer, chosen["size"] / 1e6, file)


def megabytes(found: list[Wheel], layer: str) -> float:
    return sum(each.megabytes for each in found if each.layer == layer)


def code_mb() -> float:
    """What the image copies of the repository, as it weighs on disk: less than that is pulled."""
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (ROOT / "Dockerfile").read_text().split("AS platform")[1], re.M)
    files = [file for text in copied for name in text.split() for file in _files(ROOT / name)]
    return sum(file.stat().st_size for file in files) / 1e6


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [each for each in path.rglob("*") if each.suffix in (".py", ".yaml")]


def main(machine: str) -> None:
    found = wheels(machine)
    rows = [("base", BASE_MB[machine], "Debian, Python 3.11")]
    for layer in script().LAYERS:
        here = sorted((each for each in found if each.layer == layer), key=lambda each: -each.megabytes)
        names = ", ".join(each.package for each in here[:4])
        rows.append((layer, megabytes(found, layer), f"{len(here)} packages: {names}, ..."))
    rows.append(("code", code_mb(), "conf, platform, jobs"))
    for name, size, text in rows:
        print(f"{name:6} {size:8.1f} MB  {size / GIGABIT_MB_S:5.1f} s at 1 Gb/s  {text}")
    whole = sum(size for _, size, _ in rows)
    print(f"{'all':6} {whole:8.1f} MB  {whole / GIGABIT_MB_S:5.1f} s at 1 Gb/s")


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "x86_64")
