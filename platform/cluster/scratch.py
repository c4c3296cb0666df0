"""The folder of a local Ray, its logs and its token.

In: where this machine keeps temporary files. Out: a place short enough for sockets, and what Ray's logs say there.
"""

import contextlib
import os
import secrets
import sys
import tempfile
from pathlib import Path

from platform.cluster.ray_internals import SOCKET
from platform.config.checks import ConfigError

SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107  # what the kernel takes of AF_UNIX
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
LOGS = (("runtime_env_agent.log", "ERROR"), ("raylet.out", " E "), ("gcs_server.out", " E "))  # and what marks errors
TOLD_LINES, TOLD_FILES, TOLD_LENGTH = 3, 3, 300
TAIL_BYTES = 20_000


def scratch_folder(below: str = "") -> tuple[Path, str]:
    """Make a folder for a local Ray, which only this user can enter.

    Args:
        below: the path between the folder and Ray's sockets, whose length the kernel limits.

    Returns:
        the folder, and a line to print if it is not in the usual place for temporary files ("": it is).

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


def have_a_token() -> None:
    """Give a local Ray its token in the environment where the home folder, in which Ray keeps it, cannot be written: of
    a user without one, or without an entry in passwd."""
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() and not _home_takes_files():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _home_takes_files() -> bool:
    with contextlib.suppress(OSError, RuntimeError):
        folder = Path.home() / ".ray"
        folder.mkdir(exist_ok=True)
        return os.access(folder / "auth_token", os.R_OK) or os.access(folder, os.W_OK)
    return False


def logs_of(scratch: Path) -> Path:
    """The folder of the logs of a Ray in `scratch`, alive or dead."""
    return scratch / "session_latest" / "logs"


def last_words(logs: Path | None) -> str:
    """The last lines of Ray's own logs that report a failure, a line each with the file's name; "" if none do."""
    if logs is None:
        return ""
    errors: list[Path] = []
    with contextlib.suppress(OSError):  # another user's
        errors = sorted(logs.glob("*.err"), key=_written, reverse=True)  # empty where all is well
    told = [(file.name, _tail(file, "")) for file in errors] + [(name, _tail(logs / name, mark)) for name, mark in LOGS]
    found = [(name, lines[-TOLD_LINES:]) for name, lines in told if lines][:TOLD_FILES]
    return "".join(f"\n  {name}: {line}" for name, lines in found for line in lines)


def _written(file: Path) -> float:
    """Time of the last write in seconds since the epoch; 0 for a file that Ray has just removed."""
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
