"""Measured figures: medians of several repeats, a name and a unit for each."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Figures:
    """Flat names such as `loader.cpu_ratio` -> the values of every repeat."""

    values: dict[str, list[float]] = field(default_factory=dict)
    meanings: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float, meaning: str) -> None:
        self.values.setdefault(name, []).append(value)
        self.meanings[name] = meaning

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(values) for name, values in self.values.items()}

    def lines(self) -> list[str]:
        """The printed table: median, smallest and largest of the repeats, meaning."""
        text = [f"{'figure':<32}{'median':>10}{'lowest':>10}{'highest':>10}  meaning"]
        for name, values in self.values.items():
            numbers = "".join(f"{number(value):>10}" for value in (statistics.median(values), min(values), max(values)))
            text.append(f"{name:<32}{numbers}  {self.meanings[name]}")
        return text


def number(value: float) -> str:
    """Three significant digits, or a whole number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


Measurement = Callable[[], float]
