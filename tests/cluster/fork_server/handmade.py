"""A folder with a fork server that imports nothing of its own, and processes that it is asked for."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from platform.checkout import ROOT

PACKAGE = ROOT / "platform" / "cluster" / "fork_server"
PATIENCE_S = 30.0


@dataclass
class Place:
    """Where sockets are, and scripts."""

    folder: Path
    client: Path = PACKAGE / "client.py"
    python: str = sys.executable
    variables: dict[str, str] = field(default_factory=dict)  # beside this process's own
    constants: dict[str, object] = field(default_factory=dict)  # of the client's, in the place of its own
    preload: str = ""

    @property
    def sockets(self) -> Path:
        return self.folder / "sockets"

    def script(self, text: str, name: str = "script.py") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def start(self, script: Path | str, *arguments: str, **options: object) -> "subprocess.Popen[bytes]":
        """A client, as Ray starts it."""
        start = [str(self.client)]
        if self.constants:
            changes = "".join(f"client.{name} = {value!r}\n" for name, value in self.constants.items())
            start = [
                "-c",
                f"import sys; sys.path[0] = {str(self.client.parent)!r}; import client\n{changes}client.main()",
            ]
        own = [f"--folder={self.sockets}", f"--preload={self.preload}", "--preload-with-ray=", "--"]
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
        isolated = [] if self.constants else ["-I", "-S"]
        return subprocess.Popen(  # pyright: ignore[reportCallIssue]
            [self.python, *isolated, *start, *own, str(script), *arguments],
            env=os.environ | self.variables,
            **given,  # pyright: ignore[reportArgumentType]
        )

    def run(self, script: Path | str, *arguments: str, **options: object) -> tuple[int, str]:
        """Exit status (of a signal: negative) and standard output of a process."""
        process = self.start(script, *arguments, **options)
        output, errors = process.communicate(timeout=PATIENCE_S)
        return process.returncode, output.decode() + errors.decode()

    def servers(self) -> list[psutil.Process]:
        """Those that are alive: by their log, which they have open."""
        return [each for each in psutil.process_iter() if self._is_server(each)]

    def _is_server(self, process: psutil.Process) -> bool:
        try:
            if not any("server.py" in word for word in process.cmdline()):
                return False
            mine = any(Path(file.path).is_relative_to(self.folder) for file in process.open_files())
            return mine and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def server(self) -> psutil.Process:
        """The one whose parent is no server."""
        found = self.servers()
        ids = {each.pid for each in found}
        return next(each for each in found if each.ppid() not in ids)

    def log(self) -> str:
        path = self.sockets / "fork_server.log"
        return path.read_text() if path.exists() else ""


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """Whatever is alive at its end is ended."""
    made = Place(folder)
    try:
        yield made
    finally:
        ended(made)


def ended(forks: Place) -> None:
    for server in forks.servers():
        with suppress(psutil.Error):
            server.send_signal(signal.SIGKILL)
    until(lambda: not forks.servers())  # or zombies, whose parent takes its time


def until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def copied(folder: Path) -> Path:
    """The package in another checkout; its client."""
    target = folder / "platform" / "cluster" / "fork_server"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    for package in (target.parent, target.parent.parent):
        shutil.copy(ROOT / package.relative_to(folder) / "__init__.py", package)
    shutil.copy(ROOT / "platform" / "cluster" / "ray_internals.py", target.parent)
    shutil.copy(ROOT / "platform" / "marks.py", target.parent.parent)
    return target / "client.py"
