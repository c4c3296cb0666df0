"""What was found: checks with their differences, figures with their ranges, and what was left out and why.

In: results of the parts, as they come. Out: what the table shows and the JSON holds.
"""

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from platform.bench.figures import Figures
from platform.gpu_check.difference import Difference, largest

PASSED, FAILED = "passed", "FAILED"


class NotHere(Exception):
    """This machine lacks what a part needs: it is left out, and nothing has failed. The message says what to do."""


@dataclass(frozen=True)
class Check:
    """One thing that was compared."""

    name: str
    outcome: str  # PASSED or FAILED
    difference: float | None  # the one nearest to its tolerance; None: nothing could be compared
    tolerance: float | None
    detail: str


@dataclass(frozen=True)
class LeftOut:
    """What was not done."""

    name: str
    reason: str


@dataclass
class Results:
    """Grows with each part."""

    checks: list[Check] = field(default_factory=list)
    figures: Figures = field(default_factory=Figures)
    left_out: list[LeftOut] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # part -> what it took

    def compare(self, name: str, differences: Iterable[Difference], detail: str = "") -> None:
        """Add a check of several differences, each with its tolerance: it has passed where all have."""
        found = list(differences)
        worst = largest(found)
        outcome = PASSED if all(each.passed for each in found) else FAILED
        said = "; ".join(f"{each.what} {each.value:.1e} of {each.tolerance:.0e}" for each in found)
        self.checks.append(Check(name, outcome, worst.value, worst.tolerance, said + (f"; {detail}" if detail else "")))

    def require(self, name: str, detail: str, *, passed: bool) -> None:
        """Add a check that has no number."""
        self.checks.append(Check(name, PASSED if passed else FAILED, None, None, detail))

    def leave_out(self, name: str, reason: str) -> None:
        """Note what is not done, and why."""
        self.left_out.append(LeftOut(name, reason))

    def median(self, name: str) -> float | None:
        """Of a figure; None: it was not measured."""
        values = self.figures.values.get(name)
        return statistics.median(values) if values else None

    @property
    def failed(self) -> list[Check]:
        """The checks that have not passed."""
        return [check for check in self.checks if check.outcome != PASSED]

    def as_json(self) -> dict[str, Any]:
        """Plain values: NaN and infinities as text, which JSON has no numbers for."""
        return {
            "passed": not self.failed,
            "checks": [{name: plain(value) for name, value in asdict(check).items()} for check in self.checks],
            "figures": [self._figure(name) for name in self.figures.values],
            "left_out": [asdict(each) for each in self.left_out],
            "seconds": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
        }

    def _figure(self, name: str) -> dict[str, Any]:
        values = self.figures.values[name]
        return {
            "name": name,
            "median": statistics.median(values),
            "lowest": min(values),
            "highest": max(values),
            "values": values,
            "meaning": self.figures.meanings[name],
        }


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    is_number = not isinstance(value, float) or value - value == 0
    return value if is_number else str(value)
