"""What of Ray 2.60 we lean on or work around beyond its documentation: each with its reason, all in this file.

In: this process and its interpreter. Out: settings, a folder and log files that Ray takes or makes. Look at each of
them again when Ray's version changes.
"""

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from platform.config import ConfigError

JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # a driver's settings, from whoever starts it: `ray._private.worker.init`
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107  # what the kernel takes of AF_UNIX
# The longest of Ray's: `node.py` makes it of date, process and number ("plasma_store.1" where that name is taken).
SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.12"
RAY = [sys.executable, "-m", "platform.ray_internals"]  # `ray`, from the checkout: see `main`
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
LOG_FILES = ("raylet.err", "gcs_server.err", "worker-*.err", "runtime_env_agent.err", "dashboard_agent.err", "*.err")
LONG_LOGS = ("runtime_env_agent.log", "raylet.out", "gcs_server.out")  # with a letter for each line's severity
TOLD_LINES, TOLD_FILES, TOLD_LENGTH = 3, 3, 300
TAIL_BYTES = 20_000


def settle() -> None:
    """No other Ray behind our back, no paragraphs on the terminal, workers of this environment."""
    import ray._private.auto_init_hook as auto_init
    import ray._private.ray_constants as constants
    import ray._private.services as services
    import ray._private.worker as driver

    auto_init.enable_auto_connect = False  # threads that outlive `disconnect` would start another Ray
    driver.print_to_stdstream = lambda *_, **__: None  # paragraphs on dead workers, of which we say a line
    # With `uv run` among this process's parents Ray would start every worker by that, in a copy of the directory.
    constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # of drivers that this one starts
    # The raylet takes commands apart as a shell does; Ray puts them together as Windows wants it, where an apostrophe
    # is a letter like others.
    services.subprocess = _with_shell_quotes()  # pyright: ignore[reportAttributeAccessIssue]


def _with_shell_quotes() -> ModuleType:
    quoting = ModuleType("subprocess")
    quoting.__dict__.update(vars(subprocess), list2cmdline=shlex.join)
    return quoting


def interpreter() -> dict[str, Any] | None:
    """The runtime environment of workers on this machine, None where Ray needs none.

    It starts them by a line for bash in which it quotes everything but the interpreter's path
    (`ray/_private/runtime_env/context.py`): below a path with a space or an apostrophe no worker would ever start.
    """
    quoted = shlex.quote(sys.executable)
    return None if quoted == sys.executable else {"py_executable": quoted}


def scratch_folder(deeper: str = "") -> tuple[Path, str]:
    """A new folder for a Ray of our own, which only this user can enter, and a line if it is not where temporary files
    go: sockets lie below it (in `deeper` of it), whose paths the kernel limits.

    Raises:
        ConfigError: there is no place for it.
    """
    try:
        usual = tempfile.gettempdir()
    except OSError as error:
        raise ConfigError(
            f"no folder takes temporary files ({error.strerror}); set TMPDIR to one on a disk with room"
        ) from error
    if _fits(usual):
        return Path(tempfile.mkdtemp(prefix="ray-")), ""
    for folder in filter(_fits, SHORT_FOLDERS):
        with contextlib.suppress(OSError):
            made = Path(tempfile.mkdtemp(prefix="ray-", dir=folder))
            length, limit = len(os.fsencode(usual)), SOCKET_PATH_BYTES - len(SOCKET) - len("/ray-12345678")
            return made, f"{usual} is too long for Ray's sockets ({length} bytes, at most {limit}); they are in {made}"
    raise ConfigError(
        f"TMPDIR={usual} is too long for Ray's sockets, and {', '.join(SHORT_FOLDERS)} cannot be used; shorten it"
    )


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder)) + len("/ray-12345678") + len(SOCKET) <= SOCKET_PATH_BYTES


def log_folder() -> Path | None:
    """Where the Ray that this process is connected to writes its logs on this machine."""
    import ray._private.worker as driver

    node = driver._global_node
    return Path(node.get_logs_dir_path()) if node else None


def last_words(logs: Path | None) -> str:
    """The last lines of Ray's own logs that tell of a failure, each with its file; "" if none does."""
    if logs is None:
        return ""
    told: dict[str, list[str]] = {}
    for file, lines in _telling(logs):
        if file.name not in told and len(told) < TOLD_FILES:
            told[file.name] = lines
    return "".join(f"\n  {name}: {line}" for name, lines in told.items() for line in lines)


def _telling(logs: Path) -> Iterator[tuple[Path, list[str]]]:
    for pattern in LOG_FILES:
        for file in sorted(logs.glob(pattern), reverse=True, key=lambda file: file.stat().st_mtime):
            if lines := [line for line in _tail(file) if not line.startswith(":")]:  # ":job_id:" and the like are marks
                yield file, lines[-TOLD_LINES:]
    for name in LONG_LOGS:
        if lines := [line for line in _tail(logs / name) if " E " in line or " F " in line or "ERROR" in line]:
            yield logs / name, lines[-TOLD_LINES:]


def _tail(file: Path) -> list[str]:
    with contextlib.suppress(OSError), file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - TAIL_BYTES))
        lines = log.read().decode("utf-8", "replace").splitlines()
        return [line.strip()[:TOLD_LENGTH] for line in lines if line.strip()]
    return []


def main() -> None:
    """`ray`, settled: its own script names its interpreter in a first line that cannot hold a path with a space."""
    settle()
    from ray.scripts.scripts import main as ray

    ray()


if __name__ == "__main__":
    main()
