"""How the code speaks of itself: everything public has a docstring that says what it does, in the field's own terms."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform.checkout import ROOT

Node = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
FILES = [*sorted((ROOT / "platform").rglob("*.py")), *sorted((ROOT / "jobs").glob("*.py"))]
PROSE = [
    *FILES,
    *sorted((ROOT / "conf").rglob("*.yaml")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]
# What this project once said, and what people who use PyTorch, Ray and MLflow search for.
SAY_INSTEAD = {
    r"\bprocessors?\b": "CPU, CPUs, CPU-second",
    r"\bbehind (the|its) back\b": "on a daemon thread",
    r"should (still )?get waits?\b|should get goes\b": "metrics are queued in FILE",
    r"\bHEALED_BY_PEOPLE\b": "AUTH_STATUSES",
    r"\bMAY_PASS\b": "RETRYABLE_STATUSES",
    r"\b[Pp]ulses?\b": "heartbeat",
    r"\bstill[_ ]for(_s)?\b": "stalled, stalled_s",
    r"\bvictims?\b": "peer, or the worker that is killed",
    r"\b_?[Aa]gendas?\b": "trial queue",
    r"\b_?[Bb]ooks?\b": "trial store, log of attempts",
    r"\b_?[Mm]oments?\b": "evaluation point; the time",
    r"\b_?[Jj]udges?\b|\b(to|ask)_judge\b": "on_evaluation",
    r"\barithmetic\(": "autocast_dtype()",
    r"\b_exchange\(": "gradient_sync()",
    r"\bwords of (its|the|a) command line\b|\bcommand line's words\b": "overrides",
    r"\b(sealed_words|words_for_pods|words_there|different_words)\b": "the same with overrides",
}


def _nodes(file: Path) -> Iterator[tuple[str, Node]]:
    """A module, and its public classes, functions and methods; what is within a function is nobody else's."""
    tree = ast.parse(file.read_text())
    yield f"{file.relative_to(ROOT)}:1", tree
    waiting: list[ast.Module | ast.ClassDef] = [tree]
    while waiting:
        for node in waiting.pop().body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                yield f"{file.relative_to(ROOT)}:{node.lineno} {node.name}", node
                if isinstance(node, ast.ClassDef):
                    waiting.append(node)


@functools.cache
def _of_protocols() -> set[str]:
    """Names of methods that a Protocol describes for all classes that have them."""
    classes = [
        node for file in FILES for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef)
    ]
    protocols = [node for node in classes if "Protocol" in map(ast.unparse, node.bases)]
    return {each.name for node in protocols for each in node.body if isinstance(each, ast.FunctionDef)}


def _needs_one(node: Node) -> bool:
    """All but functions of a single line, and methods that a Protocol describes."""
    if isinstance(node, ast.Module | ast.ClassDef):
        return True
    if node.name in _of_protocols() and node.args.args[:1] and node.args.args[0].arg == "self":
        return False
    only = node.body[0]
    return len(node.body) > 1 or only.end_lineno != only.lineno


def _docstrings(file: Path) -> Iterator[tuple[str, str]]:
    """Where it stands and its text, of everything that has one, private things too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text


def test_everything_public_has_a_docstring() -> None:
    bare = [place for file in FILES for place, node in _nodes(file) if _needs_one(node) and not ast.get_docstring(node)]
    assert bare == []


def test_a_docstring_says_first_what_it_does() -> None:
    """Not what it raises or returns, which has its section."""
    wrong = [
        place
        for file in FILES
        for place, text in _docstrings(file)
        if re.match(r"(Raises|Returns|Args|Yields)\b", text)
    ]
    assert wrong == []


def test_nothing_is_as_above() -> None:
    """Whoever looks up one function does not read the one above it."""
    wrong = [
        f"{file.relative_to(ROOT)}:{number} {line.strip()}"
        for file in FILES
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if re.search(r"\b[Aa]s above\b", line)
    ]
    assert wrong == []


@pytest.mark.parametrize("pattern", SAY_INSTEAD)
def test_the_fields_own_term_is_used(pattern: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{number} {line.strip()}"
        for file in PROSE
        if file.exists()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert wrong == [], f"say: {SAY_INSTEAD[pattern]}"
