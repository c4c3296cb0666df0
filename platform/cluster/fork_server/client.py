"""What Ray starts instead of a Python interpreter: it asks a server to fork the process, and waits for its end.

    python -I -S client.py [--folder=FOLDER] [--preload=MODULES] [--preload-with-ray=MODULES] -- SCRIPT [ARGUMENT...]

In: arguments, environment, directory and standard streams from its parent. Out: the process's exit status, or the
signal that ended it. Where no server can be used, it becomes the process that Ray would have started.
Standard library only, and little of that: every process of Ray's waits for this script to start.
"""

import binascii
import fcntl
import os
import resource
import select
import signal
import socket
import sys
import time

STATE = "PLATFORM_FORK_SERVER"  # in the environment of what is started: FORKED, or why it is not
FORKED = "forked"
LOG = "fork_server.log"
OF_NO_JOB = "w"  # begins the names of sockets of servers that wait for a job, or are about to
WARM = f"{OF_NO_JOB}arm-"  # of the former: see `warm_name`
# What a shell leaves and no library reads. A process whose other variables differ gets a server of its own.
NOT_COMPARED = (STATE, "_", "SHLVL", "PWD", "OLDPWD")
RAYLET, RAYLETS_PYTHON = "RAY_RAYLET_PID", "--python_worker_command="
SUBREAPER = "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper"
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
SOCKET_PATH_BYTES = 107  # what Linux takes
ANSWER_S = 25.0  # of a server, which says every second that it lives, but not while it loads a library
READY_S = 40.0  # for its imports; Ray ends this process 60 s after it has started it
WORKING, LOOKS, LOOK_S = "RD", 20, 0.1  # states of a process, of which one look in two seconds must see one
TRACEBACK, TRACEBACK_S = signal.SIGUSR2, 0.5  # has a server write where it is, and how long it may take for that
STATUS_S = 5.0  # to tell how a process has ended
LOCK_S = 10.0  # is held for milliseconds
FAILURES, FAILED_S = 3, 600.0  # servers that end without an answer, for one process; how long nobody tries again
SERVERS = 8  # a node: each has a hundred megabytes, and there is one for each job of the last minute
QUEUED = 1024  # processes that wait for a server to be ready


class NoServer(Exception):
    """The process is to be started as if there were none."""


class NotReady(Exception):
    """The server lives, and still imports."""


def main() -> None:
    """Have the process forked and wait for it, or become it."""
    open_streams()
    options, flags, arguments = parsed(sys.argv[1:])
    python = [interpreter(), *flags]
    try:
        require_usable(arguments)
        folder = private_folder(options, arguments)
        connection, process = forked(folder, python, options, arguments)
    except (NoServer, OSError) as error:
        start_unforked([*python, *arguments], str(error))
    else:
        wait_for(process, connection)


def open_streams() -> None:
    """Open standard streams that are closed, so that no other file gets their numbers."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def parsed(given: "list[str]") -> "tuple[dict[str, str], list[str], list[str]]":
    """Split the arguments into our options, and flags and arguments of the interpreter; Ray passes on -s and -S."""
    place = given.index("--")
    options = dict(each[2:].split("=", 1) for each in given[:place])
    arguments = given[place + 1 :]
    flags = []
    while arguments[:1] in (["-s"], ["-S"]):
        flags.append(arguments.pop(0))
    return options, flags, arguments


def require_usable(arguments: "list[str]") -> None:
    """Check that a server could fork this process.

    Raises:
        NoServer: it could not.
    """
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        raise NoServer("it needs Linux and Python 3.9")
    if not arguments or arguments[0].startswith("-"):
        raise NoServer(f"the interpreter has options of its own ({' '.join(arguments[:1])})")
    if has_subreaper():
        raise NoServer(f"{SUBREAPER} has the raylet end what is not its child")
    if any(word.startswith("--enable-resource-isolation") for word in arguments):
        raise NoServer("Ray isolates its processes by control groups, which are inherited")


def has_subreaper() -> bool:
    return os.environ.get(SUBREAPER, "").lower() in ("1", "true")


def private_folder(options: "dict[str, str]", arguments: "list[str]") -> str:
    """The folder of the servers' sockets, in the Ray session's, which only this user can enter; made if need be.

    Raises:
        NoServer: others can enter it.
    """
    folder = options.get("folder") or os.path.join(os.path.dirname(argument(arguments, "--raylet-name=")), "fork")
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    found = os.lstat(folder)
    if found.st_uid != os.geteuid() or found.st_mode & 0o170077 != 0o040000:
        raise NoServer(f"{folder} is not a folder of this user alone")
    return folder


def argument(arguments: "list[str]", flag: str) -> str:
    """The value of the argument that begins with `flag`, which ends in `=`.

    Raises:
        NoServer: there is none.
    """
    for word in arguments:
        if word.startswith(flag):
            return word[len(flag) :]
    raise NoServer(f"no {flag.rstrip('=')} among the arguments")


def forked(
    folder: str, python: "list[str]", options: "dict[str, str]", arguments: "list[str]"
) -> "tuple[socket.socket, int | None]":
    """Have a process forked that runs `arguments`: the connection to its server, and its pidfd.

    Raises:
        NoServer: no server answers.
    """
    key, end = name_of(python, options), time.monotonic() + READY_S
    path, failed = os.path.join(folder, key), os.path.join(folder, f"{key}.failed")
    raise_if_failed(failed)
    for _ in range(FAILURES):
        connection = connected(folder, key, python, options, arguments)
        file = file_of(path)
        try:
            return connection, ask(connection, path, arguments, end)
        except (ConnectionError, EOFError):
            connection.close()  # it ended: another one is started
        except TimeoutError:
            connection.close()
            reason = f"the server has not answered in {ANSWER_S:g} s"
            hung = hung_server(path, file)
            if hung is not None:
                reason += f" and was ended{end_hung(hung)}"
            if is_repeated(os.path.join(folder, f"{key}.hung")):
                noted(failed, reason)
            raise NoServer(reason) from None
        except NotReady:
            connection.close()
            raise NoServer(noted(failed, f"the server has imported for {READY_S:g} s and is not done")) from None
    log = log_of(folder, arguments)
    raise NoServer(noted(failed, f"{FAILURES} servers ended without an answer{last_line(log)}; see {log}"))


def raise_if_failed(path: str) -> None:
    """Look for the note of another client that has failed lately; a server that becomes ready removes it.

    Raises:
        NoServer: there is one.
    """
    try:
        with open(path) as file:
            if time.time() - os.fstat(file.fileno()).st_mtime < FAILED_S:
                raise NoServer(file.read())
    except FileNotFoundError:
        pass


def noted(path: str, reason: str) -> str:
    """Write the note of a failure, so that other clients need not try; the reason."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(reason)
    return reason


def is_repeated(path: str) -> bool:
    """Whether this has happened before within the last minutes: once may be chance."""
    before = os.stat(path).st_mtime if os.path.exists(path) else 0.0
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    os.utime(path)
    return time.time() - before < FAILED_S


def last_line(log: str) -> str:
    """The last line of a server's log in parentheses, for a message: the log may be removed with its Ray."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 500))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return f" ({said[-1]})" if said else ""


def interpreter() -> str:
    """The interpreter that Ray would have started, from its raylet's arguments; this script may run by another one."""
    own = sys.executable
    try:
        with open(f"/proc/{os.environ[RAYLET]}/cmdline", "rb") as file:
            words = os.fsdecode(file.read()).split("\0")
    except (KeyError, OSError):
        return own
    commands = [word[len(RAYLETS_PYTHON) :] for word in words if word.startswith(RAYLETS_PYTHON)]
    if not commands or commands[0].startswith(own + " "):
        return own
    import shlex  # takes a third of this script's time

    try:
        return shlex.split(commands[0])[0]
    except ValueError:
        return own


def name_of(python: "list[str]", options: "dict[str, str]") -> str:
    """Of a socket: processes with the same one have the same interpreter, imports and environment."""
    what = [*python, *(f"{key}={options[key]}" for key in sorted(options)), *environment(os.environ)]
    return f"{binascii.crc32(os.fsencode(chr(0).join(what))):08x}"


def environment(variables: "dict[str, str] | os._Environ[str]") -> "list[str]":
    """The variables that a server must have in common with its children, as NAME=VALUE, sorted."""
    return [f"{key}={variables[key]}" for key in sorted(variables) if key not in NOT_COMPARED]


def connected(
    folder: str, key: str, python: "list[str]", options: "dict[str, str]", arguments: "list[str]"
) -> "socket.socket":
    """Connect to the server of this key, which is started if there is none.

    Raises:
        NoServer: none can be started.
    """
    path = os.path.join(folder, key)
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise NoServer(f"{path} is too long for a socket")
    connection = connect(path)
    if connection is None:
        lock = locked(folder)
        try:
            connection = connect(path) or connect_warm(os.path.join(folder, warm_name(python, options)), path)
            if connection is None:
                make_room(folder, path)
                log = log_of(folder, arguments)
                start_server(listening(path), python, log, [f"--{key}={value}" for key, value in options.items()])
                connection = connect(path)
        finally:
            os.close(lock)
    if connection is None:
        raise NoServer(f"nobody listens at {path}")
    return connection


def connect(path: str) -> "socket.socket | None":
    """Connect to a server's socket; None: nobody listens there.

    Raises:
        NoServer: another user listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    if peer(connection)[1] != os.geteuid():
        raise NoServer(f"{path} is another user's socket")
    return connection


def warm_name(python: "list[str]", options: "dict[str, str]") -> str:
    """Of the socket of a server that has imported what processes need, for a job that is not there yet."""
    imported = [options.get("preload", ""), options.get("preload-with-ray", "")]
    return f"{WARM}{binascii.crc32(os.fsencode(chr(0).join([*python, *imported]))):08x}"


def connect_warm(warm: str, path: str) -> "socket.socket | None":
    """Connect to a warm server by its socket, which becomes that of this path; None: there is no such server."""
    try:
        os.rename(warm, path)
    except FileNotFoundError:
        return None
    return connect(path)


def peer(connection: "socket.socket") -> "tuple[int, int]":
    """Process and user id at the other end, from the kernel."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], sys.byteorder), int.from_bytes(credentials[4:8], sys.byteorder)


def locked(folder: str) -> int:
    """Lock a folder; the descriptor, which keeps the lock until it is closed.

    Raises:
        NoServer: another process keeps the lock.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    end = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(descriptor)
                raise NoServer(f"{folder} has been locked for {LOCK_S:g} s") from None
            time.sleep(0.01)


def make_room(folder: str, path: str) -> None:
    """Remove the sockets of ended servers. The caller holds the folder's lock.

    Raises:
        NoServer: too many servers are alive.
    """
    alive = 0
    for name in os.listdir(folder):
        other = os.path.join(folder, name)
        if name.startswith(OF_NO_JOB) or not is_socket(other):
            continue
        connection = None if other == path else connect(other)
        if connection is None:
            remove(other)
        else:
            connection.close()
            alive += 1
    if alive >= SERVERS:
        raise NoServer(f"{alive} servers for other environments are here already")


def is_socket(path: str) -> bool:
    """Whether a socket is there."""
    try:
        return os.lstat(path).st_mode & 0o170000 == 0o140000
    except FileNotFoundError:  # that of a server that has just ended
        return False


def remove(path: str) -> None:
    """Remove a file, if nobody else has."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def listening(path: str) -> "socket.socket":
    """Make a listening socket; clients that connect wait in its queue until the server is ready."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(QUEUED)
    return listener


def log_of(folder: str, arguments: "list[str]") -> str:
    """Path of the servers' log: among the logs of the Ray session, or in `folder` where there are none."""
    try:
        session = os.path.dirname(os.path.dirname(argument(arguments, "--raylet-name=")))
    except NoServer:
        session = ""
    logs = os.path.join(session, "logs")
    return os.path.join(logs if session and os.path.isdir(logs) else folder, LOG)


def start_server(listener: "socket.socket", python: "list[str]", log: str, options: "list[str]") -> None:
    """Start a server with the listening socket, a process group of its own and init as its parent."""
    server = os.path.join(os.path.dirname(os.path.abspath(__file__)), "server.py")
    command = [*python, server, f"--listener={listener.fileno()}", *options]
    child = os.fork()
    if child:
        listener.close()
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:
            os.setpgid(0, 0)  # not the group of a worker, which a raylet ends as a whole; its session, as workers have
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            listener.set_inheritable(True)
            os.chdir("/")
            os.execv(command[0], command)
    finally:
        os._exit(1)


def ask(connection: "socket.socket", path: str, arguments: "list[str]", end: float) -> "int | None":
    """Ask the server to fork a process, and let that run; its pidfd, None if it has ended already.

    Args:
        connection: to the server.
        path: of the server's socket, which tells a warm server its new name.
        arguments: of the process.
        end: when it is no longer waited for, by `time.monotonic`.

    Raises:
        NoServer: the server refuses, with its reason.
        EOFError, ConnectionError: it has ended.
        TimeoutError: it does not answer.
        NotReady: it still imports at `end`.
    """
    request = os.memfd_create("request")  # no message is too long in a file
    with open(request, "wb", closefd=False) as file:
        file.write(os.fsencode("\0".join(request_words(arguments))))
    connection.settimeout(ANSWER_S)
    socket.send_fds(connection, [os.fsencode(path)], [0, 1, 2, request])
    os.close(request)
    while True:
        connection.settimeout(min(ANSWER_S, max(end - time.monotonic(), LOOK_S)))
        try:
            word, _, rest = connection.recv(4096).decode().partition(" ")
        except TimeoutError:
            if time.monotonic() < end and not is_working(path, connection):
                raise
            word, rest = "wait", ""  # as if it had said so
        if word == "forked":
            process = pidfd_of(int(rest))
            hand_on_signals(process)
            connection.send(b"go")  # until then it is nobody: had we ended, or given up, it would end as well
            connection.settimeout(None)
            return process
        if word == "no":
            raise NoServer(rest)
        if word != "wait":
            raise EOFError
        if time.monotonic() > end:
            raise NotReady


def pidfd_of(pid: int) -> "int | None":
    """The pidfd of a process; None: it has ended."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def request_words(arguments: "list[str]") -> "list[str]":
    """What the process takes over from this one, as `child.Request` reads it."""
    blocked = ",".join(str(int(number)) for number in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    umask = os.umask(0)
    os.umask(umask)
    with open("/proc/self/oom_score_adj") as file:
        score = file.read().strip()
    descriptors = ",".join(map(str, resource.getrlimit(resource.RLIMIT_NOFILE)))
    os.environ[STATE] = FORKED
    variables = [f"{key}={value}" for key, value in os.environ.items()]
    return [os.getcwd(), str(umask), score, descriptors, blocked, str(len(arguments)), *arguments, *variables]


def server_of(path: str) -> "int | None":
    """The process id of the server at a socket; None: it does not run yet, or no longer.

    A new connection is made, because the kernel names the process that has called `listen` last before it: the server,
    once it runs.
    """
    try:
        connection = connect(path)
        if connection is None:
            return None
        with connection:
            pid = peer(connection)[0]
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read()
    except (OSError, NoServer):
        return None
    return pid if b"fork_server/server.py" in command or b"ray::fork_server" in command else None


def is_working(path: str, connection: "socket.socket") -> bool:
    """Whether the server at a socket starts, computes, waits for a disk, or answers now: loading one large library from
    a cold disk, or on a machine with too much to do, takes longer than it can say that it lives."""
    pid = server_of(path)
    if pid is None:  # its interpreter starts: the connection of one that has ended is closed
        return True
    return any(state_of(pid) in WORKING or select.select([connection], [], [], LOOK_S)[0] for _ in range(LOOKS))


def state_of(pid: int) -> str:
    """What a process does, as the kernel has it: R, S, D, ...; empty if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2][:1]
    except OSError:
        return ""


def file_of(path: str) -> "int | None":
    """Which file is there now: another server has another one, if by the same name."""
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return None


def hung_server(path: str, file: "int | None") -> "int | None":
    """The process id of the server that has this socket, which is removed, so that nobody else waits for it; None: it
    does not run, or somebody else has ended it meanwhile."""
    try:
        lock = locked(os.path.dirname(path))
    except NoServer:
        return None
    try:
        if file is None or file_of(path) != file:
            return None
        pid = server_of(path)
        os.unlink(path)
        return pid
    finally:
        os.close(lock)


def end_hung(pid: int) -> str:
    """Kill a server that does not answer; processes that it has forked live on.

    Returns:
        where it was, for a message: from its traceback, which it writes into its log if it can.
    """
    process = pidfd_of(pid)  # another process may get its number
    if process is None:
        return ""
    place = ""
    try:
        with open(f"/proc/{pid}/fd/2", "rb") as log:
            log.seek(0, os.SEEK_END)
            signal.pidfd_send_signal(process, TRACEBACK)
            time.sleep(TRACEBACK_S)
            frames = [line.strip() for line in log.read().decode(errors="replace").split("\n") if "  File " in line]
        place = f", in {frames[0][len('File ') :]}" if frames else ""
    except OSError:  # its log is gone
        pass
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.close(process)
    return place


def wait_for(process: "int | None", connection: "socket.socket") -> None:
    """Wait until the process has ended, and end as it did."""
    ended = select.poll()
    ended.register(connection, select.POLLIN)
    if process is not None:
        ended.register(process, select.POLLIN)
    if connection.fileno() not in [descriptor for descriptor, _ in ended.poll()]:
        connection.settimeout(STATUS_S)  # the process has ended: its server tells how, unless it hangs
    status = status_of(connection)
    if status is None and process is not None:  # the server is gone, and with it how the process will end
        select.select([process], [], [])
    end_as(status)


def hand_on_signals(process: "int | None") -> None:
    """Forward signals to the process."""

    def send(number: int, _: object) -> None:
        try:
            if process is not None:
                signal.pidfd_send_signal(process, number)
        except ProcessLookupError:
            pass

    for number in FORWARDED:
        signal.signal(number, send)


def status_of(connection: "socket.socket") -> "int | None":
    """The process's status from its server, as of `os.waitpid`; None: the server has ended."""
    try:
        message = connection.recv(64).decode().split()
    except (ConnectionError, TimeoutError):
        return None
    return int(message[1]) if message[:1] == ["ended"] else None


def end_as(status: "int | None") -> None:
    """End this process with a status of `os.waitpid`: the same exit status, or the same signal."""
    if status is None:
        os._exit(1)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the process itself has left one
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def start_unforked(command: "list[str]", reason: str) -> None:
    """Become the process that Ray would have started; its environment has the reason."""
    os.environ[STATE] = reason
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
