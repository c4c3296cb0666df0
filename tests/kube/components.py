"""An overlay together with one of k8s/components, as kustomize builds them."""

import os
import subprocess
from pathlib import Path

import yaml

from platform.checkout import ROOT
from tests.kube.overlays import FOLDERS, Build, build


def with_component(overlay: str, component: str, folder: Path, more: str = "") -> Build:
    """What an operator's own kustomization on top of an overlay builds; `more` is added to it."""
    build(overlay)  # skips where there is no kubectl
    below, beside = FOLDERS[overlay], ROOT / "k8s" / "components" / component
    folder = folder.resolve()
    (folder / "kustomization.yaml").write_text(
        f"resources: [{os.path.relpath(below, folder)}]\ncomponents: [{os.path.relpath(beside, folder)}]\n{more}"
    )
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return Build(f"{overlay}+{component}", [each for each in yaml.safe_load_all(done.stdout) if each])


def brought(overlay: str, component: str, folder: Path, more: str = "") -> Build:
    """Only what the component brings."""
    there = {(each["kind"], each["metadata"]["name"]) for each in build(overlay).objects}
    whole = with_component(overlay, component, folder, more)
    return Build(whole.name, [each for each in whole.objects if (each["kind"], each["metadata"]["name"]) not in there])
