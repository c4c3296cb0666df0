"""A worker's warnings on their way to the launcher, each under the name of the member that it is about.

In: the log records of a process. Out: messages.
"""

import logging
import threading
from typing import Self

from platform.lanes.mailbox import Sender

log = logging.getLogger("platform")
_under_way: list["WarningForwarder"] = []  # in this process


class WarningForwarder(logging.Handler):
    """Sends this process's warnings to the launcher, which prints them (use `with`).

    Of members that are trained together each has one, in its thread, and sends the warnings of that thread. Those of
    other threads, which decode or write for one or another of them, are sent once and name all.

    Args:
        sender: the member's.
    """

    def __init__(self, sender: Sender) -> None:
        super().__init__(logging.WARNING)
        self._sender, self._thread = sender, threading.get_ident()

    def __enter__(self) -> Self:
        _under_way.append(self)
        log.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        log.removeHandler(self)
        _under_way.remove(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one, if it is this one's to send."""
        everyone = list(_under_way)
        if any(each._thread == record.thread for each in everyone):
            if self._thread == record.thread:
                self._sender.send("warning", text=record.getMessage())
        elif everyone[:1] == [self]:
            sender = self._sender.named([each._sender.member for each in everyone])
            sender.send("warning", text=record.getMessage())
