"""What an API server with KubeRay's definitions says to a RayJob or RayCluster that somebody creates.

In: a manifest as parsed YAML. Out: one line for each thing it would refuse, or silently drop. As a server does it:
defaults, names and labels, the schema, keys of lists, the CEL rules. Transition rules (`oldSelf`) compare with nothing
on creation.
"""

import copy
import difflib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import cel
import jsonschema
import yaml

from tests.kube.names import Path as Where
from tests.kube.names import field, metadata_errors

CRDS = Path(__file__).resolve().parents[3] / "shared" / "reference" / "kuberay-crds"
FILES = {"RayCluster": "ray.io_rayclusters.yaml", "RayJob": "ray.io_rayjobs.yaml"}
INTEGERS = {"int32": 2**31, "int64": 2**63}


def errors(manifest: dict[str, Any]) -> list[str]:
    """Lines `field is VALUE; why` in the order of the fields; empty where the manifest would be accepted as it is.

    FileNotFoundError where KubeRay's definitions are not beside the checkout.
    """
    kind, version = str(manifest.get("kind")), str(manifest.get("apiVersion"))
    if kind not in FILES:
        return [f"kind is {kind!r}; must be one of {', '.join(FILES)}"]
    versions = served(kind)
    if version not in versions:
        return [f"apiVersion is {version!r}; must be one of {', '.join(versions)}"]
    schema = versions[version]
    completed = with_defaults(copy.deepcopy(manifest), schema)
    return [
        *metadata_errors(manifest),
        *structure(completed, schema),
        *duplicates(completed, schema),
        *refused(completed, schema),
    ]


@functools.cache
def served(kind: str) -> dict[str, dict[str, Any]]:
    """apiVersion -> closed schema of this kind."""
    definition = yaml.load((CRDS / FILES[kind]).read_text(), yaml.CSafeLoader)["spec"]
    return {
        f"{definition['group']}/{version['name']}": closed(version["schema"]["openAPIV3Schema"])
        for version in definition["versions"]
        if version["served"]
    }


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema for JSON Schema's fourth draft with unknown fields refused, which a server drops without a word."""
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {name: closed(inner) for name, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = closed(schema["additionalProperties"])
    if "items" in schema:
        schema["items"] = closed(schema["items"])
    if (bound := INTEGERS.get(schema.get("format", ""))) and schema.get("type") == "integer":
        schema.setdefault("minimum", -bound)
        schema.setdefault("maximum", bound - 1)
    if schema.get("nullable") and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    return schema


def with_defaults(value: Any, schema: dict[str, Any]) -> Any:
    """The value with what a server adds: defaults of the fields of every object that is there."""
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name not in value and "default" in inner:
                value[name] = copy.deepcopy(inner["default"])
    for step, _, inner in children(value, schema):
        value[step] = with_defaults(value[step], inner)
    return value


def children(value: Any, schema: dict[str, Any]) -> Iterator[tuple[str | int, Any, dict[str, Any]]]:
    """What a value holds that its schema describes: (name or position, value, schema)."""
    if isinstance(value, dict):
        others = schema.get("additionalProperties")
        for name, child in value.items():
            inner = schema.get("properties", {}).get(name, others)
            if isinstance(inner, dict):
                yield name, child, inner
    elif isinstance(value, list) and "items" in schema:
        for position, child in enumerate(value):
            yield position, child, schema["items"]


def nodes(value: Any, schema: dict[str, Any], path: Where = ()) -> Iterator[tuple[Where, Any, dict[str, Any]]]:
    """A value and everything in it, each with its path and schema."""
    yield path, value, schema
    for step, child, inner in children(value, schema):
        yield from nodes(child, inner, (*path, step))


def structure(manifest: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """What does not fit the schema: types, patterns, choices, bounds, missing and unknown fields."""
    found = jsonschema.Draft4Validator(schema).iter_errors(manifest)
    return [
        line for error in sorted(found, key=lambda error: [str(step) for step in error.path]) for line in said(error)
    ]


def said(error: jsonschema.ValidationError) -> Iterator[str]:
    """A validator's error as our lines: the field, its value, what would fit."""
    path: Where = tuple(error.absolute_path)
    schema, value, wanted = cast(Any, (error.schema, error.instance, error.validator_value))
    match error.validator:
        case "additionalProperties":
            known = schema["properties"]
            for name in sorted(set(value) - set(known)):
                yield f"{field((*path, name))} is unknown; {meant(str(name), list(known))}"
        case "required":
            for name in schema["required"]:
                if name not in value:
                    yield f"{field((*path, name))} is missing; it is required"
        case "type":
            types = wanted if isinstance(wanted, str) else " or ".join(wanted)
            yield f"{field(path)} is {value!r}; must be of type {types}"
        case "enum":
            yield f"{field(path)} is {value!r}; must be one of {', '.join(map(str, schema['enum']))}"
        case "pattern" | "anyOf" if schema.get("x-kubernetes-int-or-string"):
            yield f"{field(path)} is {value!r}; write a quantity: 500m, 2, 8Gi"
        case _:
            yield f"{field(path)} is {value!r}; {error.message}"


def meant(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"


def duplicates(manifest: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """Entries of lists that are sets, or maps by some of their fields, and have the same key twice."""
    found = []
    for path, value, inner in nodes(manifest, schema):
        kind = inner.get("x-kubernetes-list-type")
        if not isinstance(value, list) or kind not in ("map", "set"):
            continue
        keys = [key(entry, inner.get("x-kubernetes-list-map-keys")) for entry in value]
        for position, entry in enumerate(keys):
            if entry in keys[:position]:
                found.append(f"{field((*path, position))} is {entry!r} once more; keep one of them")
    return found


def key(entry: Any, names: list[str] | None) -> Any:
    if names is None or not isinstance(entry, dict):
        return entry
    return {name: entry.get(name) for name in names}


def refused(manifest: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """What the definitions' own CEL rules say."""
    return [
        f"{field(path)} is {value!r}; {rule.get('message', rule['rule'])}"
        for path, value, inner in nodes(manifest, schema)
        for rule in inner.get("x-kubernetes-validations", [])
        if "oldSelf" not in rule["rule"] and not holds(rule["rule"], value)
    ]


def holds(rule: str, value: Any) -> bool:
    """A rule that cannot be evaluated (a value of another type, say) refuses too, as a server's does."""
    try:
        return cel.evaluate(rule, {"self": value}) is True
    except (ValueError, TypeError, RuntimeError):
        return False
