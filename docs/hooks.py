"""MkDocs' hooks: pages that are made when the site is built.

In: the source tree. Out: `kubernetes.md`, which is k8s/README.md with its links turned, and `modules.md`, the first
line of every module.
"""

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in the folder."""
    for name, text in {"kubernetes.md": kubernetes(), "modules.md": modules()}.items():
        files.append(File.generated(config, name, content=text))
    return files


def kubernetes() -> str:
    """k8s/README.md as a page of the site."""
    text = (ROOT / "k8s" / "README.md").read_text(encoding="utf-8").replace("](../docs/", "](")
    for page in ("[the images](image/README.md)", "[upgrades, backup and the end](upgrades.md)"):
        name, _, file = page.strip("[)").partition("](")
        text = text.replace(page, f"{name} (`k8s/{file}`)")
    return text


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
