"""What a fork has of its own: draws, limits, and its word that it is there."""

import os
import resource
import socket
import sys
from pathlib import Path

import psutil
import pytest

from platform.cluster.fork_server.client import STATE, request_words
from tests.cluster.fork_server.handmade import Place, until
from tests.cluster.fork_server.test_fork_server import HOW, sockets

KEPT = "import random\nkept = random.Random(0)\n"  # as libraries do when they are imported


def test_two_children_draw_differently(forks: Place):
    forks.script(KEPT, "keeps.py")
    forks.preload = "numpy,keeps"
    forks.variables = {"PYTHONPATH": f"{os.environ['PYTHONPATH']}:{forks.folder}"}
    script = forks.script(
        "import random, numpy, keeps\nprint(random.random(), numpy.random.rand(), keeps.kept.random())\n"
    )
    drawn = [forks.run(script)[1].split() for _ in range(2)]
    assert len({number for each in drawn for number in each}) == 6


def test_limits_are_those_of_whoever_started_the_server(forks: Place):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    script = forks.script("import resource\nprint(resource.getrlimit(resource.RLIMIT_NOFILE))\n")
    assert forks.run(script) == (0, f"{limits}\n")


def test_the_child_itself_says_that_it_is_there(forks: Place, monkeypatch: pytest.MonkeyPatch):
    """Not the server, which may be killed after the fork: the child would keep the connection open in silence."""
    monkeypatch.setenv(STATE, "")
    script = forks.script(f"open({str(forks.folder / 'ran')!r}, 'a').write('x')\n{HOW}")
    forks.run(script)
    (name,) = sockets(forks)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection, Path(os.devnull).open("r+b") as null:
        connection.connect(str(forks.sockets / name))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        request = os.memfd_create("request")
        os.write(request, os.fsencode("\0".join(request_words([str(script)]))))
        socket.send_fds(connection, [b"x"], [null.fileno()] * 3 + [request])
        os.close(request)
        message, ancillary, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(12))
        word, pid = message.decode().split()
        assert (word, int(pid)) == ("forked", int.from_bytes(ancillary[0][2][:4], sys.byteorder))
    until(lambda: not psutil.pid_exists(int(pid)))
    assert (forks.folder / "ran").read_text() == "x"  # the second was never let go
