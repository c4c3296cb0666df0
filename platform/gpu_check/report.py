"""The table of the self-test on the terminal, and its JSON.

In: results. Out: text, by rich where it is installed; a file that is whole after each part.
"""

import json
from dataclasses import asdict
from pathlib import Path

from platform.bench.figures import number
from platform.files import write_atomically
from platform.gpu_check.machine import Machine
from platform.gpu_check.results import Results

FILE = "gpu_check.json"
WIDTH = 180  # of a table that goes to no terminal
HEAD = ("what", "result", "found", "range or limit", "detail")
Row = tuple[str, str, str, str, str]


def rows(results: Results) -> list[Row]:
    """Checks, figures, and what was left out."""
    found: list[Row] = []
    for check in results.checks:
        difference, limit = ("" if value is None else f"{value:.1e}" for value in (check.difference, check.tolerance))
        found.append((check.name, check.outcome, difference, limit and f"at most {limit}", check.detail))
    for each in results.as_json()["figures"]:
        between = f"{number(each['lowest'])} to {number(each['highest'])}"
        found.append((each["name"], "", number(each["median"]), between, each["meaning"]))
    found += [(each.name, "left out", "", "", each.reason) for each in results.left_out]
    return found


def show(machine: Machine, results: Results, seconds: float, file: Path) -> None:
    """Print the table, and in a last line what came out."""
    print(machine.line)
    _table(rows(results))
    failed, left = results.failed, results.left_out
    said = f"{len(failed)} of {len(results.checks)} checks FAILED: {', '.join(each.name for each in failed)}"
    print(
        f"{said if failed else f'all {len(results.checks)} checks passed'}; {len(results.figures.values)} figures, "
        f"{len(left)} left out, {seconds:.0f} s; {file}"
    )


def save(machine: Machine, results: Results, minutes: float, seconds: float, file: Path) -> None:
    """Write the JSON, a whole file each time.

    Raises:
        OSError: it cannot be written.
    """
    content = {"machine": asdict(machine), "minutes": minutes, "took_s": round(seconds, 1)} | results.as_json()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(content, indent=1) + "\n")


def _table(found: list[Row]) -> None:
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:  # a bare machine
        print("\n".join(plain(found)))
        return
    table = Table(*HEAD)
    for row in found:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    console = Console()
    Console(width=None if console.is_terminal else WIDTH).print(table)


def plain(found: list[Row]) -> list[str]:
    """The table's lines without rich."""
    lines = [HEAD, *found]
    widths = [max(len(row[column]) for row in lines) for column in range(len(HEAD) - 1)]
    return ["  ".join([*map(str.ljust, row, widths), row[-1]]) for row in lines]
