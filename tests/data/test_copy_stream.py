"""Copies on a stream of their own: what waits for what."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from platform.data.copy_stream import CopyStream


class Stream:
    """What is queued, and in which order: there is no GPU here."""

    def __init__(self, name: str, queued: list[str]) -> None:
        self.name, self._queued = name, queued

    def wait_stream(self, other: "Stream") -> None:
        self._queued.append(f"{self.name} waits for {other.name}")

    def wait_event(self, event: object) -> None:
        self._queued.append(f"{self.name} waits for an event")


class Event:
    """Of a step."""


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []

    @contextlib.contextmanager
    def stream(of: Stream) -> Iterator[None]:
        made.append(f"on {of.name}")
        yield
        made.append(f"off {of.name}")

    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Stream("copies", made))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream("steps", made))
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    return made


@pytest.mark.parametrize(
    ("after", "first"),
    [
        (None, []),
        (Event(), ["copies waits for an event"]),
        (Stream("steps", []), ["copies waits for steps"]),
    ],
)
def test_steps_wait_for_the_copies_and_copies_for_what_they_write_over(
    after: Any, first: list[str], queued: list[str]
) -> None:
    with CopyStream(torch.device("cuda", 0)).copying(after):
        queued.append("a copy")
    assert queued == [*first, "on copies", "a copy", "off copies", "steps waits for copies"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="of a GPU")
def test_what_is_copied_is_whole_however_busy_the_device_is() -> None:
    device = torch.device("cuda", 0)
    copies, busy, found, expected = CopyStream(device), torch.zeros(4096, 4096, device=device), [], []
    for number in range(20):
        images = torch.full((64, 224, 224, 3), number, dtype=torch.uint8).pin_memory()
        busy = busy @ busy
        found.append(copies.copied(images).double().sum())
        expected.append(images.double().sum())
    torch.testing.assert_close(torch.stack(found).cpu(), torch.stack(expected))
