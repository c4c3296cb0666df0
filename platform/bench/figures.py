"""Measured figures: a name with its unit and the values of all repeats."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Figures:
    """Names such as `loader.cpu_ratio` -> the values of all repeats."""

    values: dict[str, list[float]] = field(default_factory=dict)
    meanings: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float, meaning: str) -> None:
        """Add the value of one repeat; `meaning` is shown beside it in the table."""
        self.values.setdefault(name, []).append(value)
        self.meanings[name] = meaning

    def medians(self) -> dict[str, float]:
        """The median of each figure's repeats."""
        return {name: statistics.median(values) for name, values in self.values.items()}

    def lines(self) -> list[str]:
        """The printed table: name, median, smallest and largest of the repeats, meaning."""
        text = [f"{'figure':<32}{'median':>10}{'lowest':>10}{'highest':>10}  meaning"]
        for name, values in self.values.items():
            numbers = "".join(f"{number(value):>10}" for value in (statistics.median(values), min(values), max(values)))
            text.append(f"{name:<32}{numbers}  {self.meanings[name]}")
        return text


def number(value: float) -> str:
    """A number with three significant digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


Measurement = Callable[[], float]
