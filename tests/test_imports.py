"""Who may import whom: the rooms of the platform in the order of the road, and what only some of them know."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform.checkout import ROOT

# Each may import those below it.
ROOMS = (
    "launch", "jobs", "compose", "serving", "weights", "prediction", "gpu_check", "bench", "tune", "lanes", "compare",
    "sweep", "chaos", "tracking", "kubernetes", "export", "report", "monitoring",
    "experiment",
    "summary", "training", "evaluation", "packing", "models", "data", "cluster", "drawing",
    "daemon_thread", "config", "console",
    "changes", "files", "signals", "text", "redaction", "locks", "overrides", "checkout", "marks",
)  # fmt: skip
KNOWN_TO = {
    "mlflow": ("platform.tracking.mlflow_", "platform.export.pyfunc"),  # the latter is copied into models, for MLflow
    "hydra": ("platform.launch", "platform.compose"),
    "kubernetes": ("platform.kubernetes.client", "platform.kubernetes.kubeconfig"),
    "prometheus_client": ("platform.monitoring.server",),
    "ray": (
        "jobs.pack",
        "platform.cluster",
        "platform.lanes",
        "platform.tune",
        "platform.chaos",
        "platform.bench",
        "platform.prediction.on_ray",
        "platform.serving",
    ),
}


def _modules() -> dict[str, Path]:
    files = [*(ROOT / "platform").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


MODULES = _modules()


def _imported(file: Path) -> Iterator[str]:
    """Wherever it stands in the file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                within = f"{node.module}.{name.name}"
                yield within if within in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def _room(module: str) -> str:
    first, _, rest = module.partition(".")
    return "jobs" if first == "jobs" else rest.partition(".")[0]


def test_every_module_has_a_room():
    assert {_room(module) for module in MODULES} - {""} == set(ROOMS)


@pytest.mark.slow
def test_no_import_goes_against_the_order():
    found = {
        (module, _room(other))
        for module, file in MODULES.items()
        for other in _imported(file)
        if other.split(".")[0] in ("platform", "jobs") and _room(other) and _room(module)
        if ROOMS.index(_room(other)) < ROOMS.index(_room(module))
    }
    assert found == set()


@pytest.mark.slow
@pytest.mark.parametrize("library", KNOWN_TO)
def test_a_library_is_known_where_it_belongs(library: str):
    where = {module for module, file in MODULES.items() for other in _imported(file) if other.split(".")[0] == library}
    assert where
    assert [module for module in sorted(where) if not module.startswith(KNOWN_TO[library])] == []


@pytest.mark.slow
def test_the_numerical_rooms_know_neither_ray_nor_mlflow_nor_hydra():
    """Nor does anything that they import."""
    rooms = ("data", "models", "training", "evaluation", "export", "packing", "summary", "sweep")
    modules = [module for module in MODULES if _room(module) in rooms and module != "platform.export.pyfunc"]
    code = f"""import importlib, sys
for module in {modules}:
    importlib.import_module(module)
print(*sys.modules.keys() & {{"ray", "mlflow", "hydra"}})"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == []
