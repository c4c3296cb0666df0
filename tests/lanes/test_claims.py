"""A lane asks whether a member is its own, of a head that is busy."""

from typing import Any

import pytest
import torch
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError

from platform.lanes import worker as worker_module
from platform.lanes.lane import Lane
from platform.lanes.mailbox import Mailbox
from platform.lanes.worker import CLAIM_TRIES, _is_ours
from platform.training.worker import Worker
from tests.lanes.ranks import Handle

ALONE = Worker(0, 1, torch.device("cpu"), threads=1)


def ours(monkeypatch: pytest.MonkeyPatch, mailbox: Mailbox, errors: list[RayError], lane: int = 0) -> bool:
    """Whether a member is the lane's, where the first answers do not come."""

    def get(answer: Any, timeout: float) -> Any:
        assert timeout == worker_module.ANSWER_S
        if errors:
            raise errors.pop()
        return answer

    monkeypatch.setattr(worker_module.ray, "get", get)
    return _is_ours("a", Lane(lane, [], Handle(mailbox), shared=True), ALONE)


def test_a_head_that_is_busy_is_asked_again_and_the_claim_stays_the_lanes(monkeypatch: pytest.MonkeyPatch):
    mailbox = Mailbox()
    assert ours(monkeypatch, mailbox, [GetTimeoutError("busy") for _ in range(CLAIM_TRIES - 1)])  # it came through
    assert mailbox.claims() == {"a": 0}
    assert not ours(monkeypatch, mailbox, [GetTimeoutError("busy")], lane=1)


@pytest.mark.parametrize("errors", [[ActorDiedError()], [GetTimeoutError("busy") for _ in range(CLAIM_TRIES)]])
def test_a_head_that_is_gone_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch, errors: list[RayError]):
    with pytest.raises(RayError):
        ours(monkeypatch, Mailbox(), errors)
    assert errors == []
