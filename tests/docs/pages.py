"""What the pages for readers hold: commands, links, words."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from docs.hooks import KUBERNETES
from platform.checkout import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "AGENTS.md",
    ROOT / "CHANGELOG.md",
    *(ROOT / page for page in KUBERNETES),
    *sorted((ROOT / "docs").glob("*.md")),
]
LAUNCH = "python -m platform.launch"
MADE = {ROOT / "docs" / name: ROOT / page for page, name in KUBERNETES.items()} | {
    ROOT / "docs" / "modules.md": ROOT / "mkdocs.yml"
}  # of docs/, when the site is built -> what it is made of


def commands() -> Iterator[tuple[str, str]]:
    """(page, command) of every `python -m platform.launch ...`: whole, without its comment."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for code in [*fenced(text), *inline(text)]:
            for line in code.replace("\\\n", " ").splitlines():
                if line.strip().startswith(LAUNCH):
                    yield str(page.relative_to(ROOT)), shlex.join(shlex.split(line, comments=True))


def fenced(text: str) -> list[str]:
    """Blocks of code."""
    return re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def inline(text: str) -> list[str]:
    """Code within sentences."""
    without_blocks = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", without_blocks)]


def links(page: Path) -> list[str]:
    """Targets of Markdown links and pictures, and of HTML's."""
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```\w*\n.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|srcset|href)="([^"]+)"', prose)


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub and MkDocs make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}
