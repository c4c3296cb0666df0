"""`table`: whether the members are rows that are compared, and the paper's figures, which stand beside ours.

In: nothing. Out: `TableConfig`, the members of its rows, and `PaperFigures`, a line of the paper's table.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from platform.config.checks import require, require_at_least, require_choice
from platform.overrides import join, key_of, override

MODELS_BY_CROPS = re.compile(r"\d+x\d+")
FIGURES = "[top-1 error, top-5 error, billions of multiply-adds], errors in per cent, null for one that it has not"


@dataclass
class TableConfig:
    """What the table at the end of an experiment compares, and the paper's figures beside ours."""

    against: str = "none"  # none: the members are an ensemble; else they are rows, each compared with this row
    cumulative: bool = False  # rows: each has the overrides of the rows above it as well, as in a ladder
    seeds: int = 1  # rows: trainings of each, with the seeds seed, seed + 1, ...
    paper: dict[str, Any] = field(
        default_factory=dict
    )  # row, or MODELSxCROPS as 7x144 -> the paper's top-1 and top-5 error in %, multiply-adds in billions

    def __post_init__(self) -> None:
        require_choice("table.against", self.against, ("none", "previous", "first"))
        require_at_least("table.seeds", self.seeds, 1)
        for what, has in (("cumulative is true", self.cumulative), (f"seeds is {self.seeds}", self.seeds > 1)):
            require(
                self.has_rows or not has,
                f"table.{what}, which has no effect on members that are an ensemble; give table.against=previous or "
                "first, which makes them rows, or leave it out",
            )
        for row, figures in self.paper.items():
            numbers = isinstance(figures, list) and all(type(each) in (int, float, NoneType) for each in figures)
            require(numbers and 1 <= len(figures) <= 3, f"table.paper.{row} is {figures}; give {FIGURES}")
            errors = [figure for figure in figures[:2] if figure is not None]
            require(all(0 <= error <= 100 for error in errors), f"table.paper.{row} is {figures}; give {FIGURES}")

    @property
    def has_rows(self) -> bool:
        """Whether the members are rows of a table, and no ensemble."""
        return self.against != "none"

    def members(self, rows: dict[str, list[str]], seed: int) -> dict[str, list[str]]:
        """The members of an experiment, with what differs in each: of rows one for each of their seeds.

        Args:
            rows: `ensemble.members`.
            seed: of the experiment.

        Raises:
            ConfigError: a row has its own seed or the name of another's member, with several seeds.
        """
        if not self.has_rows:
            return rows
        self._require_seeds_apart(rows)
        found, above = {}, []
        for name, own in rows.items():
            above = join(above, own) if self.cumulative else own
            for number in range(self.seeds):
                more = [override("seed", seed + number)] if number else []
                found[_member(name, number)] = join(above, more)
        return found

    def _require_seeds_apart(self, rows: dict[str, list[str]]) -> None:
        for name, own in rows.items() if self.seeds > 1 else ():
            require(
                "seed" not in map(key_of, own),
                f"row {name} sets seed, and table.seeds={self.seeds} trains each row with the experiment's seed and "
                "those after it; leave one out",
            )
            taken = [made for number in range(1, self.seeds) if (made := _member(name, number)) in rows]
            require(
                not taken,
                f"{''.join(taken[:1])} is a row, and what table.seeds={self.seeds} calls a training of row {name}; "
                "name the row otherwise",
            )

    def require_figures_of(self, rows: Collection[str]) -> None:
        """Refuse figures of the paper that no line of the table would show.

        Args:
            rows: names of the rows; of an ensemble or a single training they are not asked for.

        Raises:
            ConfigError: names the figures.
        """
        for key in self.paper:
            known = key in rows if self.has_rows else MODELS_BY_CROPS.fullmatch(key) is not None
            wanted = f"rows are {', '.join(rows)}" if self.has_rows else "lines are MODELSxCROPS as 7x144"
            require(known, f"table.paper.{key} is no line of this table, whose {wanted}; leave it out, or name one")

    def rows(self, members: Sequence[str]) -> dict[str, list[str]]:
        """Row -> its members, one a seed, in their order.

        Args:
            members: all of them, as `members` names them.
        """
        firsts = range(0, len(members), self.seeds)
        return {members[first]: list(members[first : first + self.seeds]) for first in firsts}

    def figures(self, row: str) -> "PaperFigures":
        """The paper's figures of a row, or of models x crops."""
        top1, top5, multiply_adds = [*self.paper.get(row, []), None, None, None][:3]
        return PaperFigures(_share(top1), _share(top5), multiply_adds)


@dataclass(frozen=True)
class PaperFigures:
    """What a paper's table has of a row; None: nothing. Errors are shares."""

    top1_error: float | None = None
    top5_error: float | None = None
    multiply_adds: float | None = None  # billions


def _member(row: str, number: int) -> str:
    """The first has the row's name, by which the row is known."""
    return f"{row}-seed{number}" if number else row


def _share(percent: float | None) -> float | None:
    return percent / 100 if percent is not None else None
