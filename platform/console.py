"""Progress of counted work and durations for people: a bar on a terminal, plain lines elsewhere.

In: counts, seconds. Out: text on stdout.
"""

import time

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Counter:
    """Shows the progress of counted work: a bar on a terminal, a line every tenth elsewhere. A context manager.

    Call it with the number done and the total.

    Args:
        what: is being done, such as `packing`.
        unit: of the count, such as `images`.
        plain: print lines; None: unless stdout is a terminal.
    """

    def __init__(self, what: str, unit: str, *, plain: bool | None = None) -> None:
        self._what, self._unit = what, unit
        console = RichConsole(highlight=False)
        self._plain = not console.is_terminal if plain is None else plain
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Speed(unit),
            TimeRemainingColumn(),
            console=console,
            disable=self._plain,
        )
        self._task = self._bar.add_task(what, total=None)
        self._started = time.monotonic()
        self._tenths = 0

    def __enter__(self) -> "Counter":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)
        tenths = 10 * done // total
        if tenths < self._tenths:  # a new pass
            self._tenths, self._started = 0, time.monotonic()
        if self._plain and tenths > self._tenths:
            self._tenths = tenths
            elapsed = max(time.monotonic() - self._started, 1e-3)
            left = f"  about {duration(elapsed / done * (total - done))} left" if done < total else ""
            counted = f"{100 * done // total:>3}%  {done:,} of {total:,} {self._unit}"
            print(f"{self._what} {counted}  {done / elapsed:,.0f} {self._unit}/s{left}", flush=True)


class _Speed(ProgressColumn):
    """Speed in units a second, over rich's window."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} {self._unit}/s")


def duration(seconds: float) -> str:
    """Seconds as text with at most two units: 90 -> 1m30s."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"


def clock(seconds: float) -> str:
    """Seconds as MM:SS, from an hour on as H:MM:SS: 03:07, 1:03:07."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
