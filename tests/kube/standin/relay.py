"""The network between a submitter and the head: it carries what is sent, until the head's node vanishes.

In: the head's address. Out: an address in its place. After `vanish` nothing comes through any more and nobody is told:
open connections stay open, new ones get no answer.
"""

import contextlib
import socket
import threading

BUFFER = 65536


class Relay:
    def __init__(self, address: str) -> None:
        """`address` is HOST:PORT of the head."""
        host, _, port = address.rpartition(":")
        self._to = (host, int(port))
        self._door = socket.socket()
        self._door.bind((host, 0))
        self._door.listen(64)
        self.address = f"{host}:{self._door.getsockname()[1]}"
        self._has_vanished = threading.Event()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def vanish(self) -> None:
        """From now on the other end has no machine."""
        self._has_vanished.set()
        with contextlib.suppress(OSError), socket.create_connection(self._door.getsockname(), timeout=1) as last:
            self._open.append(last.dup())  # it wakes the thread, which takes no other
        self._thread.join()
        self._door.listen(0)
        while True:  # a queue that is full drops what comes, as a wire without a machine does
            waiting = socket.socket()
            waiting.settimeout(0.5)
            self._open.append(waiting)
            if waiting.connect_ex(self._door.getsockname()):
                return

    def close(self) -> None:
        self._has_vanished.set()
        for each in [self._door, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _serve(self) -> None:
        while not self._has_vanished.is_set():
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            self._open.append(near)
            if self._has_vanished.is_set():
                return
            try:
                far = socket.create_connection(self._to, timeout=60)
            except OSError:
                near.close()  # nobody listens there, which its machine says
                continue
            far.settimeout(None)
            self._open.append(far)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := one.recv(BUFFER):
                if self._has_vanished.is_set():
                    return
                other.sendall(content)
        if not self._has_vanished.is_set():  # the end of a connection is news, too
            with contextlib.suppress(OSError):
                other.shutdown(socket.SHUT_WR)
