"""Programs really run, killed and resumed: this project's own, and others where `make rivals` has been run."""

import io
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from platform.bench.rivals import kills, loaders, measure, processes
from platform.bench.rivals.exactness import Exactness
from platform.bench.rivals.kills import Kills, kill_and_resume
from platform.bench.rivals.loaders import LOADERS, Loader, missing
from platform.bench.rivals.processes import LoaderError, Refused, run
from platform.bench.rivals.samples import SHARDS, Samples, write
from platform.bench.rivals.speed import Speed
from platform.bench.rivals.tables import exactness_table, speed_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    random = np.random.Generator(np.random.Philox(0))
    jpegs = []
    for _ in range(4):
        out = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)).save(out, "JPEG")
        jpegs.append(out.getvalue())
    return write(jpegs, 8 * SHARDS, tmp_path_factory.mktemp("samples") / "small")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "BATCH", 24)
    monkeypatch.setattr(kills, "SAVE_EVERY", 1)
    monkeypatch.setattr(kills, "CHECKPOINT", 2)
    monkeypatch.setattr(kills, "KILLED_AT", 3)


def _program(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, state: str = "") -> str:
    """A loader of these lines, after which `read` is run."""
    lines = ["import os, sys, time", f"sys.path.insert(0, {str(loaders.PROGRAMS)!r})"]
    lines += ["from participant import Stateless, run", text, 'run("torch", read)']
    (folder / "program.py").write_text("\n".join(lines))
    monkeypatch.setitem(LOADERS, "made", Loader("made", str(folder / "program.py"), state=state))
    return "made"


def _job(samples: Samples, scratch: Path, **rest: object) -> dict[str, object]:
    return samples.job("made", scratch, action="read", rank=0, world=1, **rest)


@pytest.mark.long
@pytest.mark.usefixtures("small")
def test_this_project_killed_goes_on_exactly_with_another_number_of_ranks(samples: Samples, tmp_path: Path):
    seconds, failed = measure._convert("platform", samples, tmp_path / "convert")
    assert seconds > 0
    assert failed == ""
    found = kill_and_resume("platform", samples, tmp_path)
    assert found.failed == ""
    assert found.samples == 96
    for resumed in (found.same, found.other):
        assert resumed is not None
        assert (resumed.exactness, resumed.how) == (Exactness(96, 0, 0, 0), "")


def test_lines_that_are_no_messages_are_counted_and_the_rest_is_read(
    samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Another file descriptor of the same pipe: what a library's C code might do."""
    text = """
def read(job):
    def batches():
        yield [1, 2]
        os.write(noisy, b'{"event": "batch", "step": -1}\\n\\xff\\xfe\\n[]\\n')
        yield [3]
        print("to standard error")
    return Stateless(batches)
noisy = os.dup(1)"""
    outcome = run(_program(monkeypatch, tmp_path, text), [_job(samples, tmp_path)], tmp_path)
    assert [message.samples for message in outcome.batches] == [(1, 2), (3,)]
    assert outcome.garbled == 3
    assert outcome.ended > outcome.began
    assert outcome.version


def test_a_kill_leaves_no_process_of_the_program(samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = """
def read(job):
    def batches():
        child = os.fork()
        if not child:
            time.sleep(600)
        open("child", "w").write(str(child))
        yield [1]
        yield [2]
    return Stateless(batches)"""
    outcome = run(_program(monkeypatch, tmp_path, text), [_job(samples, tmp_path, stop_at=1)], tmp_path, kill=True)
    assert [message.samples for message in outcome.batches] == [(1,)]
    child = int((tmp_path / "child").read_text())
    end = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_cpu_time_is_that_of_all_processes_and_memory_is_taken(
    samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = """
def read(job):
    def batches():
        if not (child := os.fork()):
            held = bytearray(os.urandom(30_000_000))
            while time.process_time() < 1:
                pass
            os._exit(0)
        os.waitpid(child, 0)
        yield [1]
    return Stateless(batches)"""
    outcome = run(_program(monkeypatch, tmp_path, text), [_job(samples, tmp_path)], tmp_path, memory=True)
    assert outcome.cpu_s > 0.8  # of the child, which was waited for
    assert outcome.rss_mb > outcome.pss_mb > 30


def test_a_program_that_fails_says_why(samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name = _program(monkeypatch, tmp_path, "def read(job):\n    raise ValueError('no such shard')")
    with pytest.raises(LoaderError, match="it ended with 1: ValueError: no such shard"):
        run(name, [_job(samples, tmp_path)], tmp_path)


def test_a_program_that_hangs_is_ended(samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "LIMIT_S", 0.5)
    name = _program(monkeypatch, tmp_path, "def read(job):\n    time.sleep(600)")
    with pytest.raises(LoaderError, match=r"it took more than 0\.5 s"):
        run(name, [_job(samples, tmp_path)], tmp_path)


@pytest.mark.usefixtures("small")
def test_a_state_that_is_refused_lets_the_epoch_start_anew(
    samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = """
class Refusing:
    def __init__(self, job):
        self.job = job
        if job.resume and job.world != job.resume_world:
            raise RuntimeError("saved by 2 ranks")
    def __iter__(self):
        for step in range(self.job.resume_step, 4):
            first = 24 * step + self.job.rank * self.job.batch_size
            yield list(range(first, first + self.job.batch_size))
    def save(self, folder):
        pass
read = Refusing"""
    found = kill_and_resume(_program(monkeypatch, tmp_path, text, "a state"), samples, tmp_path)
    assert found.failed == ""
    assert found.same
    assert found.same.exactness.exact
    assert found.other
    assert found.other.exactness == Exactness(kept=96, rebatched=0, missed=0, repeated=48)
    assert found.other.how == "refused, so the epoch starts anew: RuntimeError: saved by 2 ranks"
    with pytest.raises(Refused):
        run("made", [_job(samples, tmp_path, resume="x", resume_world=2)], tmp_path)


def test_what_is_not_installed_or_fails_is_a_row_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(loaders, "ENVIRONMENT", tmp_path / ".venv-rivals")
    missing.cache_clear()
    try:
        reason = missing("litdata")
        assert reason == "there is no .venv-rivals; run make rivals"
        assert missing("platform") == ""
    finally:
        missing.cache_clear()
    speeds = {
        "webdataset": Speed(failed="it ended with 1: a | b\nc"),
        "imagefolder": Speed([200.0, 210.0], [400.0], [0.5], pss_mb=900, version="0.29.2"),
        "platform": Speed([800.0], [1500.0], [0.2], [0.3], pss_mb=700, convert_s=0.5),
    }
    rows = speed_table(speeds, {"litdata": reason})[2:]
    assert [row.split("|")[1].strip() for row in rows] == [
        "this project, uint8, normalising on the device",
        "torchvision ImageFolder + DataLoader 0.29.2",
        "webdataset",
        "LitData",
    ]
    assert "| 205 | 400 | 0.5 | - | 900 | - |" in rows[1]
    assert "not measured: it ended with 1: a / b c" in rows[2]
    assert f"not measured: {reason}" in rows[3]
    assert len({row.count("|") for row in speed_table(speeds, {"litdata": reason})}) == 1
    table = exactness_table({"webdataset": Kills(failed="it hangs")}, {"litdata": reason})
    assert "not measured: it hangs" in table[2]
    assert f"not measured: {reason}" in table[3]
    assert len({row.count("|") for row in table}) == 1


@pytest.mark.long
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", [name for name in LOADERS if LOADERS[name].module and name != "ray_data"])
def test_others_run_killed_and_resumed(name: str, samples: Samples, tmp_path: Path):
    if reason := missing(name):
        pytest.skip(reason)
    assert measure._convert(name, samples, tmp_path / "convert")[1] == ""
    found = kill_and_resume(name, samples, tmp_path)
    assert found.failed == ""
    assert found.samples >= 80
    for resumed in (found.same, found.other):
        assert resumed is not None
        assert (resumed.how == "") or LOADERS[name].state == "" or "refused" in resumed.how
