"""Turns a fork of the server into the process that Ray would have started.

In: a request as the client sent it. Out: its script runs; of the server it has only the imported modules.
"""

import atexit
import contextlib
import gc
import os
import random
import resource
import runpy
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from platform.cluster.ray_internals import on_threads_set

_generators: list[random.Random] = []


@dataclass(frozen=True)
class Request:
    """What a process gets from its parent."""

    streams: list[int]  # descriptors of its standard input, output and error
    directory: str
    umask: int
    oom_score: str  # how soon the kernel ends it when memory is short: Ray wants its workers to go first
    descriptors: tuple[int, int]  # how many it may open: soft and hard limit
    blocked: list[int]  # signals
    arguments: list[str]
    environment: dict[str, str]

    @classmethod
    def read(cls, file: int, streams: list[int]) -> "Request":
        """Read a request, and close its file.

        Args:
            file: descriptor of a file that `client.request_words` has filled.
            streams: descriptors of standard input, output and error.

        Raises:
            ValueError: the file has something else.
        """
        with open(file, "rb") as request:
            request.seek(0)
            directory, umask, score, most, blocked, count, *rest = os.fsdecode(request.read()).split("\0")
        arguments, variables = rest[: int(count)], rest[int(count) :]
        return cls(
            streams, directory, int(umask), score, _pair(most),
            [int(number) for number in blocked.split(",") if number], arguments,
            dict(variable.split("=", 1) for variable in variables),
        )  # fmt: skip


def _pair(text: str) -> tuple[int, int]:
    soft, hard = map(int, text.split(","))
    return soft, hard


def say_and_ask(connection: socket.socket) -> None:
    """Tell the client that this process is forked, and end unless the client answers: it may have ended or given up.

    The message comes from this process, because the server may be killed after the fork.
    """
    connection.settimeout(None)
    with contextlib.suppress(OSError):  # it is gone
        connection.send(f"forked {os.getpid()}".encode())
    try:
        may_run = connection.recv(16) == b"go"
    except ConnectionError:  # it had not read what we told it
        may_run = False
    if not may_run:
        os._exit(0)
    connection.close()


def run(request: Request) -> NoReturn:
    """Run the request's script, and end as an interpreter would."""
    apply(request)
    script = request.arguments[0]
    sys.argv[:] = request.arguments
    sys.path[:] = _paths(script)
    status = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as left:
        status = _status(left.code)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    leave(status)


def _paths(script: str) -> list[str]:
    """The server's `sys.path`, with this process's own entries: its script, relative ones of PYTHONPATH."""
    own = [] if sys.flags.safe_path else [str(Path(script).absolute().parent)]
    given = os.environ.get("PYTHONPATH")
    relative = [part for part in given.split(os.pathsep) if not part.startswith("/")] if given else []  # "" is here
    here = {os.path.abspath(f"/{part}"): os.path.abspath(part) for part in relative}  # noqa: PTH100  # "." and ".." go
    return own + [here.get(f"/{entry.lstrip('/')}", entry) for entry in sys.path[1:]]  # "//src", as Python makes it


def leave(status: int) -> NoReturn:
    """Join threads, run exit handlers, and end the process; a negative status is a signal to end by.

    The interpreter is not finalised: that would copy all shared memory, and report the objects that `preload.share` has
    exempted from garbage collection as leaks.
    """
    try:
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]  # multiprocessing's children do the same
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        if status < 0:
            signal.signal(-status, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [-status])
            os.kill(os.getpid(), -status)
        os._exit(status)


def _status(code: object) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    print(code, file=sys.stderr)
    return 1


def apply(request: Request) -> None:
    """Take over streams, directory, environment, limits and signal mask of the request."""
    for number, stream in enumerate(request.streams):
        os.dup2(stream, number)
        os.close(stream)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # lower than it may be
        file.write(request.oom_score)
    os.umask(request.umask)
    with contextlib.suppress(OSError, ValueError):  # higher than it may be
        resource.setrlimit(resource.RLIMIT_NOFILE, request.descriptors)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.directory)
    reseed()
    count_threads_as_ray_says()
    signal.pthread_sigmask(signal.SIG_SETMASK, request.blocked)


def remember_generators() -> None:
    """Collect the random generators that libraries keep, before `preload.share` hides them from garbage collection: of
    those that are not hidden yet."""
    _generators.extend(each for each in gc.get_objects() if isinstance(each, random.Random))


def reseed() -> None:
    """Seed all random generators anew, so that children without seeds of their own draw different numbers.

    Hashes of strings are the same in all children.
    """
    for generator in _generators:
        generator.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if torch := sys.modules.get("torch"):
        torch.default_generator.seed()


def count_threads_as_ray_says() -> None:
    """Set the threads of imported libraries to OMP_NUM_THREADS, now and whenever Ray sets that by the CPUs of a task or
    actor: they do not read the variable again."""
    given = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit():  # BLAS had one thread while it was imported
        _set_blas_threads(int(given))
    on_threads_set(set_threads)


def set_threads(number: int) -> None:
    """Set the number of threads of torch and of numpy's BLAS."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(number)
    _set_blas_threads(number)


def _set_blas_threads(number: int) -> None:
    if threadpoolctl := sys.modules.get("threadpoolctl"):
        threadpoolctl.threadpool_limits(number, user_api="blas")
