"""Kubernetes' quantities as numbers: 500m, 2, 8Gi."""

import re
from decimal import Decimal

PREFIXES = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
FORM = re.compile(r"([+-]?[0-9]*\.?[0-9]+|[0-9]+\.)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")


def quantity(text: object) -> Decimal:
    """500m -> 0.5, 8Gi -> 8589934592. ValueError for what is none."""
    match = FORM.fullmatch(str(text))
    if not match:
        raise ValueError(f"{text!r} is no quantity; write 500m, 2 or 8Gi")
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return number * Decimal(10) ** int(suffix[1:])
    if suffix.endswith("i"):
        return number * Decimal(1024) ** "KMGTPE".index(suffix[0]) * 1024
    return number * Decimal(1000) ** PREFIXES[suffix]
