"""A container of a pod's manifest as the kubelet would start it: variables, command, folder. Pure.

In: the pod's manifest and the secrets of its namespace. Out: words and variables, with $(VAR) replaced by Kubernetes'
rules; nothing yet of the machine that it shall run on.
"""

import math
from dataclasses import dataclass
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from tests.kube.standin.derive import Manifest

Secrets = dict[str, dict[str, str]]  # by name and key, in plain text


class ManifestError(ValueError):
    """A pod that would stay Pending: what it refers to is not there. One line."""


@dataclass(frozen=True)
class Command:
    """What a container runs."""

    words: list[str]
    variables: dict[str, str]  # the image's own are not among them
    folder: str | None


def resolve(pod: Manifest, container: Manifest, secrets: Secrets) -> Command:
    """Raises:
    ManifestError: a secret, a key or a field that is not there.
    """
    variables: dict[str, str] = {}
    for source in container.get("envFrom", []):
        variables |= _all_of(source, secrets)
    for entry in container.get("env", []):
        value = _value(entry, pod, container, secrets)
        if value is not None:
            variables[entry["name"]] = expand(value, variables) if "value" in entry else value
    words = [*container.get("command", []), *container.get("args", [])]
    return Command([expand(word, variables) for word in words], variables, container.get("workingDir"))


def expand(text: str, variables: dict[str, str]) -> str:
    """Replace $(VAR) where VAR is known and leave it where not; $$ becomes one dollar, and what follows it is text
    (Kubernetes' third_party/forked/golang/expansion)."""
    parts, at = [], 0
    while (dollar := text.find("$", at)) >= 0 and dollar + 1 < len(text):
        parts.append(text[at:dollar])
        end = text.find(")", dollar) if text[dollar + 1] == "(" else -1
        if end >= 0:
            name = text[dollar + 2 : end]
            parts.append(variables.get(name, f"$({name})"))
            at = end + 1
        else:
            parts.append("$" if text[dollar + 1] == "$" else text[dollar : dollar + 2])
            at = dollar + 2
    return "".join(parts) + text[at:]


def _all_of(source: Manifest, secrets: Secrets) -> dict[str, str]:
    reference = source.get("secretRef")
    if reference is None:
        raise ManifestError(f"envFrom {source}: the stand-in knows secretRef only")
    if reference["name"] not in secrets and reference.get("optional"):
        return {}
    prefix = source.get("prefix", "")
    return {f"{prefix}{key}": value for key, value in _secret(reference["name"], secrets).items()}


def _secret(name: str, secrets: Secrets) -> dict[str, str]:
    if name not in secrets:
        raise ManifestError(f"there is no secret {name}, only {sorted(secrets)}; create it, or make it optional")
    return secrets[name]


def _value(entry: Manifest, pod: Manifest, container: Manifest, secrets: Secrets) -> str | None:
    source: dict[str, Any] = entry.get("valueFrom", {})
    if "secretKeyRef" in source:
        reference = source["secretKeyRef"]
        if reference.get("optional") and reference["key"] not in secrets.get(reference["name"], {}):
            return None
        found = _secret(reference["name"], secrets)
        if reference["key"] not in found:
            raise ManifestError(f"secret {reference['name']} has no key {reference['key']}, only {sorted(found)}")
        return found[reference["key"]]
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return _resource(container, source["resourceFieldRef"])
    if source:
        raise ManifestError(f"{entry['name']}: the stand-in does not know {sorted(source)}")
    return entry.get("value", "")


def _field(pod: Manifest, path: str) -> str:
    """Such as metadata.name or metadata.labels['ray.io/group']."""
    owner, bracket, key = path.partition("['")
    found: Any = pod
    for part in [*owner.split("."), *([key.removesuffix("']")] if bracket else [])]:
        if part not in found:
            raise ManifestError(f"the pod has no field {path}")
        found = found[part]
    return found


def _resource(container: Manifest, reference: Manifest) -> str:
    kind, _, name = reference["resource"].partition(".")
    quantity = container.get("resources", {}).get(kind, {}).get(name)
    if quantity is None:
        raise ManifestError(f"the container has no {reference['resource']}")
    return str(math.ceil(parse_quantity(quantity) / parse_quantity(reference.get("divisor", "1"))))
