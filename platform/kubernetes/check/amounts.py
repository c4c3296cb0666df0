"""Kubernetes' quantities (500m, 8Gi) as numbers and back, and what pods take.

In: specs of pods as plain dicts. Out: amounts by resource; cpu in cores, memory and disk in bytes.
"""

import re
from collections.abc import Mapping
from decimal import Decimal, DecimalException

from platform.kubernetes.client import Object

Amounts = dict[str, Decimal]
_SCALES = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE]?)|([KMGTPE])i|[eE]([+-]?\d+))")
_BYTES = ("memory", "ephemeral-storage", "storage")


class NoQuantity(ValueError):
    """A text that is no quantity; the message is one line."""


def amount(text: object, resource: str = "") -> Decimal:
    """A quantity as a number.

    Args:
        text: as the API server has it.
        resource: what it is of, for the message.

    Raises:
        NoQuantity: it is none.
    """
    unknown = NoQuantity(f"{resource or 'an amount'} is {text!r}, which is no quantity that is known here")
    if not (match := _FORM.fullmatch(str(text))):
        raise unknown
    number, scale, binary, exponent = match.groups()
    if binary:
        return Decimal(number) * 1024 ** ("KMGTPE".index(binary) + 1)
    try:
        return Decimal(number).scaleb(int(exponent) if exponent else 3 * _SCALES[scale])
    except DecimalException:
        raise unknown from None


def shown(resource: str, number: Decimal) -> str:
    """An amount for people: `12.5`, `96Gi`."""
    if resource.rpartition(".")[2] in _BYTES:
        gi = number / 2**30
        return f"{round(gi)}Gi" if gi >= 10 else f"{_plain(round(gi, 2))}Gi"
    return _plain(round(number, 2))


def amounts(quantities: Mapping[str, object] | None) -> Amounts:
    """A mapping of quantities as numbers."""
    return {resource: amount(text, resource) for resource, text in (quantities or {}).items()}


def of_pod(spec: Object, kind: str) -> Amounts:
    """What a pod asks for (`requests`) or may take (`limits`): its containers together, or one that runs before."""
    together: Amounts = {}
    for container in spec["containers"]:
        for resource, number in amounts((container.get("resources") or {}).get(kind)).items():
            together[resource] = together.get(resource, Decimal(0)) + number
    for container in spec.get("initContainers") or []:
        for resource, number in amounts((container.get("resources") or {}).get(kind)).items():
            together[resource] = max(together.get(resource, Decimal(0)), number)
    return together


def _plain(number: Decimal) -> str:
    return f"{number:f}".rstrip("0").rstrip(".") if "." in f"{number:f}" else f"{number:f}"
