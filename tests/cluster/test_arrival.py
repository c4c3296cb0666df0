"""A head that is there before its workers waits for those that are expected, and no longer than it was told."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from platform.checkout import ROOT
from platform.cluster import arrival
from platform.cluster.resources import Resources
from platform.config.checks import CannotGoOn, ConfigError
from platform.config.cluster import ClusterConfig

HEAD, ONE, TWO = Resources(1, 0, 0), Resources(2, 8, 1), Resources(3, 16, 2)


def settings(**words: object) -> ClusterConfig:
    given: dict[str, object] = {"address": "auto", "cpus_per_worker": 8, "gpus_per_worker": 1, "expected_workers": 2}
    return ClusterConfig(**(given | words))  # pyright: ignore[reportArgumentType]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "LOOK_EVERY_S", 0.001)


def looks(*seen: Resources) -> Callable[[], Resources]:
    """What each look finds; the last one for ever."""
    left = list(seen)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_it_waits_until_all_that_is_expected_is_there(capsys: pytest.CaptureFixture[str]):
    assert arrival.expected(settings(), looks(HEAD, HEAD, ONE, ONE, TWO)) == TWO
    said = capsys.readouterr().out.splitlines()
    assert [line.partition("; ")[0] for line in said[:2]] == [
        "room for 0 of 2 expected worker(s) (1 node(s), 0 CPUs, 0 GPUs)",
        "room for 1 of 2 expected worker(s) (2 node(s), 8 CPUs, 1 GPUs)",
    ]
    assert said[2:] == ["all 2 expected worker(s) have room now, on 3 node(s)"]


def test_a_node_whose_gpus_are_not_there_yet_has_no_room():
    without_gpu = Resources(3, 16, 1)
    assert arrival.expected(settings(), looks(without_gpu, TWO)) == TWO


@pytest.mark.parametrize("words", [{}, {"expected_workers": 0}])
def test_nothing_is_said_where_nothing_is_missing(words: dict[str, int], capsys: pytest.CaptureFixture[str]):
    there = TWO if not words else HEAD
    assert arrival.expected(settings(**words), looks(there)) == there
    assert capsys.readouterr().out == ""


def test_at_the_end_it_goes_on_with_what_is_there_if_a_member_fits(capsys: pytest.CaptureFixture[str]):
    assert arrival.expected(settings(expected_within_s=0), looks(ONE)) == ONE
    assert "room for 1 of 2 expected worker(s)" in (said := capsys.readouterr().out)
    assert "going on with what is there" in said


def test_at_the_end_it_gives_up_in_one_line_if_no_member_fits():
    short = settings(expected_within_s=0, workers=2)
    with pytest.raises(CannotGoOn, match=r"room for 1 of 2 .* after 0s, and a member needs 2; see why") as error:
        arrival.expected(short, looks(ONE))
    assert len(str(error.value).splitlines()) == 1


def test_an_autoscaler_brings_what_a_member_needs_later():
    scaled = settings(expected_within_s=0, workers=2, autoscaled=True)
    assert arrival.expected(scaled, looks(HEAD)) == HEAD


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"expected_workers": -1}, "give at least 0"),
        ({"expected_within_s": -1}, "give seconds"),
        ({"address": None}, "no node comes to a Ray of this machine's own"),
        ({"gpus_per_worker": None}, "say cluster.gpus_per_worker"),
    ],
)
def test_what_cannot_come_is_refused(words: dict[str, object], said: str):
    with pytest.raises(ConfigError, match=said):
        settings(**words)


# In a process of its own, as in test_forked_nodes.py.
JOIN = """
import _thread, io, os, sys, threading
from pathlib import Path

import platform.cluster.connect as cluster
from platform.chaos.nodes import LocalCluster
from platform.config.cluster import ClusterConfig

class Output(io.StringIO):
    def write(self, text):
        if "room for 0 of 2" in text or "room for 1 of 2" in text:
            arrived.set()
        return super().write(text)

arrived = threading.Event()
threading.excepthook = lambda given: (sys.__excepthook__(*given[:3]), _thread.interrupt_main())  # nodes are ended, too
with LocalCluster(Path(sys.argv[1]), nodes=1, cpus=1, head_cpus=0) as nodes:
    os.environ.update(nodes.environment)
    def come():
        for _ in range(2):
            arrived.wait()
            arrived.clear()
            nodes.start_node()
    threading.Thread(target=come, daemon=True).start()
    printed, sys.stdout = sys.stdout, Output()
    found = cluster.connect(ClusterConfig(address=nodes.address, gpus_per_worker=0, expected_workers=2))
    said, sys.stdout = sys.stdout.getvalue(), printed
    cluster.disconnect()
assert (found.nodes, found.cpus) == (3, 2), found
counts = [line.split(" expected")[0] for line in said.splitlines()]
assert counts == ["room for 0 of 2", "room for 1 of 2", "all 2"], said
print("as it should be")
"""


@pytest.mark.slow
@pytest.mark.long
def test_of_a_real_cluster_whose_nodes_come_one_after_another(tmp_path: Path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", JOIN, str(tmp_path)], cwd=ROOT, env=clean | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["as it should be"], done.stdout + done.stderr
