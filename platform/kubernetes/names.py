"""The name of an experiment's RayJob: short enough for KubeRay, and never that of another experiment.

In: what the experiment is called, its folder, its job. Out: names, and whether a RayJob that is there is the same one.
Kubernetes takes fewer characters than a folder, so `v1.0` and `v1_0` become the same word: annotations say which it is.
"""

import hashlib
import re
import unicodedata
from typing import Any

from platform.config.kubernetes import KUBE_NAME

Object = dict[str, Any]  # of Kubernetes, as its JSON
EXPERIMENT, FOLDER, JOB = "platform/experiment", "platform/folder", "platform/job"  # annotations
TRAINING = ("train", "ensemble", "check")  # the other jobs of an experiment are called NAME-evaluate
_WITH_NAME = ("app.kubernetes.io/instance", "yunikorn.apache.org/app-id")  # labels that repeat the RayJob's name
_DIGITS = 6  # of the digest


def annotations(experiment: str, folder: str, job: str) -> dict[str, str]:
    """What a RayJob says of its experiment.

    Args:
        experiment: its name.
        folder: its URL, or CLAIM:PATH on a volume.
        job: of the config; training, an ensemble and the check of it are one.
    """
    return {EXPERIMENT: experiment, FOLDER: folder, JOB: "train" if job in TRAINING else job}


def name_of(said: dict[str, str], longest: int = KUBE_NAME) -> str:
    """The RayJob's name for these annotations: the plain one where Kubernetes takes it as it is, else with a digest."""
    plain = _plain(said)
    return plain if _cleaned(plain) == plain and len(plain) <= longest else with_digest(said, longest)


def with_digest(said: dict[str, str], longest: int = KUBE_NAME) -> str:
    """The name that no other experiment has."""
    what = "\n".join(said[key] for key in (EXPERIMENT, FOLDER, JOB))
    digest = hashlib.sha256(what.encode()).hexdigest()[:_DIGITS]
    return f"{_cleaned(_plain(said))[: longest - _DIGITS - 1].rstrip('-')}-{digest}"


def names_to_take(manifest: Object) -> list[str]:
    """Names that a new RayJob may get: its own; where that is another's, the one with a digest."""
    said, own = _said(manifest), manifest["metadata"]["name"]
    return list(dict.fromkeys([own, with_digest(said)])) if FOLDER in said else [own]


def names_to_look_for(manifest: Object) -> list[str]:
    """Names under which the RayJob may be there already: those, and the one that earlier versions gave it."""
    said = _said(manifest)
    return list(dict.fromkeys([*names_to_take(manifest), *(_earlier(said) if FOLDER in said else [])]))


def is_same(present: Object, manifest: Object) -> bool:
    """Whether a RayJob that is there, under one of these names, is of the manifest's experiment and job."""
    ours, theirs = _said(manifest), _said(present)
    if EXPERIMENT not in ours:
        return True  # no manifest of ours: a name is all that it has
    if FOLDER not in theirs:  # of an earlier version, or no RayJob of this platform
        return theirs.get(EXPERIMENT) == ours[EXPERIMENT] and present["metadata"]["name"] in _earlier(ours)
    return all(theirs.get(key) == ours.get(key) for key in (EXPERIMENT, FOLDER, JOB))


def whose(present: Object) -> str:
    """Whose a RayJob is, for messages."""
    said = _said(present)
    if EXPERIMENT not in said:
        return "no experiment of this platform"
    return f"experiment {said[EXPERIMENT]}{f' in {said[FOLDER]}' if FOLDER in said else ''}"


def renamed(manifest: Object, name: str) -> Object:
    """The manifest under another name, which its labels repeat."""
    return _with_labels(manifest | {"metadata": manifest["metadata"] | {"name": name}}, name)


def _with_labels(node: Any, name: str) -> Any:
    if isinstance(node, dict):
        return {key: name if key in _WITH_NAME else _with_labels(child, name) for key, child in node.items()}
    return [_with_labels(child, name) for child in node] if isinstance(node, list) else node


def _said(manifest: Object) -> dict[str, str]:
    """Its annotations; of a RayJob that a schedule made, those of the pod that submits."""
    own = manifest["metadata"].get("annotations") or {}
    template = (manifest.get("spec") or {}).get("submitterPodTemplate") or {}
    return own if EXPERIMENT in own else (template.get("metadata") or {}).get("annotations") or own


def _plain(said: dict[str, str]) -> str:
    return said[EXPERIMENT] + ("" if said[JOB] in TRAINING else f"-{said[JOB]}")


def _cleaned(text: str) -> str:
    """Lower-case letters, digits and hyphens, beginning with a letter; accents and other scripts are left out."""
    ascii_only = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode().lower()
    name = _with_hyphens(ascii_only)
    return name if name[:1].isalpha() else f"run-{name}".rstrip("-")


def _earlier(said: dict[str, str]) -> list[str]:
    """The name before there were digests, where there could be one."""
    suffix = "" if said[JOB] in TRAINING else f"-{said[JOB]}"
    name = _with_hyphens(said[EXPERIMENT].lower()) + suffix
    return [name] if name[:1].isalpha() and len(name) <= KUBE_NAME else []


def _with_hyphens(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")
