"""What the programs in `programs/` say: one JSON object a line. Everything in it is checked: libraries print too.

In: lines of a program's standard output. Out: messages, or an error that says what is wrong with the line.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

EVENTS = ("ready", "converted", "batch", "saved", "refused", "end")
MAX_LINE = 1_000_000  # bytes; a longer line is no message
MAX_TEXT = 500  # letters of a reason or a version that are kept
MAX_RANK = 4096
MAX_TIME = 1e12  # seconds; neither a number that is none nor one too long for a float


class ProtocolError(Exception):
    """A line that is no message, or messages that do not fit together."""


@dataclass(frozen=True)
class Message:
    """One line. `at` is the monotonic clock's time in seconds, which all processes of a machine share."""

    event: str  # of EVENTS
    at: float
    rank: int
    step: int = 0  # batch, saved: number of the batch in the epoch; of batches done
    samples: tuple[int, ...] = ()  # batch: their numbers
    text: str = ""  # refused: why; ready: the library's version


def parse(line: bytes | str) -> Message:
    """The message in a line.

    Raises:
        ProtocolError: it is none; says which part is wrong.
    """
    if len(line) > MAX_LINE:
        raise ProtocolError(f"the line has more than {MAX_LINE} bytes")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the line is no JSON: {str(error)[:80]}") from error
    if not isinstance(found, dict):
        raise ProtocolError(f"the line is a {type(found).__name__}, not an object")
    event = found.get("event")
    if event not in EVENTS:
        raise ProtocolError(f"event is {str(event)[:80]!r}, none of {', '.join(EVENTS)}")
    step = _whole(found, "step", 2**53) if event in ("batch", "saved") else 0
    samples = found.get("samples", []) if event == "batch" else []
    if not isinstance(samples, list) or not all(type(each) is int and 0 <= each < 2**53 for each in samples):
        raise ProtocolError("samples are no list of numbers of samples")
    text = found.get("reason" if event == "refused" else "version", "")
    if not isinstance(text, str):
        raise ProtocolError(f"reason or version is a {type(text).__name__}, no text")
    return Message(event, _time(found), _whole(found, "rank", MAX_RANK), step, tuple(samples), text[:MAX_TEXT])


def _whole(found: dict[str, Any], key: str, limit: int) -> int:
    value = found.get(key)
    if type(value) is not int or not 0 <= value < limit:
        raise ProtocolError(f"{key} is {str(value)[:80]!r}, no whole number from 0 to {limit - 1}")
    return value


def _time(found: dict[str, Any]) -> float:
    at = found.get("at")
    if isinstance(at, bool) or not isinstance(at, int | float) or not abs(at) < MAX_TIME:
        raise ProtocolError(f"at is {str(at)[:80]!r}, no time in seconds")
    return float(at)


def global_batches(messages: Iterable[Message], first: int = 0) -> list[list[int]]:
    """Samples of each global batch from step `first` on: those of all ranks.

    Steps that only some ranks have, as in an epoch's end that does not divide evenly, are batches too.

    Raises:
        ProtocolError: a rank leaves out a step or has one twice.
    """
    batches: dict[int, list[int]] = {}
    expected: dict[int, int] = {}
    for message in messages:
        if message.event == "batch":
            due = expected.get(message.rank, first)
            if message.step != due:
                raise ProtocolError(f"rank {message.rank} has step {message.step} where {due} is due")
            expected[message.rank] = due + 1
            batches.setdefault(message.step, []).extend(message.samples)
    return [batches[step] for step in sorted(batches)]
