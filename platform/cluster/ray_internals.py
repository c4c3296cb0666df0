"""What of Ray 2.60 we lean on or work around beyond its documentation: each with its reason, all in this file.

In: this process and its interpreter. Out: settings, a folder and log files that Ray takes or makes. Look at each of
them again when Ray's version changes.
"""

import contextlib
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psutil

from platform.config.checks import ConfigError

if TYPE_CHECKING:  # what a plan asks of this file needs no Ray
    from ray.util.placement_group import PlacementGroup

JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # a driver's settings, from whoever starts it: `ray._private.worker.init`
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107  # what the kernel takes of AF_UNIX
# The longest of Ray's: `node.py` makes it of date, process and number ("plasma_store.1" where that name is taken).
SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.12"
RAY = [sys.executable, "-m", "platform.cluster.ray_internals"]  # `ray`, from the checkout: see `main`
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
LOGS = (("runtime_env_agent.log", "ERROR"), ("raylet.out", " E "), ("gcs_server.out", " E "))  # and what marks errors
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
    # The raylet takes commands apart as a shell does; Ray joins them for Windows, to which an apostrophe is a letter.
    services.subprocess = _with_shell_quotes()  # pyright: ignore[reportPrivateImportUsage]


def start_workers_by(script: Path) -> None:
    """Have the raylet that is about to start run `script` first for each process, and start none before any is asked
    for: those would be of another runtime environment than ours."""
    import ray._private.ray_constants as constants

    constants.SETUP_WORKER_FILENAME = str(script)  # joined to a folder's path, of which an absolute one leaves nothing
    os.environ["RAY_prestart_worker_first_driver"] = "0"  # noqa: SIM112  # Ray's spelling


def _with_shell_quotes() -> ModuleType:
    quoting = ModuleType("subprocess")
    quoting.__dict__.update(vars(subprocess), list2cmdline=shlex.join)
    return quoting


def have_a_token() -> None:
    """Ray keeps the token of its clusters in the home folder. Where that takes no file (a user without one, or without
    an entry in passwd) a Ray of our own has it in the environment of its processes."""
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() and not _home_takes_files():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _home_takes_files() -> bool:
    with contextlib.suppress(OSError, RuntimeError):
        folder = Path.home() / ".ray"
        folder.mkdir(exist_ok=True)
        return os.access(folder / "auth_token", os.R_OK) or os.access(folder, os.W_OK)
    return False


def interpreter() -> dict[str, Any] | None:
    """The runtime environment of workers on this machine, None where Ray needs none.

    It starts them by a line for bash in which it quotes everything but the interpreter's path
    (`ray/_private/runtime_env/context.py`): below a path with a space or an apostrophe no worker would ever start.
    """
    quoted = shlex.quote(sys.executable)
    return None if quoted == sys.executable else {"py_executable": quoted}


def interpreter_there() -> dict[str, Any] | None:
    """The same for a cluster that is joined, None as well where this machine's part of it has another interpreter."""
    quoted, flag = interpreter(), "--python_worker_command="
    if quoted is None:
        return None
    processes = [each.info for each in psutil.process_iter(["name", "cmdline"])]
    raylets = [each["cmdline"] or [] for each in processes if each["name"] == "raylet"]
    commands = [word.removeprefix(flag) for words in raylets for word in words if word.startswith(flag)]
    return quoted if any(sys.executable in _first_word(command) for command in commands) else None


def _first_word(command: str) -> list[str]:
    """None of a command that another's raylet has, and that no shell would take."""
    with contextlib.suppress(ValueError):
        return shlex.split(command)[:1]
    return []


def scratch_folder(below: str = "") -> tuple[Path, str]:
    """A new folder for a Ray of our own, which only this user can enter, and a line if it is not where temporary files
    go: sockets lie in it (`below` it), whose paths the kernel limits.

    Raises:
        ConfigError: there is no place for it.
    """
    try:
        usual = tempfile.gettempdir()
    except OSError as error:
        raise ConfigError(f"there is no folder for temporary files ({error}); set TMPDIR to one with room") from error
    limit = SOCKET_PATH_BYTES - len(f"/ray-12345678{below}{SOCKET}")
    if len(os.fsencode(usual)) <= limit:
        return Path(tempfile.mkdtemp(prefix="ray-")), ""
    too_long = f"{usual}, the folder for temporary files, is too long for Ray's sockets (at most {limit} bytes)"
    for folder in SHORT_FOLDERS:
        with contextlib.suppress(OSError):
            made = Path(tempfile.mkdtemp(prefix="ray-", dir=folder))
            return made, f"{too_long}; they are in {made}"
    raise ConfigError(f"{too_long}, and nobody may write to {' or '.join(SHORT_FOLDERS)}; set TMPDIR to a shorter one")


def logs_of(scratch: Path) -> Path:
    """Where a Ray in `scratch` writes its logs, be it alive or not."""
    return scratch / "session_latest" / "logs"


def log_folder() -> Path | None:
    """Where the Ray that this process is connected to writes its logs on this machine."""
    import ray._private.worker as driver

    return Path(driver._global_node.get_logs_dir_path()) if driver._global_node else None


def draining_nodes() -> set[str]:
    """Ray's ids of the nodes that are about to leave the cluster."""
    from ray._private.state import state

    return set(state.get_draining_nodes())


def placement_group(id_in_hex: str) -> "PlacementGroup":
    """Of another process, by the id that it told.

    Raises:
        ValueError: no such id.
    """
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup

    return PlacementGroup(PlacementGroupID.from_hex(id_in_hex))


def last_words(logs: Path | None) -> str:
    """The last lines of Ray's own logs that tell of a failure, a line each with its file; "" if none does."""
    if logs is None:
        return ""
    errors: list[Path] = []
    with contextlib.suppress(OSError):  # another user's
        errors = sorted(logs.glob("*.err"), key=_written, reverse=True)  # empty where all is well
    told = [(file.name, _tail(file, "")) for file in errors] + [(name, _tail(logs / name, mark)) for name, mark in LOGS]
    found = [(name, lines[-TOLD_LINES:]) for name, lines in told if lines][:TOLD_FILES]
    return "".join(f"\n  {name}: {line}" for name, lines in found for line in lines)


def _written(file: Path) -> float:
    """When, in seconds since the epoch; 0 of a file that Ray has just removed."""
    with contextlib.suppress(OSError):
        return file.stat().st_mtime
    return 0.0


def _tail(file: Path, mark: str) -> list[str]:
    """Lines at the end of a log that have a mark in them, less Ray's own marks (`:job_id:01000000`)."""
    with contextlib.suppress(OSError), file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - TAIL_BYTES))
        lines = log.read().decode("utf-8", "replace").splitlines()
        return [line.strip()[:TOLD_LENGTH] for line in lines if line.strip() and mark in line and line[0] != ":"]
    return []


def main() -> None:
    """`ray`, settled: its own script names its interpreter in a first line that cannot hold a path with a space."""
    settle()
    import ray.scripts.scripts as scripts

    # Ray's client server, which nobody here asks for, is started by a line of bash without quotes, too.
    scripts.get_ray_client_dependency_error = lambda: "not here"  # pyright: ignore[reportPrivateImportUsage]
    scripts.main()


if __name__ == "__main__":
    main()
