"""The interpreter that Ray starts its processes by, where its path needs quotes.

In: this process's interpreter. Out: a runtime environment for Ray.
"""

import contextlib
import shlex
import sys
from typing import Any

import psutil


def interpreter() -> dict[str, Any] | None:
    """The runtime environment of workers on this machine; None where Ray needs none.

    Ray starts workers by a line for bash, in which it quotes everything but the interpreter's path
    (`ray/_private/runtime_env/context.py`): with a space or an apostrophe in that, no worker would start.
    """
    quoted = shlex.quote(sys.executable)
    return None if quoted == sys.executable else {"py_executable": quoted}


def interpreter_there() -> dict[str, Any] | None:
    """The runtime environment of workers in a cluster that is joined; None where Ray needs none, or the node on this
    machine has another interpreter."""
    quoted, flag = interpreter(), "--python_worker_command="
    if quoted is None:
        return None
    processes = [each.info for each in psutil.process_iter(["name", "cmdline"])]
    raylets = [each["cmdline"] or [] for each in processes if each["name"] == "raylet"]
    commands = [part.removeprefix(flag) for parts in raylets for part in parts if part.startswith(flag)]
    return quoted if any(sys.executable in _first_word(command) for command in commands) else None


def _first_word(command: str) -> list[str]:
    """The first word of a shell command, in a list; empty for another raylet's command that no shell would parse."""
    with contextlib.suppress(ValueError):
        return shlex.split(command)[:1]
    return []
