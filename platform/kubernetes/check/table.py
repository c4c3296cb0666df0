"""Findings as a table: state, what was looked at, what was seen and the remedy, one line each.

In: findings. Out: lines for a terminal, wrapped under their column and coloured there; plain lines elsewhere.
"""

import os
import shutil
import sys
import textwrap

from platform.kubernetes.check.finding import MISSING, OK, UNKNOWN, WARNING, Finding
from platform.text import printable

_COLOURS = {OK: "32", MISSING: "31", WARNING: "33", UNKNOWN: "36"}
_LEAST = 40  # columns of the text, below which nothing is wrapped


def lines(findings: list[Finding]) -> list[str]:
    """The table, and a line with what it comes to."""
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else 0
    about = max((len(finding.about) for finding in findings), default=0)
    table = [line for finding in findings for line in _row(finding, about, width, is_coloured=is_terminal)]
    return [*table, summary(findings)]


def summary(findings: list[Finding]) -> str:
    """Whether the job would run, as far as is known."""
    counts = {state: sum(finding.state == state for finding in findings) for state in _COLOURS}
    if counts[MISSING]:
        verdict = f"{counts[MISSING]} missing: the job would fail"
    else:
        verdict = "nothing that is sure to make the job fail was found"
    rest = [
        f"{counts[WARNING]} warning(s)" if counts[WARNING] else "",
        f"{counts[UNKNOWN]} unknown" if counts[UNKNOWN] else "",
    ]
    return "; ".join(filter(None, (verdict, *rest)))


def _row(finding: Finding, about: int, width: int, *, is_coloured: bool) -> list[str]:
    state = max(map(len, _COLOURS))
    text = printable(finding.said)
    if finding.remedy:
        text += f"; {printable(finding.remedy)}"
    indent = state + about + 4
    room = width - indent
    parts = textwrap.wrap(text, room, break_on_hyphens=False) if room >= _LEAST else [text]
    shown = finding.state.ljust(state)
    if is_coloured and not os.environ.get("NO_COLOR"):
        shown = f"\x1b[{_COLOURS[finding.state]}m{shown}\x1b[0m"
    return [f"{shown}  {finding.about.ljust(about)}  {parts[0]}", *(" " * indent + part for part in parts[1:])]
