"""A server that dies, hangs or is told nonsense costs a slower start; what was asked for runs once."""

import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from platform.fork_server import command
from platform.fork_server.client import STATE, told
from platform.fork_server.command import start_warm
from tests.fork_server.handmade import Place, until

HOW = "import os\nprint(os.environ['PLATFORM_FORK_SERVER'])\n"
WAITS = "import os, sys\nprint(os.getpid(), flush=True)\nsys.stdin.read()\n"


def socket_of(forks: Place) -> Path:
    (found,) = (path for path in forks.sockets.iterdir() if path.is_socket())
    return found


def connection_to(forks: Place) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(socket_of(forks)))
    return connection


def started_waiting(forks: Place) -> "tuple[subprocess.Popen[bytes], int]":
    process = forks.start(forks.script(WAITS, "waits.py"), stdin=subprocess.PIPE)
    assert process.stdout
    return process, int(process.stdout.readline())


def test_whoever_kills_the_server_gets_another_and_each_script_runs_once(forks: Place):
    draw = random.Random(0)
    script = forks.script(f"{HOW}import sys\nopen({str(forks.folder / 'ran')!r}, 'a').write(sys.argv[1] + ' ')\n")
    clients = []
    for number in range(30):
        clients.append(forks.start(script, str(number)))
        if draw.random() < 0.3:
            for server in forks.servers():
                server.kill()
        if number % 5 == 4:
            for client in clients[-5:]:
                client.communicate(timeout=50)
    assert {client.returncode for client in clients} <= {0, 1, -9}  # 1: the server cannot tell any more
    ran = (forks.folder / "ran").read_text().split() if (forks.folder / "ran").exists() else []
    assert len(ran) == len(set(ran))
    assert {str(number) for number, client in enumerate(clients) if client.returncode == 0} <= set(ran)


def test_children_live_on_without_their_server(forks: Place):
    process, pid = started_waiting(forks)
    forks.server().kill()
    assert forks.run(forks.script(HOW)) == (0, "forked\n")
    assert psutil.pid_exists(pid)
    process.communicate(timeout=30)
    until(lambda: not psutil.pid_exists(pid))


def test_a_stopped_server_is_ended_and_its_request_runs_once(forks: Place):
    assert forks.run(forks.script(HOW)) == (0, "forked\n")
    server = forks.server()
    server.suspend()
    forks.constants = {"ANSWER_S": 0.3}
    script = forks.script(f"{HOW}open({str(forks.folder / 'ran')!r}, 'a').write('x')\n")
    status, output = forks.run(script)
    assert (status, output) == (0, "the server has not answered in 0.3 s and was ended\n")
    server.wait(10)
    assert (forks.folder / "ran").read_text() == "x"
    forks.constants = {}
    assert forks.run(script) == (0, "forked\n")


def test_nonsense_at_the_socket_stops_nobody(forks: Place):
    assert forks.run(forks.script(HOW)) == (0, "forked\n")
    server = forks.server()
    silent, nothing, words, file = (connection_to(forks) for _ in range(4))
    nothing.close()
    words.send(b"x" * 1000)
    with Path(os.devnull).open() as null:
        socket.send_fds(file, [b"x"], [null.fileno()] * 4)
    assert forks.run(forks.script(HOW)) == (0, "forked\n")
    assert forks.server().pid == server.pid
    for each in (silent, words, file):
        each.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_turned_away(forks: Place):
    assert forks.run(forks.script(HOW)) == (0, "forked\n")
    there = os.open(forks.sockets, os.O_PATH)
    ask = (
        f"import os\nfrom socket import *\ns = socket(AF_UNIX, SOCK_SEQPACKET)\nos.chdir({str(forks.sockets)!r})\n"
        f"os.setegid(65534); os.seteuid(65534)\ns.connect('/proc/self/fd/{there}/{socket_of(forks).name}')\n"
        "print(s.recv(9))\n"
    )
    forks.sockets.chmod(0o777)  # as if it could come in
    socket_of(forks).chmod(0o777)
    done = subprocess.run([sys.executable, "-c", ask], pass_fds=[there], capture_output=True, text=True)
    os.close(there)
    forks.sockets.chmod(0o700)
    assert done.stdout == "b''\n", done.stderr
    assert "user 65534 was turned away" in forks.log()


def test_it_ends_with_its_raylet_and_leaves_no_socket(forks: Place):
    with subprocess.Popen(["sleep", "1000"]) as raylet:
        forks.variables = {"RAY_RAYLET_PID": str(raylet.pid)}
        assert forks.run(forks.script(HOW)) == (0, "forked\n")
        server = forks.server()
        raylet.kill()
    server.wait(20)
    assert not [path for path in forks.sockets.iterdir() if path.is_socket()]
    assert "the raylet has ended; 1 processes were forked" in forks.log()


def test_environments_have_servers_of_their_own_up_to_a_limit(forks: Place):
    forks.constants = {"SERVERS": 2}
    for value in "ab":
        forks.variables = {"VALUE": value}
        assert forks.run(forks.script(HOW)) == (0, "forked\n")
    forks.variables = {"VALUE": "c"}
    assert "2 servers for other environments" in forks.run(forks.script(HOW))[1]
    forks.variables = {"VALUE": "a", "SHLVL": "7", "OLDPWD": "/"}
    assert forks.run(forks.script(HOW)) == (0, "forked\n")
    assert len(forks.servers()) == 2


def test_a_child_has_nothing_of_the_servers(forks: Place):
    waiting, pid = started_waiting(forks)
    text = (
        "import os, resource\nprint(sorted(map(int, os.listdir('/proc/self/fd')))[:-1], os.getpgid(0) == os.getpid(),"
        "resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert forks.run(forks.script(text)) == (0, f"[0, 1, 2] True {limits}\n")
    waiting.send_signal(signal.SIGTERM)
    assert waiting.wait(30) == -signal.SIGTERM
    assert not psutil.pid_exists(pid)


def test_two_children_draw_differently(forks: Place):
    forks.preload = "numpy"
    script = forks.script("import random, numpy\nprint(random.random(), numpy.random.rand())\n")
    drawn = [forks.run(script)[1].split() for _ in range(2)]
    assert len({number for pair in drawn for number in pair}) == 4


def test_modules_that_are_missing_are_named_in_the_log(forks: Place):
    forks.preload = "no_such_module"
    assert forks.run(forks.script(HOW)) == (0, "forked\n")
    assert "no_such_module is not imported before the fork (ModuleNotFoundError" in forks.log()


def test_the_child_itself_says_that_it_is_there(forks: Place, monkeypatch: pytest.MonkeyPatch):
    """Not the server, which may be killed after the fork: the child would keep the connection open in silence."""
    monkeypatch.setenv(STATE, "")
    script = forks.script(f"{HOW}open({str(forks.folder / 'ran')!r}, 'a').write('x')\n")
    assert forks.run(script) == (0, "forked\n")
    with connection_to(forks) as connection, Path(os.devnull).open("r+b") as null:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        request = os.memfd_create("request")
        os.write(request, os.fsencode("\0".join(told([str(script)]))))
        socket.send_fds(connection, [b"x"], [null.fileno()] * 3 + [request])
        os.close(request)
        message, ancillary, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(12))
        word, pid = message.decode().split()
        assert (word, int(pid)) == ("forked", int.from_bytes(ancillary[0][2][:4], sys.byteorder))
    until(lambda: not psutil.pid_exists(int(pid)))
    assert (forks.folder / "ran").read_text() == "x"  # the second was never let go


def test_with_its_raylet_it_ends_those_that_stay(forks: Place):
    with subprocess.Popen(["sleep", "1000"]) as raylet:
        forks.variables = {"RAY_RAYLET_PID": str(raylet.pid)}
        process, pid = started_waiting(forks)
        server, silent = forks.server(), connection_to(forks)
        raylet.kill()
    assert process.wait(30) == -signal.SIGKILL
    server.wait(20)
    assert silent.recv(9) == b""
    silent.close()
    assert not psutil.pid_exists(pid)
    assert not [path for path in forks.sockets.iterdir() if path.is_socket()]


@pytest.mark.parametrize(("name", "same"), [("OMP_WAIT_POLICY", False)])
def test_a_warm_server_is_for_the_environment_that_it_has_read(
    forks: Place, name: str, same: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(command, "FIRST", {})
    monkeypatch.setattr(command, "WITH_RAY", {})
    with start_warm(sys.executable, forks.sockets, preload=[], preload_with_ray=[]) as warm:
        forks.variables = {name: "01"}
        assert forks.run(forks.script(HOW)) == (0, "forked\n")
        assert (forks.server().pid == warm.pid) == same
        assert not (forks.sockets / "warm").exists()
        warm.kill() if same else warm.wait(20)
