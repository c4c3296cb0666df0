"""A warning is sent once, under the name of the member that it is about."""

import logging
import threading

import pytest
import ray

from platform.lanes.mailbox import Mailbox, Message, Sender
from platform.lanes.warning_forwarder import WarningForwarder
from tests.lanes.ranks import Handle

log = logging.getLogger("platform.data")


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    monkeypatch.setattr(ray, "get", lambda value, timeout=None: value)
    return Mailbox()


def warn_elsewhere(text: str) -> None:
    thread = threading.Thread(target=log.warning, args=(text,))
    thread.start()
    thread.join()


def told(mailbox: Mailbox) -> list[tuple[str, str]]:
    return [(each.member, each.text) for each in mailbox.drain(0)[1] if isinstance(each, Message)]


def test_of_a_member_by_itself_those_of_every_thread_are_its_own(mailbox: Mailbox):
    with WarningForwarder(Sender(Handle(mailbox), "a")):
        log.warning("mine")
        warn_elsewhere("of a helper")
    log.warning("of nobody")
    assert told(mailbox) == [("a", "mine"), ("a", "of a helper")]


def test_of_members_trained_together_each_sends_its_own(mailbox: Mailbox):
    ready, done = threading.Barrier(3), threading.Event()

    def train(name: str) -> None:
        with WarningForwarder(Sender(Handle(mailbox), name)):
            ready.wait()
            log.warning("mine")
            ready.wait()
            done.wait()

    threads = [threading.Thread(target=train, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    ready.wait()
    ready.wait()
    warn_elsewhere("of a helper")
    done.set()
    for thread in threads:
        thread.join()
    *own, (whose, text) = told(mailbox)
    assert sorted(own) == [("a", "mine"), ("b", "mine")]
    assert (sorted(whose.removeprefix("one of ").split(", ")), text) == (["a", "b"], "of a helper")
