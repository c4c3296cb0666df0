"""What others wrote, made fit for a terminal; times; differences; why pods wait."""

from typing import Any

import pytest

from platform.console import clock
from platform.kubernetes.difference import differences, summary
from platform.kubernetes.logs import _lines, _time
from platform.kubernetes.pods import situation
from platform.text import as_on_terminal, first_line, one_line


@pytest.mark.parametrize(
    ("line", "on_a_terminal", "elsewhere"),
    [
        ("plain\ttext", "plain\ttext", "plain\ttext"),
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[31mred for ever", "\x1b[31mred for ever\x1b[0m", "red for ever"),
        (" 10%\r 20%\r 30%\r", " 30%", " 30%"),
        ("\x1b]0;a title\x07text\x1b[2J\x1b[1;1H", "text", "text"),
        ("\x1b]52;c;c2VjcmV0\x1b\\x\x1b", "x", "x"),
        ("a\x00b\x08c\x7fd\x9b31me", "abcd31me", "abcd31me"),
        ("accents: é 漢 🙂", "accents: é 漢 🙂", "accents: é 漢 🙂"),
    ],
)
def test_lines_keep_text_and_colours_and_lose_what_moves_the_cursor(line: str, on_a_terminal: str, elsewhere: str):
    assert as_on_terminal(line, colours=True) == on_a_terminal
    assert as_on_terminal(line, colours=False) == elsewhere


def test_messages_become_one_short_line():
    assert one_line("\n first \nsecond") == "first"
    assert len(one_line("x" * 1000)) == 300
    assert clock(12.9) == "00:12"
    assert clock(3787) == "1:03:07"


def test_times_sort_whatever_zeros_and_offsets_they_are_written_with():
    times = [_time(said) for said in ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00.5Z", "2026-11-22T11:00:00.51+01:00")]
    assert None not in times
    assert times == sorted(times, key=lambda time: time or (0, ""))
    assert _time("2026-11-22T10:00:00.5Z") == _time("2026-11-22T12:00:00.500000000+02:00")
    assert _time("unable") is None


def test_lines_are_whole_however_they_are_cut():
    chunks = [b"on", b"e\ntw", "o é".encode()[:-1], "é".encode()[-1:] + b"\n", b"\nrest"]
    assert list(_lines(iter(chunks), with_rest=False)) == ["one", "two é", ""]
    assert list(_lines(iter(chunks), with_rest=True)) == ["one", "two é", "", "rest"]


def _job(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "ens", "labels": {}}, "spec": spec}


def test_differences_name_the_field_and_both_values_but_no_value_of_the_environment():
    ours = _job(entrypoint="run 'a b' c", env=[], pods={"env": [{"name": "TOKEN", "value": "new"}], "cpu": 2})
    theirs = _job(entrypoint="run c", env=[], pods={"env": [{"name": "TOKEN", "value": "old"}], "cpu": 1}, ttl=60)
    found = differences(ours, theirs)
    assert found == ["entrypoint +a b", "pods.cpu 1 -> 2", "pods.env.TOKEN.value changed", "ttl 60 -> none"]
    assert summary(found).endswith("; and 1 more")


def test_another_queue_is_a_difference():
    ours, theirs = _job(), _job()
    ours["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "large"
    assert differences(ours, theirs) == ["label kueue.x-k8s.io/queue-name none -> large"]


def _pod(name: str, phase: str = "Pending", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"ray.io/cluster": "ens"}}, "status": {"phase": phase, **status}}


def _waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"name": "ray-worker", "state": {"waiting": {"reason": reason, "message": message}}, "ready": False}


def _ended(code: int, reason: str) -> dict[str, Any]:
    return {"name": "ray-worker", "state": {"terminated": {"exitCode": code, "reason": reason}}, "ready": False}


def test_pods_that_wait_say_why_and_those_that_are_on_their_way_are_counted():
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/9 nodes are available: 3 Insufficient nvidia.com/gpu, 6 node(s) didn't match Pod's node affinity."
        " preemption: 0/9 nodes are available",
    }
    pods = [
        _pod("head", "Running", containerStatuses=[{"ready": True, "state": {"running": {}}}]),
        *(_pod(f"worker-{number}", conditions=[unschedulable]) for number in range(2)),
        _pod("pulling", containerStatuses=[_waiting("ImagePullBackOff", 'Back-off pulling image "platform:x"')]),
        _pod("creating", containerStatuses=[_waiting("ContainerCreating")]),
        _pod("mounting", containerStatuses=[_waiting("ContainerCreating")]),
        _pod("dying", "Running", containerStatuses=[_ended(137, "OOMKilled")]),
    ]
    warning = {
        "involvedObject": {"name": "mounting"},
        "reason": "FailedMount",
        "message": 'claim "platform-data" not found',
    }
    assert situation(pods, [warning]) == (
        "waiting for 6 of 7 pods (2 pending: Insufficient nvidia.com/gpu, didn't match Pod's node affinity; "
        '1 pending: ImagePullBackOff: Back-off pulling image "platform:x"; '
        '1 pending: FailedMount: claim "platform-data" not found; '
        "1 not ready: ray-worker ended with 137 (OOMKilled))"
    )
    assert situation(pods[:1], []) == ""


def test_an_address_without_a_server_is_said_once():
    said = (
        "API request to http://host:1/get failed with exception HTTPConnectionPool(host='host', port=1): Max retries "
        "exceeded with url: /get (Caused by NewConnectionError(\"HTTPConnection(host='host', port=1): Failed to "
        'establish a new connection: [Errno 111] Connection refused"))'
    )
    assert first_line(OSError(said)) == "host:1: Connection refused"
    assert first_line(OSError("HTTPConnectionPool(host='host', port=1): Read timed out.")).startswith(
        "HTTPConnectionPool"
    )
