"""MkDocs' hooks: pages that are made when the site is built.

In: the source tree. Out: the pages of k8s/ with their links turned, and `modules.md`, the first line of every module.
"""

import ast
import re
from pathlib import Path, PurePosixPath
from posixpath import normpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
KUBERNETES = {  # where a page is -> its name on the site
    "k8s/README.md": "kubernetes.md",
    "k8s/upgrades.md": "kubernetes-upgrades.md",
    "k8s/image/README.md": "kubernetes-images.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in the folder."""
    pages = {name: with_links_turned(page) for page, name in KUBERNETES.items()}
    for name, text in {**pages, "modules.md": modules()}.items():
        files.append(File.generated(config, name, content=text))
    return files


def with_links_turned(page: str) -> str:
    """A page of the source tree as one of the site: links to files that the site does not have become their paths."""

    def turned(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        path = normpath(str(PurePosixPath(page).parent / target))
        name = KUBERNETES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if name:
            return f"[{text}]({name}{anchor})"
        return f"`{path}`" if text.endswith(PurePosixPath(path).name) else f"{text} (`{path}`)"

    return re.sub(
        r"\[([^\]\n]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]+)?\)", turned, (ROOT / page).read_text(encoding="utf-8")
    )


def modules() -> str:
    """Every module with the first line of its docstring, a table for each folder."""
    lines = [
        "# Modules",
        "",
        "Every file with its first line. Who may import whom: [Architecture](architecture.md).",
        "",
    ]
    folder = None
    for file in sorted([*(ROOT / "jobs").rglob("*.py"), *(ROOT / "platform").rglob("*.py")], key=_place):
        if file.parent != folder:
            folder = file.parent
            lines += ["", f"## {folder.relative_to(ROOT)}", "", "| file | what |", "|---|---|"]
        summary = _summary(file)
        if summary:
            lines.append(f"| `{file.name}` | {summary} |")
    return "\n".join(lines) + "\n"


def _place(file: Path) -> tuple[Path, bool, str]:
    return file.parent, file.name != "__init__.py", file.name


def _summary(file: Path) -> str:
    """The first paragraph of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("|", "\\|")
