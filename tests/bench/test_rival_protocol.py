"""What programs print is data: anything may stand there, and only whole messages count."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.bench.rivals.protocol import MAX_LINE, Message, ProtocolError, global_batches, parse

BATCH = {"event": "batch", "at": 1.5, "rank": 0, "step": 3, "samples": [4, 5]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def test_a_batch_is_read():
    assert parse(json.dumps(BATCH)) == Message("batch", 1.5, 0, 3, (4, 5))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(line: bytes):
    with pytest.raises(ProtocolError):
        parse(line)


@settings(deadline=None)
@given(st.sampled_from(["event", "at", "rank", "step", "samples"]), JSON)
def test_a_wrong_value_is_never_taken_over(key: str, value: Any):
    try:
        message = parse(json.dumps(BATCH | {key: value}))
    except ProtocolError:
        return
    assert getattr(message, key) == (tuple(value) if key == "samples" else value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rank": True}, "rank is 'True'"),
        ({"rank": -1}, "no whole number"),
        ({"step": None}, "step is 'None'"),
        ({"at": float("nan")}, "at is 'nan'"),
        ({"samples": [1, "2"]}, "samples are no list"),
        ({"samples": [True]}, "samples are no list"),
        ({"event": "launch"}, "none of ready, converted, batch, saved, refused, end"),
    ],
)
def test_an_error_says_what_is_wrong(changed: dict[str, Any], said: str):
    with pytest.raises(ProtocolError, match=said):
        parse(json.dumps(BATCH | changed))


def test_a_line_too_long_and_one_nested_too_deeply_are_errors():
    with pytest.raises(ProtocolError, match="more than"):
        parse(b'"' + b"x" * MAX_LINE + b'"')
    with pytest.raises(ProtocolError, match="no JSON"):
        parse("[" * 200_000)


def _batch(rank: int, step: int, *samples: int) -> Message:
    return Message("batch", 0.0, rank, step, samples)


def test_a_global_batch_has_the_samples_of_all_ranks():
    said = [_batch(0, 8, 1), _batch(1, 8, 2), _batch(1, 9, 4), _batch(0, 9, 3)]
    assert [sorted(batch) for batch in global_batches(said, 8)] == [[1, 2], [3, 4]]


@pytest.mark.parametrize("steps", [[0, 2], [0, 0], [1]])
def test_a_batch_that_was_not_heard_of_is_an_error(steps: list[int]):
    with pytest.raises(ProtocolError, match="is due"):
        global_batches([_batch(0, step, 1) for step in steps])
