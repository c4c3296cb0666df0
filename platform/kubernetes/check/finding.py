"""What a check has found: a state, what was seen, the remedy.

In: words of the checks. Out: findings, and a check that may not see something as one of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

OK = "ok"
MISSING = "missing"  # the job would fail for certain
WARNING = "warning"  # it may fail, or wait
UNKNOWN = "unknown"  # these rights do not show it


@dataclass(frozen=True)
class Finding:
    """One line. `about` is what was looked at, in a word or two."""

    state: str
    about: str
    said: str
    remedy: str = ""


Findings = Iterator[Finding]


def ok(about: str, said: str) -> Finding:
    """It is as the job needs it."""
    return Finding(OK, about, said)


def missing(about: str, said: str, remedy: str) -> Finding:
    """The job would fail for certain."""
    return Finding(MISSING, about, said, remedy)


def warning(about: str, said: str, remedy: str = "") -> Finding:
    """The job may fail or wait."""
    return Finding(WARNING, about, said, remedy)


def unknown(about: str, said: str, remedy: str = "") -> Finding:
    """It cannot be seen."""
    return Finding(UNKNOWN, about, said, remedy)
