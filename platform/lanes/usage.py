"""What a worker measures of itself and its node, as its heartbeat carries it to the launcher."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Usage:
    """One measurement. Megabytes are 1e6 bytes."""

    number: int  # of this start of the worker
    every_s: float  # until the next
    node: Figures = field(default_factory=dict)  # CPU, memory, the disk's room
    # Totals of the node since it booted, in megabytes: (when this start began, now).
    counters: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    process: Figures = field(default_factory=dict)
    gpu: Figures = field(default_factory=dict)
    gpu_name: str = ""  # gpu_0, as its node counts them
    failures: tuple[str, ...] = ()  # what could not be measured, and why
