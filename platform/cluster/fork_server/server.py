"""A process with everything imported that forks the others: one for each raylet, interpreter and environment.

    python server.py --listener=DESCRIPTOR [--warm --watch=PID] [--preload=MODULES] [--preload-with-ray=MODULES]

In: clients at its socket. Out: for each a process, and its status when that ends. The server ends with its raylet, or
after a minute without processes. When a client is killed, the server kills its process; if the server itself is killed,
the processes live on. A warm server is started before there is a raylet, belongs to the raylet of the first client, and
ends with process PID if there is none. A server that a raylet's processes have started leaves a warm copy of itself for
the next job on this node, before it imports Ray, which belongs to one job: of the imports, torch alone takes seconds.
"""

import contextlib
import faulthandler
import fcntl
import math
import os
import resource
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# In the place of this script's folder, which Python puts there unless it is told not to.
sys.path[: 0 if sys.flags.safe_path else 1] = [str(Path(__file__).resolve().parents[3])]

from platform.cluster.fork_server import preload  # noqa: E402
from platform.cluster.fork_server.child import Request, remember_generators, run, say_and_ask  # noqa: E402
from platform.cluster.fork_server.client import (  # noqa: E402
    OF_NO_JOB,
    QUEUED,
    RAYLET,
    TRACEBACK,
    environment,
    listening,
    peer,
    warm_name,
)
from platform.cluster.ray_internals import name_process  # noqa: E402

IDLE_S = 60.0  # without children
WARM_IDLE_S = 600.0  # of a copy, for the next job
LEAVE_S = 10.0  # for processes to end by themselves when their raylet has
LOOK_EVERY_S = 1.0
Asked = tuple[Request, socket.socket]


def main() -> None:
    """Serve until the end; in each child, become the process that was asked for."""
    options = {name.removeprefix("--"): value for name, _, value in (each.partition("=") for each in sys.argv[1:])}
    listener = socket.socket(fileno=int(options["listener"]))
    listener.listen(QUEUED)  # again: from now on the kernel tells clients this process's id
    _close_inherited(listener.fileno())
    faulthandler.register(TRACEBACK)
    _go_last()
    _open_many()
    server = Server(listener, options)
    server.load()
    asked = server.serve()
    if asked is None:
        os._exit(0)
    request, client = asked
    faulthandler.unregister(TRACEBACK)
    say_and_ask(client)
    run(request)


@dataclass(frozen=True)
class Child:
    """A forked process that runs."""

    pid: int
    client: socket.socket


class Server:
    """A loop of one thread over new clients, ended processes and killed clients."""

    def __init__(self, listener: socket.socket, options: dict[str, str]) -> None:
        self._listener, self._options = listener, options
        self._path, self._file = Path(listener.getsockname()), 0
        self._at(self._path)
        self._environment = set(environment(os.environ))
        self._is_warm = "warm" in options
        # A local Ray ends with its launch.
        self._leaves_copies = not self._is_warm and RAYLET in os.environ and bool(_modules(options, "preload"))
        self._asking: dict[int, socket.socket] = {}  # by descriptor, as the next
        self._children: dict[int, Child] = {}  # by pidfd
        self._abandoned: set[int] = set()  # clients that are gone, while their processes are not
        self._watched = self._watch(options.get("watch") or os.environ.get(RAYLET))
        self._busy_at, self._forked = time.monotonic(), 0
        self._sources: dict[str, tuple[int, int]] = {}  # of the modules that a warm server has imported
        self._unfit = ""  # why no child would be whole

    def load(self) -> None:
        """Import everything, or what can be imported before there is a raylet."""
        self._import(_modules(self._options, "preload"))
        self._share()  # early: of a copy's next job this is not asked again
        self._sources = preload.sources()
        if not self._is_warm and not self._leave_copy():
            self._load_ray()

    def serve(self) -> Asked | None:
        """Serve clients: in each child, the request and its client; in the server, None at its end."""
        while True:
            ready, process = self._ready(), os.getpid()
            if self._watched in ready:
                self._end_with_raylet()
                return None
            for descriptor in ready:
                if os.getpid() != process:  # a copy, which has none of them
                    break
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor in self._children:
                    self._tell_end(descriptor)
                elif descriptor in self._asking and (asked := self._fork(self._asking[descriptor])):
                    return asked
            if time.monotonic() - self._busy_at > self._idle_s and self._remove_socket():
                _say(f"nothing to do for {self._idle_s:g} s; {self._forked} processes were forked")
                return None

    @property
    def _idle_s(self) -> float:
        """For how long this server waits for somebody to ask."""
        if self._is_warm:
            return WARM_IDLE_S if self._leaves_copies else math.inf  # inf: it waits as long as whoever started it
        return math.inf if self._children else IDLE_S

    def _ready(self) -> set[int]:
        """Wait for events; the descriptors with some. Processes whose clients were killed are killed first."""
        waited = select.poll()
        for descriptor in (self._watched, self._listener.fileno(), *self._asking, *self._children):
            if descriptor is not None and descriptor >= 0:  # -1: closed
                waited.register(descriptor, select.POLLIN)
        clients = {child.client.fileno(): process for process, child in self._children.items()}
        for client in clients.keys() - self._abandoned:
            waited.register(client, 0)  # its end alone
        ready = {descriptor for descriptor, _ in waited.poll(LOOK_EVERY_S * 1000)}
        for client in ready & clients.keys():
            self._abandoned.add(client)  # is looked at no more: the process may take its time
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(clients[client], signal.SIGKILL)
        return ready - clients.keys()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError as error:  # no descriptor is left: those who wait in the queue stay there
            _say(f"not accepted: {error}")
            time.sleep(LOOK_EVERY_S)
            return
        _, user = peer(client)
        if user != os.geteuid():
            _say(f"user {user} was turned away")
            client.close()
            return
        client.setblocking(False)
        self._asking[client.fileno()] = client

    def _fork(self, client: socket.socket) -> Asked | None:
        """Fork the process that a client asks for: in the child, the request; in the server, None."""
        streams: list[int] = []
        try:
            try:
                path, descriptors, _, _ = socket.recv_fds(client, 4096, 4, socket.MSG_CMSG_CLOEXEC)
            except ConnectionError:  # gone with a message of ours that it had not read
                return self._forget(client, [])
            if len(descriptors) < 4:  # gone before it has asked
                return self._forget(client, descriptors)
            *streams, file = descriptors
            request = Request.read(file, streams)
            if self._is_warm and not self._become_theirs(os.fsdecode(path), request):
                _close(streams)
                return None
            _require_equal(self._environment, set(environment(request.environment)))
            if self._unfit:
                raise preload.NotForkable(self._unfit)
            preload.require_forkable(self._descriptors(streams))
            pid, process = _forked()
        except (OSError, ValueError, preload.NotForkable) as error:
            _say(f"not forked: {error}")
            if self._is_warm:  # for nobody: the client starts a server of its own
                self._remove_socket(even_if_asked=True)
                os._exit(0)
            with contextlib.suppress(OSError):
                client.send(f"no {error}".encode()[:1000])
            return self._forget(client, streams)
        if pid == 0:
            os.setpgid(0, 0)  # a raylet ends workers by their process group: it must not be ours
            del self._asking[client.fileno()]
            self._close_all()
            return request, client
        self._forked, self._busy_at = self._forked + 1, time.monotonic()
        self._children[process] = Child(pid, client)
        del self._asking[client.fileno()]
        _close(streams)
        return None

    def _forget(self, client: socket.socket, descriptors: list[int]) -> None:
        del self._asking[client.fileno()]
        client.close()
        _close(descriptors)

    def _become_theirs(self, path: str, request: Request) -> bool:
        """Make a warm server that of its first client's raylet: import Ray in the environment that Ray has made.

        Returns:
            False in the copy that stays warm.

        Raises:
            ValueError: modules that are imported already may have read other variables, or are others by now.
        """
        self._at(Path(path))
        preload.require_unchanged(self._sources)
        _require_equal(_read_by_now(self._environment), _read_by_now(environment(request.environment)))
        if self._leave_copy():
            return False
        self._is_warm = False
        os.environ.clear()
        os.environ.update(request.environment)
        self._environment = set(environment(os.environ))
        if RAYLET in os.environ:
            starter, self._watched = self._watched, self._watch(os.environ[RAYLET])
            if starter is not None:
                os.close(starter)
        self._load_ray()
        return True

    def _leave_copy(self) -> bool:
        """Fork a warm copy of this server, which has imported all but what belongs to one job; True in the copy."""
        if not self._leaves_copies:
            return False
        try:
            preload.require_forkable(self._descriptors([]))
        except preload.NotForkable as error:
            _say(f"no copy is left for the next job: {error}")
            return False
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            return False
        if os.fork():
            os._exit(0)  # the copy is nobody's child: whose server this is ends before it
        os.setpgid(0, 0)
        self._close_all()
        self._asking.clear()
        self._watched = self._watch(os.environ[RAYLET])
        name = self._path.with_name(warm_name([sys.executable, *_flags_given()], self._options))
        path = self._path.with_name(f"{OF_NO_JOB}{os.getpid()}")  # no client finds the socket before it can be asked
        try:
            path.unlink(missing_ok=True)  # of a process that had this number
            self._listener = listening(str(path))
            self._path, self._file = name, path.stat().st_ino
            path.rename(name)  # in the place of one that has ended
        except OSError as error:  # the folder is gone with its Ray, perhaps
            _say(f"no copy is left for the next job: {error}")
            os._exit(0)
        self._is_warm, self._busy_at = True, time.monotonic()
        return True

    def _at(self, path: Path) -> None:
        """Note where the socket is: a warm server's is renamed by its first client, perhaps before the server runs."""
        with contextlib.suppress(FileNotFoundError):
            self._path, self._file = path, path.stat().st_ino

    def _watch(self, pid: str | None) -> int | None:
        """The pidfd of a process with which this server ends."""
        try:
            return os.pidfd_open(int(pid)) if pid else None
        except ProcessLookupError:
            self._remove_socket(even_if_asked=True)
            os._exit(0)

    def _load_ray(self) -> None:
        self._import(_modules(self._options, "preload-with-ray"))
        name_process("ray::fork_server")  # before children replace the environment that it writes over
        try:
            preload.require_own_ids()
        except preload.NotForkable as error:
            self._unfit = str(error)
        self._share()
        self._path.with_name(f"{self._path.name}.failed").unlink(missing_ok=True)  # of clients that were not so patient

    def _share(self) -> None:
        """What has been imported is the children's as it is."""
        remember_generators()
        preload.share()

    def _import(self, modules: list[str]) -> None:
        began = time.monotonic()
        signal.signal(signal.SIGALRM, lambda *_: self._say_wait())
        signal.setitimer(signal.ITIMER_REAL, LOOK_EVERY_S, LOOK_EVERY_S)
        missing = preload.preload(modules)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for line in missing:
            _say(line)
        _say(f"imported {len(modules)} modules in {time.monotonic() - began:.1f} s")

    def _say_wait(self) -> None:
        """Tell waiting clients that this server is alive: imports take seconds, from a cold disk a minute. Called by a
        timer."""
        if self._watched is not None and select.select([self._watched], [], [], 0)[0]:
            self._remove_socket(even_if_asked=True)
            os._exit(0)
        if select.select([self._listener], [], [], 0)[0]:
            self._accept()
        for client in self._asking.values():
            with contextlib.suppress(OSError):
                client.send(b"wait")

    def _tell_end(self, process: int) -> None:
        child = self._children.pop(process)
        os.close(process)
        self._abandoned.discard(child.client.fileno())
        _, status = os.waitpid(child.pid, 0)
        with contextlib.suppress(OSError):
            child.client.send(f"ended {status}".encode())
        child.client.close()
        self._busy_at = time.monotonic()

    def _end_with_raylet(self) -> None:
        self._remove_socket(even_if_asked=True)
        self._watched = None
        self._listener.close()  # who waits there, or has asked, is told by the end of the connection
        for client in list(self._asking.values()):
            self._forget(client, [])
        end = time.monotonic() + LEAVE_S
        while self._children:
            if time.monotonic() > end:
                for process in self._children:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(process, signal.SIGKILL)
            for descriptor in self._ready() & self._children.keys():
                self._tell_end(descriptor)
        _say(f"the raylet has ended; {self._forked} processes were forked")

    def _remove_socket(self, even_if_asked: bool = False) -> bool:
        """Remove the socket, unless a client is in its queue or about to ask; whether it is removed."""
        try:
            lock = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # removed, as a local Ray's is at its end
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not even_if_asked and (self._asking or select.select([self._listener], [], [], 0)[0]):
                return False
            with contextlib.suppress(FileNotFoundError):
                if self._path.stat().st_ino == self._file:  # else another server's
                    self._path.unlink()
            return True
        finally:
            os.close(lock)

    def _descriptors(self, streams: list[int]) -> set[int]:
        """All descriptors that the server itself has opened."""
        clients = [child.client.fileno() for child in self._children.values()]
        own = {self._listener.fileno(), *self._asking, *self._children, *clients, *streams}
        return own | ({self._watched} if self._watched is not None else set())

    def _close_all(self) -> None:
        """Close the server's descriptors in a child."""
        self._listener.close()
        for client in [*self._asking.values(), *(child.client for child in self._children.values())]:
            client.close()
        _close([*self._children, *([self._watched] if self._watched is not None else [])])


def _forked() -> tuple[int, int]:
    """Fork: process id and pidfd of the child; zeros in the child."""
    pid = os.fork()
    if pid == 0:
        return 0, 0
    try:
        return pid, os.pidfd_open(pid)
    except OSError:  # no descriptor is left; nobody has told it to go on
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _flags_given() -> list[str]:
    """Flags of this interpreter, as `client.parsed` knows them."""
    return [word for word in sys.orig_argv[1:3] if word in ("-s", "-S")]


def _modules(options: dict[str, str], kind: str) -> list[str]:
    return [module for module in options.get(kind, "").split(",") if module]


def _read_by_now(variables: "list[str] | set[str]") -> set[str]:
    """The variables that modules may have read which a warm server has imported."""
    return {variable for variable in variables if not variable.startswith(preload.READ_LATER)}


def _require_equal(ours: set[str], theirs: set[str]) -> None:
    """Check that two environments are the same.

    Raises:
        ValueError: they differ; with the names of the variables, whose values may be secrets.
    """
    if ours != theirs:
        names = sorted({variable.split("=", 1)[0] for variable in ours ^ theirs})
        raise ValueError(f"the server was started with other values of {', '.join(names)}")


def _go_last() -> None:
    """Give the server its raylet's OOM score: when memory is short the kernel should kill children first, which Ray
    starts again. The score inherited may be a worker's."""
    score = "0"
    with contextlib.suppress(OSError, KeyError):
        score = Path(f"/proc/{os.environ[RAYLET]}/oom_score_adj").read_text()
    with contextlib.suppress(OSError):  # lower than it may be
        Path("/proc/self/oom_score_adj").write_text(score)


def _open_many() -> None:
    """Raise the limit of open files: a running process takes two descriptors."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _close_inherited(listener: int) -> None:
    """Close what a raylet leaves open for its workers: logs, sockets."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # up to the limit there may be a billion
        if int(name) > 2 and int(name) != listener:
            with contextlib.suppress(OSError):  # that of listing them
                os.close(int(name))


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _say(text: str) -> None:
    print(f"{time.strftime('%F %T')} {os.getpid()} {text}", flush=True)


if __name__ == "__main__":
    main()
