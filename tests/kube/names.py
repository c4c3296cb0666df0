"""How Kubernetes names things, and how our lines name a field."""

import difflib
import re
from typing import Any

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")  # RFC 1123
METADATA = ("name", "generateName", "namespace", "labels", "annotations", "finalizers", "ownerReferences")
Path = tuple[str | int, ...]  # of a field
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


def field(path: Path) -> str:
    """("spec", "ports", 0, "name") -> spec.ports[0].name; names with dots in brackets, as kubectl writes them."""
    text = ""
    for step in path:
        if isinstance(step, int) or "." in step or "/" in step:
            text += f"[{step}]"
        else:
            text += f".{step}"
    return text.lstrip(".")


def name_error(name: object, longest: int = 63) -> str | None:
    """Why this is no RFC 1123 label of at most so many characters."""
    if not isinstance(name, str) or not LABEL.fullmatch(name):
        return "use lower-case letters, digits and '-', beginning and ending with a letter or digit"
    return f"use at most {longest} characters, not {len(name)}" if len(name) > longest else None


def subdomain_error(name: object) -> str | None:
    """Why this is no RFC 1123 subdomain: labels joined by dots, 253 characters."""
    if not isinstance(name, str) or not all(LABEL.fullmatch(part) for part in name.split(".")):
        return "use lower-case letters, digits, '-' and '.', each part beginning and ending with a letter or digit"
    return f"use at most 253 characters, not {len(name)}" if len(name) > 253 else None


def label_key_error(key: object) -> str | None:
    """Why this is no key of a label or annotation: NAME or DOMAIN/NAME."""
    if not isinstance(key, str):
        return "use text"
    prefix, slash, name = key.rpartition("/")
    if slash and (error := subdomain_error(prefix)):
        return f"before '/': {error}"
    if not name or not VALUE.fullmatch(name) or len(name) > 63:
        return "use 1 to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
    return None


def label_value_error(value: object) -> str | None:
    """Why this is no value of a label."""
    if not isinstance(value, str):
        return f"put it in quotes: a label is text, not {type(value).__name__}"
    if len(value) > 63:
        return f"use at most 63 characters, not {len(value)}"
    if not VALUE.fullmatch(value):
        return "use letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
    return None


def metadata_errors(manifest: dict[str, Any]) -> list[str]:
    """What a server has against an object's metadata; the definitions of custom kinds say nothing of it."""
    metadata = manifest.get("metadata", {})
    found = []
    for name in metadata:
        if name not in METADATA:
            close = difflib.get_close_matches(name, METADATA, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(METADATA)}"
            found.append(f"{field(('metadata', name))} is unknown; {remedy}")
    if "generateName" not in metadata and (error := subdomain_error(metadata.get("name"))):
        found.append(f"metadata.name is {metadata.get('name')!r}; {error}")
    if "namespace" in metadata and (error := name_error(metadata["namespace"])):
        found.append(f"metadata.namespace is {metadata['namespace']!r}; {error}")
    return found + [
        f"{field(path)} is {value!r}; {remedy}" for path, value, remedy in label_errors(metadata, ("metadata",))
    ]


def label_errors(metadata: dict[str, Any], path: Path) -> list[tuple[Path, object, str]]:
    """Labels and annotations of an object or a pod template that a server refuses: (field, value, remedy)."""
    found: list[tuple[Path, object, str]] = []
    for key, value in (metadata.get("labels") or {}).items():
        if error := label_key_error(key) or label_value_error(value):
            found.append(((*path, "labels", key), value, error))
    for key, value in (metadata.get("annotations") or {}).items():
        error = label_key_error(key)
        if error or not isinstance(value, str):
            found.append(((*path, "annotations", key), value, error or "put it in quotes"))
    return found
