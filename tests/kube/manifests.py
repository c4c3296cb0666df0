"""Manifests to break: the one written by hand, and one field of it changed."""

import copy
from pathlib import Path
from typing import Any

import yaml

RAYJOB = Path(__file__).with_name("rayjob.yaml")
REMOVED = object()


def rayjob() -> dict[str, Any]:
    return unshared(yaml.safe_load(RAYJOB.read_text()))


def changed(manifest: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with the field at `spec/workers/0/name` set, or taken away for REMOVED.

    `-` adds to a list, `~` is a slash within a name.
    """
    manifest = unshared(manifest)
    *road, last = (step.replace("~", "/") for step in path.split("/"))
    node: Any = manifest
    for step in road:
        node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
    if last == "-":
        node.append(copy.deepcopy(value))
    elif value is REMOVED:
        del node[int(last) if isinstance(node, list) else last]
    else:
        node[int(last) if isinstance(node, list) else last] = copy.deepcopy(value)
    return manifest


def unshared(node: Any) -> Any:
    """A deep copy in which nothing is the same object twice, as YAML's anchors would have it."""
    if isinstance(node, dict):
        return {name: unshared(child) for name, child in node.items()}
    if isinstance(node, list):
        return [unshared(child) for child in node]
    return node
