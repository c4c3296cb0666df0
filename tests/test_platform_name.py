"""`platform` is the standard library's module and our package at once, in every kind of process."""

import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from platform.checkout import ROOT


def both_faces() -> tuple[str, str]:
    """What the standard module says, and where our package is from."""
    import platform
    import platform.config.sections

    return platform.system(), str(platform.config.sections.__file__)


def expected() -> tuple[str, str]:
    return os.uname().sysname, str(ROOT / "platform" / "config" / "sections.py")


def test_in_this_pytest():
    assert both_faces() == expected()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_in_a_child_process(method: str):
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(both_faces) == expected()


@pytest.mark.slow
@pytest.mark.parametrize("command", [["-m", "pytest"], ["-c", "import pytest; pytest.main()"]])
def test_in_both_ways_to_start_pytest(tmp_path: Path, command: list[str]):
    script = [str(Path(sys.executable).with_name("pytest"))] if command[0] == "-c" else [sys.executable, *command]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [*script, "-q", "tests/test_platform_name.py::test_in_this_pytest"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_objects_of_the_standard_module_pickle():
    import platform

    assert pickle.loads(pickle.dumps(platform.uname())) == platform.uname()  # noqa: S301


def test_everything_public_of_the_standard_module_is_there():
    import platform

    code = "import platform; print(*[n for n in dir(platform) if not n.startswith('_')])"
    names = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(names.split()) <= set(dir(platform))


def test_importing_it_imports_nothing_heavy():
    code = "import sys, platform.config.sections; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "ray", "mlflow", "numpy"} & set(done.stdout.split())


def test_python_m_pip_still_works():
    done = subprocess.run([sys.executable, "-m", "pip", "--version"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
