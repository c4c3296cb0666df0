"""How a RayJob that is there differs from the one that would be submitted.

In: two RayJobs as the server stores them. Out: one line for people.
"""

import shlex
from collections import Counter
from typing import Any

from platform.kubernetes.client import Object

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_OF_KUEUE = ("nodeSelector", "tolerations", "labels", "annotations", "schedulingGates")  # what it adds to pods
_SHOWN = 3


def differences(wanted: Object, present: Object) -> list[str]:
    """Compare two RayJobs, without what a queue adds.

    Args:
        wanted: as the server would store it, with defaults.
        present: the one that is there.

    Returns:
        a text for each field or label that differs, the entrypoint first.
    """
    ours, theirs = _leaves(wanted["spec"]), _leaves(present["spec"])
    queued = QUEUE_LABEL in (present["metadata"].get("labels") or {})
    found = []
    for path in sorted(ours.keys() | theirs.keys(), key=lambda path: (path != "entrypoint", path)):
        if path == "suspend" or ours.get(path) == theirs.get(path):  # suspend is the queue's
            continue
        if path not in ours and queued and any(f".{word}" in path for word in _OF_KUEUE):
            continue
        found.append(_line(path, ours.get(path), theirs.get(path)))
    labels = present["metadata"].get("labels") or {}
    for label, value in (wanted["metadata"].get("labels") or {}).items():
        if labels.get(label) != value:
            found.append(f"label {label} {_said(labels.get(label))} -> {_said(value)}")
    return found


def summary(found: list[str]) -> str:
    """The first few differences, and how many more there are."""
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more


def _line(path: str, ours: Any, theirs: Any) -> str:
    if path == "entrypoint":
        return f"entrypoint {_words(str(ours), str(theirs))}"
    if ".env." in path:
        return f"{path} changed"  # the values may be secrets
    return f"{path} {_said(theirs)} -> {_said(ours)}"


def _words(ours: str, theirs: str) -> str:
    """The words of a command that were removed (-) and added (+)."""
    new, old = Counter(_split(ours)), Counter(_split(theirs))
    changes = [f"-{word}" for word in (old - new).elements()] + [f"+{word}" for word in (new - old).elements()]
    return " ".join(changes) or "the same words, in another order or quoted otherwise"


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _said(value: Any) -> str:
    return "none" if value is None else str(value)


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every value that is no map or list, by its path; items of a list by their name where they have one."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = [(_item(item, number), item) for number, item in enumerate(value)]
    else:
        return {path: value}
    leaves = {}
    for key, item in items:
        leaves |= _leaves(item, f"{path}.{key}" if path else str(key))
    return leaves


def _item(item: Any, number: int) -> str:
    name = (item.get("name") or item.get("groupName")) if isinstance(item, dict) else None
    return str(name or number)
