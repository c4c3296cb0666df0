"""The mailbox: what it holds, by whose clock, and for how long."""

from dataclasses import replace
from typing import Any

import pytest

import platform.lanes.mailbox as mailbox_module
from platform.lanes.mailbox import Beat, Failure, GroupEvent, Mailbox, Message, cause_of


def beat(started: float, at: float, rank: int = 0, **changes: Any) -> Beat:
    return replace(Beat("m", 0, rank, 2, "node", "id", 1, started, at, 0, 3, started + 5, "computing", 0.5), **changes)


def test_an_answer_that_is_lost_costs_no_message_and_no_beat() -> None:
    mailbox = Mailbox()
    mailbox.put(Message("m", "metrics", 1))
    mailbox.beat(beat(10, 20))
    mailbox.drain(0)  # nobody got this answer
    mailbox.put(Message("m", "ended"))
    number, messages, beats = mailbox.drain(0)
    assert [message.kind for message in messages if isinstance(message, Message)] == ["metrics", "ended"]
    assert [each.rank for each in beats] == [0]
    mailbox.beat(beat(10, 21, rank=1))
    number, messages, beats = mailbox.drain(number)
    assert (messages, [each.rank for each in beats]) == ([], [1])
    assert mailbox.drain(number)[1:] == ([], [])


def test_times_are_the_launchers_whatever_the_clocks_of_workers_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose clock is an hour behind, and another start of it an hour ahead."""
    mailbox, now = Mailbox(), [10_000.0]
    monkeypatch.setattr(mailbox_module.time, "time", lambda: now[0])
    mailbox.beat(beat(6390, 6400, first_step_at=0.0))
    now[0] += 2.5
    mailbox.beat(beat(6390, 6402))  # on its way for half a second: the start stays where it was
    mailbox.put(Message("m", "ended", time=6402))
    mailbox.put(GroupEvent(0, "failed", "died"))
    _, messages, (heard,) = mailbox.drain(0)
    assert (heard.started, heard.first_step_at, heard.at, heard.moved_at) == (9990, 9995, 10_002.5, 10_002)
    assert [message.time for message in messages] == [10_002.5, 10_002.5]
    mailbox.beat(beat(13_600, 13_602.5))
    assert mailbox.drain(0)[2][0].started == 10_000


def test_the_cause_is_what_is_final_then_what_no_peer_caused() -> None:
    peer, own, final = (Failure("m", rank, "", final=rank == 2, of_a_peer=rank == 0) for rank in range(3))
    assert cause_of([peer, own]) == own
    assert cause_of([peer, own, final]) == final
    assert cause_of([peer]) == peer


def test_a_member_is_of_the_lane_that_begins_it_first_at_every_start() -> None:
    mailbox = Mailbox()
    assert mailbox.claim("a", 0)
    assert not mailbox.claim("a", 1)
    assert mailbox.claim("b", 1)
    assert mailbox.claim("a", 0)  # its group starts again
    assert mailbox.claims() == {"a": 0, "b": 1}


def test_a_lane_holds_its_gpus_from_its_groups_start_to_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox, now = Mailbox(), [1000.0]
    monkeypatch.setattr(mailbox_module.time, "time", lambda: now[0])

    def held_since() -> float:
        mailbox.beat(beat(now[0], now[0]))
        return mailbox.drain(0)[2][0].held_since

    assert held_since() == 0
    mailbox.group_started(0, "aaaa", held_s=12.0)  # its workers took so long to start
    now[0] = 1100.0
    mailbox.group_started(1, "bbbb", held_s=0.0)
    assert held_since() == 988
    mailbox.put(GroupEvent(1, "failed", "died"))
    mailbox.put(GroupEvent(0, "preempted", "will be"))
    assert held_since() == 988
    mailbox.put(GroupEvent(0, "failed", "died"))
    assert held_since() == 0
    mailbox.holds(0)
    assert held_since() == 1100


def test_a_launcher_that_does_not_come_costs_metrics_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox_module, "MOST_MESSAGES", 5)
    mailbox = Mailbox()
    for step in range(100):
        mailbox.put(Message("m", "metrics", step))
    mailbox.put(Message("m", "ended", text="finished"))
    number, messages, _ = mailbox.drain(0)
    told = [message for message in messages if isinstance(message, Message)]
    assert [message.step for message in told if message.kind == "metrics"] == [0, 1, 2, 3, 4]
    assert [message.kind for message in told[5:]] == ["warning", "ended"]
    assert "5 messages wait for the launcher" in told[5].text
    mailbox.drain(number)
    mailbox.put(Message("m", "metrics", 100))
    assert [message.step for message in mailbox.drain(number)[1] if isinstance(message, Message)] == [100]
