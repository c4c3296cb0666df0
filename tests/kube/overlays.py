"""The overlays as kustomize builds them, and their containers as what they would run: command, environment, files."""

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform.checkout import ROOT

OVERLAYS = ("dev", "kind", "gpu", "queue", "gke", "eks", "aks")
FOLDERS = {"base": ROOT / "k8s" / "base"} | {name: ROOT / "k8s" / "overlays" / name for name in OVERLAYS}
BELOW = {"kind": "dev", "queue": "gpu", "gke": "gpu", "eks": "gpu", "aks": "gpu"}  # what an overlay stands on
VARIABLE = re.compile(r"\$\(([A-Za-z_]\w*)\)")
Secrets = dict[str, dict[str, str]]  # name -> key -> value


def build(name: str) -> "Build":
    """An overlay's objects; skips where there is no kubectl."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl on this machine")
    return _build(name)


@functools.cache
def _build(name: str) -> "Build":
    return built(name, FOLDERS[name])


def on_top(name: str, folder: Path, **kustomization: Any) -> "Build":
    """An overlay of one's own in this folder, on top of one of ours; `components` by their names."""
    resources = [os.path.relpath(FOLDERS[name], folder.resolve())]
    components = [
        os.path.relpath(ROOT / "k8s" / "components" / each, folder.resolve())
        for each in kustomization.pop("components", [])
    ]
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    whole = head | {"resources": resources, "components": components} | kustomization
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(whole))
    return built(f"{name}, and more", folder)


ADDRESS = {"host": "runs.example.org", "class": "mine", "controllers": "traefik", "issuer": "ours"}


def opened(component: str, name: str, folder: Path) -> "Build":
    """With MLflow at https://runs.example.org through the component ingress or gateway."""
    literals = [f"{key}={value}" for key, value in ADDRESS.items()]
    generator = {"name": "mlflow-address", "namespace": "platform", "literals": literals}
    return on_top(name, folder, components=[component], configMapGenerator=[generator])


def built(name: str, folder: Path) -> "Build":
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return Build(name, [each for each in yaml.safe_load_all(done.stdout) if each])


@dataclass(frozen=True)
class Build:
    """The objects of an overlay."""

    name: str
    objects: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        """The object whose name begins so: generated ones end in a hash."""
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"].startswith(name)]
        return found


@dataclass(frozen=True)
class Process:
    """What a container would run: words, all of its environment, its volumes' files (path -> text)."""

    words: list[str]
    environment: dict[str, str]
    files: dict[str, str]


def process(build: Build, pod: dict[str, Any], container: dict[str, Any], secrets: Secrets) -> Process:
    """As the kubelet puts it together: later sources win, `env` above `envFrom`, `$(NAME)` filled in."""
    environment = variables(build, container, secrets)
    words = [*container.get("command", []), *container.get("args", [])]
    filled = [VARIABLE.sub(lambda match: environment.get(match[1], match[0]), word) for word in words]
    return Process(filled, environment, mounted(build, pod, container))


def variables(build: Build, container: dict[str, Any], secrets: Secrets) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= build.one("ConfigMap", source["configMapRef"]["name"])["data"]
        elif not source["secretRef"].get("optional") or source["secretRef"]["name"] in secrets:
            found |= secrets[source["secretRef"]["name"]]
    for variable in container.get("env", []):
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        else:
            reference = variable["valueFrom"]["secretKeyRef"]
            found[variable["name"]] = secrets[reference["name"]][reference["key"]]
    return found


def mounted(build: Build, pod: dict[str, Any], container: dict[str, Any]) -> dict[str, str]:
    files = {}
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        settings = volumes.get(mount["name"], {}).get("configMap")
        if settings:
            data = build.one("ConfigMap", settings["name"])["data"]
            items = settings.get("items") or [{"key": key, "path": key} for key in data]
            files |= {f"{mount['mountPath']}/{item['path']}": data[item["key"]] for item in items}
    return files
