"""The liveness probe of the pod that submits: does the head that it is connected to still exist?

In: the variables that KubeRay gives the submitter. Out: an exit status, 1 if the head is gone, and a line.

`ray job logs --follow` waits for the next line without a limit. Where the head's node vanishes no end of the connection
is sent, and the operator would wait for the submitter for days. So each connection to the head is tried once more, by
TCP: a kernel accepts it however busy Ray is, and nobody does where the node is gone, nor the address of a head that was
replaced (its service is headless: every head is connected to by an address of its own). A submitter without a
connection waits for a head, which is no fault for half an hour: after that the operator has given up, too, and nobody
else would end the pod. One that is still connecting is given up by its kernel in two minutes.
"""

import contextlib
import os
import socket
import sys
import time

import psutil

ID, ADDRESS = "RAY_JOB_SUBMISSION_ID", "RAY_DASHBOARD_ADDRESS"  # of the container's environment, by KubeRay
ANSWER_S = 5.0  # a handshake takes a millisecond; three lost packets take three seconds and a half
HEAD_WITHIN_S = 1800.0  # a cloud's new node for it takes minutes
Peer = tuple[str, int]


def main() -> int:
    """0: the head is there, or is waited for; 1: it is gone, or did not come."""
    try:
        submitters = processes(os.environ[ID])
        connected = peers(submitters, _port(os.environ[ADDRESS]))
        gone = [peer for peer in connected if not answers(peer)]
        began = min((each.create_time() for each in submitters), default=time.time())
        waited_s = 0.0 if connected else time.time() - began
    except Exception as error:  # a probe that does not work is no reason to end what does
        print(f"not known ({type(error).__name__}: {error})", flush=True)
        return 0
    for host, port in gone:
        print(f"the head at {host}:{port} is gone: it does not answer, and its connection is still open", flush=True)
    if waited_s > HEAD_WITHIN_S:
        print(
            f"no head answers at {os.environ[ADDRESS]} for {waited_s:.0f} s (limit {HEAD_WITHIN_S:.0f} s)", flush=True
        )
    return 1 if gone or waited_s > HEAD_WITHIN_S else 0


def processes(submission: str) -> list[psutil.Process]:
    """The submitter's.

    Args:
        submission: the Ray job's id, which is in the environment of every process of the submitter.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if process.pid != os.getpid() and process.environ().get(ID) == submission:
                found.append(process)
    return found


def peers(submitters: list[psutil.Process], port: int) -> set[Peer]:
    """Where they are connected to at that port, of the head's dashboard."""
    found: set[Peer] = set()
    for process in submitters:
        with contextlib.suppress(psutil.Error):
            open_ones = [each for each in process.net_connections("tcp") if each.status == psutil.CONN_ESTABLISHED]
            found |= {(each.raddr.ip, each.raddr.port) for each in open_ones if each.raddr.port == port}
    return found


def answers(peer: Peer) -> bool:
    """Whether somebody takes a connection there."""
    try:
        socket.create_connection(peer, timeout=ANSWER_S).close()
    except OSError:
        return False
    return True


def _port(address: str) -> int:
    return int(address.rpartition(":")[2].split("/")[0])


if __name__ == "__main__":
    sys.exit(main())
