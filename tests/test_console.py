"""What is printed, on a terminal and where there is none."""

import contextlib
import time

import pytest

from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.console import Counter, duration
from platform.experiment.plan import MemberPlan, Plan
from platform.lanes.console import MOST_BARS, Console
from platform.signals import Interrupted
from platform.text import as_on_terminal


def plan_of(*names: str) -> Plan:
    config = Config()
    experiment = Experiment(config, dict.fromkeys(names, config))
    return Plan(experiment, 100, 20, True, [MemberPlan(name, config, 10, 40) for name in names])


def test_plain_lines_have_speed_and_time_left(capsys: pytest.CaptureFixture[str]):
    with Console(plan_of("one"), ["one"], 1, plain=True) as console:
        console.state("one", "starting")
        console.metrics("one", 10, {"train/loss": 2.5, "train/epoch": 1.0, "train/images_per_s": 96.0})
        console.metrics("one", 11, {"train/loss": 2.4, "train/epoch": 1.1, "train/images_per_s": 96.0})
        console.state("one", "finished")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["one", "0%"], ["one", "100%"]]  # at most one line in ten seconds
    assert "finished" in lines[-1]


def test_a_line_of_training_says_everything(capsys: pytest.CaptureFixture[str]):
    with Console(plan_of("one"), ["one"], 1, plain=True) as console:
        console.metrics("one", 10, {"train/loss": 2.5, "train/epoch": 1.0, "train/images_per_s": 96.0, "val/top1": 0.5})
    (line,) = capsys.readouterr().out.splitlines()
    for word in ("25%", "epoch   1.0", "loss  2.500", "val top-1 50.00%", "96 images/s", "10s left"):
        assert word in line


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")


TRAINED = {"train/loss": 2.5, "train/epoch": 1.0, "train/images_per_s": 96.0, "val/top1": 0.5}


def last_bars(output: str, count: int) -> list[str]:
    lines = [as_on_terminal(line, colours=False).rstrip() for line in output.splitlines()]
    return [line for line in lines if "━" in line][-count:]


def test_bars_say_what_was_stopped_and_how_good_the_finished_are(terminal: None, capsys: pytest.CaptureFixture[str]):
    names = ["one", "two", "three"]
    with contextlib.suppress(Interrupted), Console(plan_of(*names), names, 1, plain=False) as console:
        console.metrics("one", 10, TRAINED)
        console.metrics("two", 40, TRAINED)
        console.state("two", "finished")
        raise Interrupted("stopped by SIGINT")
    one, two, three, whole = last_bars(capsys.readouterr().out, 4)
    assert one.endswith("25% stopped at epoch 1.0")
    assert two.endswith("100% finished  val top-1 50.00%")
    assert three.endswith("0% waiting")
    assert whole.startswith("all ")
    assert "images/s" not in whole  # nothing is trained now


def test_a_sweeps_bars_say_what_was_stopped(terminal: None, capsys: pytest.CaptureFixture[str]):
    trial = plan_of("p000-s0").members[0]
    with contextlib.suppress(Interrupted), Console(plan_of(), [], 1, expected=3, plain=False) as console:
        console.add(trial)
        console.metrics("p000-s0", 10, TRAINED)
        raise Interrupted("stopped by SIGINT")
    whole, one = last_bars(capsys.readouterr().out, 2)
    assert one.endswith("25% stopped at epoch 1.0")
    assert whole.endswith("0 of 3 trials")  # and no time left


def test_a_single_member_has_one_bar(terminal: None, capsys: pytest.CaptureFixture[str]):
    with Console(plan_of("one"), ["one"], 1, plain=False) as console:
        console.metrics("one", 10, TRAINED)
    output = capsys.readouterr().out
    assert "96 images/s" in output
    assert "all " not in output


def test_warnings_go_to_stderr(capsys: pytest.CaptureFixture[str]):
    with Console(plan_of("one"), ["one"], 1, plain=True) as console:
        console.warn("one: corrupt sample skipped")
    assert capsys.readouterr().err == "warning: one: corrupt sample skipped\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59.6, "1m00s"), (90, "1m30s"), (7260, "2h01m")])
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text


def test_counted_work_is_a_line_every_tenth_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]):
    with Counter("packed", "images", plain=True) as counter:
        for done in range(0, 2001, 50):
            counter(done, 2000)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("packed  10%  200 of 2,000 images  ")
    assert lines[-1].startswith("packed 100%  2,000 of 2,000 images  ")
    assert "left" in lines[0]
    assert "left" not in lines[-1]


def test_what_is_gone_through_again_is_counted_again(capsys: pytest.CaptureFixture[str]):
    with Counter("packed", "images", plain=True) as counter:
        for total in (20, 16):
            for done in range(total + 1):
                counter(done, total)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert lines[9].startswith("packed 100%  20 of 20 images  ")
    assert lines[-1].startswith("packed 100%  16 of 16 images  ")


def test_counted_work_is_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with Counter("packed", "images", plain=False) as counter:
        counter(500, 2000)
        time.sleep(0.2)
        counter(1500, 2000)
    output = capsys.readouterr().out
    assert "1500/2000" in output
    assert "images/s" in output


def test_bars_are_of_members_that_run_and_no_more_than_a_terminal_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """Drawing 200 of them ten times a second takes half a core."""
    names = [f"m{number}" for number in range(100)]
    with Console(plan_of(*names), names, 50, plain=False) as console:
        for name in names[60:90]:
            console.metrics(name, 2, {"val/top1": 0.5})
            console.state(name, "training")
            assert len(shown(console)) == MOST_BARS + 1
        assert set(names[60 : 60 + MOST_BARS]) | {"all"} == shown(console)
        console.state("m60", "finished")
        console.state("m95", "training")
        assert {"m95"} <= shown(console)
        assert "m60" not in shown(console)


def shown(console: Console) -> set[str]:
    return {task.description for task in console._bars.tasks if task.visible}
