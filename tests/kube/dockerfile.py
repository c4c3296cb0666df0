"""A Dockerfile as stages and instructions, enough of the language for ours."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """One FROM and what follows it."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)  # (RUN, "...")

    def all(self, keyword: str) -> list[str]:
        return [text for word, text in self.instructions if word == keyword]


def stages(path: Path) -> tuple[dict[str, str], list[Stage]]:
    """(ARGs before the first stage, stages in order)."""
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for word, text in instructions(path.read_text()):
        if word == "FROM":
            base, _, name = text.partition(" AS ")
            found.append(Stage(name, base.replace("${", "{").format(**arguments)))
        elif found:
            found[-1].instructions.append((word, text))
        else:
            assert word == "ARG", word
            name, _, value = text.partition("=")
            arguments[name] = value
    return arguments, found


def instructions(text: str) -> list[tuple[str, str]]:
    """Comments away, continued lines joined."""
    kept = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", kept)
    return [(word, " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def commands(run: str) -> list[list[str]]:
    """The commands of a RUN as words, without its mounts."""
    words = [word for word in shlex.split(run) if not word.startswith("--mount=")]
    found: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            found.append([])
        else:
            found[-1].append(word)
    return found
