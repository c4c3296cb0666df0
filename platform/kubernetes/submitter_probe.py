"""The liveness probe of the pod that submits: does the head that it is connected to still exist?

In: the variables that KubeRay gives the submitter. Out: an exit status, 1 if the head is gone, and a line.

`ray job logs --follow` waits for the next line without a limit. Where the head's node vanishes no end of the connection
is sent, and the operator would wait for the submitter for days. So each connection to the head is tried once more, by
TCP: a kernel accepts it however busy Ray is, and nobody does where the node is gone, nor the address of a head that was
replaced (its service is headless: every head is connected to by an address of its own). A submitter without a
connection waits for a head, which is no fault; one that is still connecting is given up by its kernel in two minutes.
"""

import contextlib
import os
import socket
import sys

import psutil

ID, ADDRESS = "RAY_JOB_SUBMISSION_ID", "RAY_DASHBOARD_ADDRESS"  # of the container's environment, by KubeRay
ANSWER_S = 5.0  # a handshake takes a millisecond; three lost packets take three seconds and a half
Peer = tuple[str, int]


def main() -> int:
    """0: the head is there, or there is no connection to one; 1: it is gone."""
    try:
        gone = [peer for peer in peers(os.environ[ID], _port(os.environ[ADDRESS])) if not answers(peer)]
    except Exception as error:  # a probe that does not work is no reason to end what does
        print(f"not known ({type(error).__name__}: {error})", flush=True)
        return 0
    for host, port in gone:
        print(f"the head at {host}:{port} is gone: it does not answer, and its connection is still open", flush=True)
    return 1 if gone else 0


def peers(submission: str, port: int) -> set[Peer]:
    """Where the submitter's processes are connected to at that port.

    Args:
        submission: the Ray job's id, which is in the environment of every process of the submitter.
        port: of the head's dashboard.
    """
    found: set[Peer] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if process.pid != os.getpid() and process.environ().get(ID) == submission:
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
