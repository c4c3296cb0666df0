"""The source of a network of one's own: which files it is made of, found without running any of them.

In: `model.name=MODULE:FUNCTION`. Out: file -> digest, of the module and of what it imports from the same folder; these
are part of the experiment's identity. No PyTorch here: the launcher asks for it.
"""

import ast
import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from platform.checkout import ROOT
from platform.config.checks import ConfigError, require
from platform.config.models import ModelConfig, OwnModelConfig
from platform.config.sections import Config
from platform.text import first_line

OURS = ("platform", "jobs")  # whose version is that of the checkout
INSTALLED = "site-packages"


def with_sources(config: Config) -> Config:
    """The config with `model.sources` filled in, where its network is one's own.

    Raises:
        ConfigError: there is no such module, or other sources were given than are here.
    """
    model = config.model
    if not isinstance(model, OwnModelConfig):
        return config
    require_same(model)
    return replace(config, model=replace(model, sources=sources_of(model.name)))


def require_same(model: OwnModelConfig) -> None:
    """`model.sources`, where there are any, are those that are here.

    Raises:
        ConfigError: with the files that differ.
    """
    if not model.sources:
        return
    found = sources_of(model.name)
    other = sorted(file for file in found | model.sources if found.get(file) != model.sources.get(file))
    require(
        not other,
        f"model.name is {model.name}, whose source was another when the run was launched ({', '.join(other)}); bring "
        "that back, or train under another name",
    )


def require_shipped(config: Config) -> None:
    """The network's source is where every process of the run finds it.

    Raises:
        ConfigError: it is in a folder of this machine or this process only.
    """
    if not isinstance(config.model, OwnModelConfig):
        return
    root, module = root_of(_module(config.model)), _module(config.model)
    cluster = config.cluster
    if root == ROOT or INSTALLED in root.parts:
        return
    remedy = f"move it into {ROOT}, which is sent along"
    require(
        cluster.address is None and cluster.kube is None,
        f"model.name is {config.model.name}, and {module} is in {root}, which the cluster does not have; {remedy}",
    )
    inherited = [Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    require(
        root in inherited,
        f"model.name is {config.model.name}, and {module} is in {root}, where workers do not look; set "
        f"PYTHONPATH={root}, or move it into {ROOT}",
    )


def sources_of(name: str) -> dict[str, str]:
    """File, relative to the folder that the module is imported from -> the first 16 digits of its SHA-256.

    Args:
        name: MODULE:FUNCTION.

    Raises:
        ConfigError: there is no such module, or a file is no Python.
    """
    module = name.partition(":")[0]
    root = root_of(module)
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        for file in _files(root, waiting.pop()):
            relative = file.relative_to(root).as_posix()
            if relative not in found:
                content = file.read_bytes()
                found[relative] = hashlib.sha256(content).hexdigest()[:16]
                package = ".".join(file.relative_to(root).parts[:-1])
                waiting += [each for each in _imported(content, package, file) if _is_own(root, module, each)]
    return dict(sorted(found.items()))


def root_of(module: str) -> Path:
    """The folder of `sys.path` that a module is imported from.

    Raises:
        ConfigError: none has it.
    """
    for entry in dict.fromkeys(Path(entry).resolve() for entry in ["", *sys.path]):
        if _file(entry, module):
            return entry
    raise ConfigError(
        f"model.name is of the module {module}, and there is no {module.replace('.', '/')}.py in {Path.cwd()}, {ROOT} "
        "or PYTHONPATH; give MODULE:FUNCTION of one"
    )


def _module(model: ModelConfig) -> str:
    return model.name.partition(":")[0]


def _files(root: Path, module: str) -> Iterator[Path]:
    """Of a module and the packages that it is in, those that there are."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        if file := _file(root, ".".join(parts[:count])):
            yield file


def _file(root: Path, module: str) -> Path | None:
    place = root.joinpath(*module.split("."))
    return next((file for file in (place / "__init__.py", place.with_name(f"{place.name}.py")) if file.is_file()), None)


def _imported(content: bytes, package: str, file: Path) -> Iterator[str]:
    """Names of modules in the import statements of a file, of what may be modules also."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{file} is no Python ({first_line(error)}); mend it") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            base = parts[: len(parts) - node.level + 1] if node.level else []
            of = ".".join([*base, *([node.module] if node.module else [])])
            yield from filter(None, [of, *(f"{of}.{alias.name}".lstrip(".") for alias in node.names)])


def _is_own(root: Path, module: str, imported: str) -> bool:
    """Of the same folder; of installed packages only what is of the same one."""
    top = imported.partition(".")[0]
    return top not in OURS and (INSTALLED not in root.parts or top == module.partition(".")[0])
