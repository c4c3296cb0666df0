"""The config reference: `python -m docs.write_reference` writes docs/reference.md.

In: the dataclasses of platform/config/, their comments and checks. Out: a page with every setting: key, type, unit,
default, meaning.
"""

import ast
import dataclasses
import inspect
import io
import json
import re
import sys
import tokenize
import types
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from platform.config.identity import NOT_IDENTITY, NOT_IDENTITY_NESTED
from platform.config.models import OwnModelConfig
from platform.config.sections import Config

PAGE = Path(__file__).with_name("reference.md")
HEAD = """# Config reference

Generated from `platform/config/` by `make docs`; do not edit. Every setting can be given on the command line as
`KEY=VALUE`. Types, choices and limits are checked before Ray starts. How overrides are written:
[Experiments](experiments.md#the-command-line).

A key with a † belongs to the identity of an experiment: with another value it is another experiment, which needs
another `name` ([Concepts](concepts.md#identity)). The files in `conf/` override some of these defaults; `--cfg job`
prints what a command resolves to.
"""
TYPES = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "any", types.NoneType: "null"}
UNITS = {  # of a setting's name
    "batch_size": "images",
    "block": "samples",
    "every_steps": "steps",
    "image_size": "px",
    "log_every_steps": "steps",
    "max_batch_per_worker": "images",
    "prefetch_batches": "batches",
    "samples_per_shard": "samples",
    "shorter_side": "px",
}
ENDINGS = {"s": "s", "h": "h", "days": "days", "gb": "GB", "epochs": "epochs"}  # of the last word of a name


@dataclass(frozen=True)
class Setting:
    """One row of the page."""

    key: str
    kind: str
    unit: str
    default: str
    meaning: str

    @property
    def is_identity(self) -> bool:
        """Whether another value makes another experiment."""
        section, _, rest = self.key.partition(".")
        return section not in NOT_IDENTITY and rest not in NOT_IDENTITY_NESTED.get(section, ())


@dataclass(frozen=True)
class Section:
    """One table of the page."""

    title: str  # "" of the settings that are in no section
    meaning: str
    settings: list[Setting]


def page() -> str:
    """The whole page, Markdown."""
    return HEAD + "\n" + "\n".join(map(_table, sections(Config)))


def sections(of: type, prefix: str = "") -> Iterator[Section]:
    """A dataclass and those in it, in the order of their fields. Where a field may hold several kinds of dataclass
    (the settings of one network or of another), each of them."""
    section, inner = _section(of, prefix, prefix.rstrip("."))
    yield section
    for kind, name in inner:
        yield from sections(kind, name)
        ours = [each for each in kind.__subclasses__() if each.__module__.startswith("platform.")]  # not a test's
        for special in ours:
            called = getattr(special, "name", "MODULE:FUNCTION" if special is OwnModelConfig else special.__name__)
            title = f"{name.rstrip('.')} of {called}"
            yield _section(special, name, title, without={each.name for each in dataclasses.fields(kind)})[0]


def _section(of: type, prefix: str, title: str, without: Container[str] = ()) -> tuple[Section, list[tuple[type, str]]]:
    """A dataclass, but for the fields `without`, and (dataclass, its prefix) of those in it."""
    comments, choices, inner, settings = _comments(of), _choices(of), [], []
    kinds = get_type_hints(of)
    for each in dataclasses.fields(of):
        key, kind = f"{prefix}{each.name}", kinds[each.name]
        if section := _dataclass_in(kind):
            inner.append((section, f"{key}."))
        elif each.name not in without:
            comment, choice = comments.get(each.name, ""), choices.get(key, "")
            if choice:
                comment = re.sub(r"^of [A-Z_]+[.;] ?", "", comment)  # where they stand, and here they follow
            meaning = " ".join(filter(None, [comment, choice]))
            settings.append(Setting(key, _kind(kind), _unit(each.name), _default(each), meaning))
    meaning = " ".join((inspect.getdoc(of) or "").partition("\n\n")[0].split())
    return Section(title, meaning, settings), inner


def _comments(section: type) -> dict[str, str]:
    """Those of a dataclass, and of what it inherits from."""
    found: dict[str, str] = {}
    for each in reversed(section.__mro__):
        if dataclasses.is_dataclass(each):
            found |= {name: comment for name, comment in comments_of(each).items() if comment}
    return found


def comments_of(section: type) -> dict[str, str]:
    """Field -> the comment behind it, or else the lines of comment above it."""
    source = inspect.getsource(section)
    behind: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            behind[token.start[0]] = token.string.removeprefix("#").strip()
    alone = {number for number, line in enumerate(source.splitlines(), start=1) if line.lstrip().startswith("#")}
    found = {}
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.ClassDef)
    for node in definition.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        words = [behind[line] for line in lines if line in behind]
        if not words:
            first = node.lineno
            while first - 1 in alone:
                first -= 1
            words = [behind[line] for line in range(first, node.lineno)]
        found[node.target.id] = _sentence(" ".join(words))
    return found


def _choices(section: type) -> dict[str, str]:
    """Key -> what `require_choice` of its module takes."""
    module = sys.modules[section.__module__]
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(section))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require_choice":
            key, _, given = node.args
            values = _value(given, module)
            if isinstance(key, ast.Constant) and values:
                found[key.value] = f"One of: {', '.join(f'`{each}`' for each in values)}."
    return found


def _value(node: ast.expr, module: types.ModuleType) -> list[str]:
    """Of a tuple as it stands, or of a name, maybe as tuple(NAME); of anything else nothing."""
    if isinstance(node, ast.Call) and len(node.args) == 1:
        node = node.args[0]
    if isinstance(node, ast.Tuple):
        return [str(each.value) for each in node.elts if isinstance(each, ast.Constant)]
    return [str(each) for each in getattr(module, node.id, ())] if isinstance(node, ast.Name) else []


def _dataclass_in(kind: Any) -> type | None:
    return next(
        (each for each in (kind, *get_args(kind)) if isinstance(each, type) and dataclasses.is_dataclass(each)), None
    )


def _kind(kind: Any) -> str:
    """In words of YAML."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(each) for each in get_args(kind))
    if origin is list:
        return f"list of {_kind(get_args(kind)[0])}"
    if origin is dict:
        return "mapping"
    return TYPES.get(kind, str(kind))


def _unit(name: str) -> str:
    return UNITS.get(name) or ENDINGS.get(name.rpartition("_")[2], "")


def _default(each: "dataclasses.Field[Any]") -> str:
    """As on the command line."""
    value = each.default_factory() if callable(each.default_factory) else each.default
    if value is dataclasses.MISSING:
        return ""
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, list):
        return f"[{','.join(f'{each:g}' if isinstance(each, float) else str(each) for each in value)}]"
    return value if isinstance(value, str) and value else json.dumps(value)


def _sentence(text: str) -> str:
    if not text:
        return ""
    return text if text.endswith((".", "?", "...")) else f"{text}."


def _table(section: Section) -> str:
    title = f"`{section.title}`" if section.title else "Top level"
    lines = [
        f"## {title}",
        "",
        section.meaning,
        "",
        "| key | type | unit | default | meaning |",
        "|---|---|---|---|---|",
    ]
    for each in section.settings:
        mark = " †" if each.is_identity else ""
        cells = [
            f"`{each.key}`{mark}",
            each.kind,
            each.unit,
            f"`{each.default}`" if each.default else "",
            _cell(each.meaning),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """A comment as Markdown: nothing in it is markup, and null is what YAML calls None."""
    return re.sub(r"\bNone\b", "null", text).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
