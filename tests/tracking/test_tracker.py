"""Tracking against real SQLite stores and real servers over HTTP: away, failing, hanging, and launchers killed."""

import contextlib
import http.server
import logging
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient

from platform.chaos.servers import MlflowServer
from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.config.tracking import TrackingConfig
from platform.tracking.journal import Journal
from platform.tracking.mlflow_connection import connect
from platform.tracking.operations import Params, Start, Text, encode
from platform.tracking.tracker import Tracker, mlflow_ids, new_key, require_answer


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(autouse=True)
def _artifacts_go_to_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tracking.jsonl"


@pytest.mark.slow
def test_parent_and_child_with_everything(store: str, path: Path, tmp_path: Path):
    tracker = Tracker(TrackingConfig(uri=store, experiment="one"), Journal(path))
    parent = tracker.start("all", {"seed": 1})
    child = tracker.start("first", {"optim": {"lr": 0.5}, **{f"p{i}": "x" * 7000 for i in range(150)}}, parent=parent)
    for step in range(3000):
        tracker.log(child, step, {"train/loss": 1 / (step + 1), "odd": float("nan")})
    tracker.summary(child, {"test/top1": 0.5})
    tracker.tag(child, "long", "y" * 9000)
    (tmp_path / "table.md").write_text("| |")
    tracker.artifact(parent, tmp_path / "table.md")
    tracker.finish(child, "FINISHED")
    tracker.finish(parent, "FAILED")
    assert tracker.close() == 0
    client, ids = MlflowClient(store), mlflow_ids(path)
    run = client.get_run(ids[child])
    assert run.info.status == "FINISHED"
    assert (run.info.end_time or 0) >= run.info.start_time
    assert client.get_run(ids[parent]).info.status == "FAILED"
    assert run.data.tags["mlflow.parentRunId"] == ids[parent]
    assert run.data.tags["mlflow.source.git.commit"]
    assert run.data.params["optim.lr"] == "0.5"
    assert len(run.data.params) == 151
    assert run.data.params["p0"].endswith("xxx ... (7000 characters)")
    assert run.data.tags["long"].endswith("yyy ... (9000 characters)")
    assert run.data.metrics["test/top1"] == 0.5
    assert steps(store, path, child, "train/loss") == list(range(3000))
    assert steps(store, path, child, "odd") == list(range(3000))
    assert {file.path for file in client.list_artifacts(ids[child])} >= {"config.yaml", "environment.txt"}
    assert "table.md" in {file.path for file in client.list_artifacts(ids[parent])}


HELD = """
import sys, time
from pathlib import Path
from platform.config.tracking import TrackingConfig
from platform.tracking.journal import Journal
from platform.tracking.tracker import Tracker
tracker = Tracker(TrackingConfig(uri=sys.argv[1], experiment="one"), Journal(Path(sys.argv[2])), held=True)
tracker.start("run", {"seed": 1})
time.sleep(0.5)
print("mlflow" in sys.modules, tracker.is_delivered, tracker.queued > 0)
if sys.argv[3] == "deliver":
    tracker.deliver()
    assert tracker.is_delivered
print(tracker.close())
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["deliver", "close"])
def test_mlflow_is_not_imported_before_it_is_to_get_something(store: str, path: Path, how: str):
    """Its imports would slow down the start of the members."""
    done = subprocess.run(
        [sys.executable, "-c", HELD, store, str(path), how], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == ["False False True", "0"], done.stdout + done.stderr


@pytest.mark.slow
def test_what_nobody_releases_is_delivered_after_a_while(store: str, path: Path, monkeypatch: pytest.MonkeyPatch):
    """Members may wait for room for days."""
    monkeypatch.setattr("platform.tracking.delivery.HELD_S", 0.2)
    tracker = Tracker(TrackingConfig(uri=store, experiment="one"), Journal(path), held=True)
    tracker.start("run", {"seed": 1})
    end = time.monotonic() + 60
    while tracker.queued and time.monotonic() < end:
        time.sleep(0.05)
    assert tracker.is_delivered
    assert tracker.queued == 0
    tracker.close()


def test_a_run_taken_up_again_has_no_point_twice(store: str, path: Path):
    config = TrackingConfig(uri=store, experiment="two")
    first = Tracker(config, Journal(path))
    run = first.start("member", {})
    for step in range(1, 6):
        first.log(run, step, {"progress": step / 10, "loss": 1.0})
    first.tag(run, "error", "stopped")
    first.finish(run, "KILLED")
    assert first.close() == 0
    second = Tracker(config, Journal(path))
    assert second.start("member", {}, again=run) == run
    for step in range(4, 9):
        second.log(run, step, {"progress": step / 10, "loss": 1.0})
    assert second.close() == 0
    assert mlflow_run(store, path, run).info.status == "RUNNING"
    assert "error" not in mlflow_run(store, path, run).data.tags
    third = Tracker(config, Journal(path))
    third.finish(run, "FINISHED")
    assert third.close() == 0
    assert steps(store, path, run) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert mlflow_run(store, path, run).info.status == "FINISHED"


def test_system_metrics_stand_at_the_seconds_since_the_run_began(store: str, path: Path):
    config, began = TrackingConfig(uri=store, experiment="system"), time.time()
    for launch in range(2):
        tracker = Tracker(config, Journal(path))
        run = tracker.start("member", {}, again="a" * 32)
        tracker.log(run, 0, {"system/cpu": 1.0}, began + 10.9 + 100 * launch)
        assert tracker.close() == 0
    assert steps(store, path, "a" * 32, "system/cpu") in ([10, 110], [9, 109])  # the run began a moment after `began`


def test_a_run_deleted_between_launches_gets_a_new_one(store: str, path: Path, caplog: pytest.LogCaptureFixture):
    config = TrackingConfig(uri=store, experiment="three")
    first = Tracker(config, Journal(path))
    run = first.start("member", {"seed": 1})
    first.log(run, 1, {"loss": 1.0})
    assert first.close() == 0
    MlflowClient(store).delete_run(old := mlflow_ids(path)[run])
    second = Tracker(config, Journal(path))
    second.start("member", {"seed": 1}, again=run)
    second.log(run, 2, {"loss": 1.0})
    assert second.close() == 0
    assert f"MLflow run {old} (member) is gone; a new one takes its place" in caplog.text
    assert mlflow_ids(path)[run] != old
    assert mlflow_run(store, path, run).data.params == {"seed": "1"}
    assert steps(store, path, run) == [2]


@pytest.mark.slow
def test_a_run_deleted_while_it_trains_gets_a_new_one(store: str, path: Path, caplog: pytest.LogCaptureFixture):
    tracker = Tracker(TrackingConfig(uri=store, experiment="deleted"), Journal(path))
    run = tracker.start("member", {"seed": 1})
    tracker.log(run, 1, {"loss": 1.0})
    wait_for(lambda: run in mlflow_ids(path) and Journal(path).waiting == 0)
    MlflowClient(store).delete_run(mlflow_ids(path)[run])
    for step in range(2, 5):
        tracker.log(run, step, {"loss": 1.0})
    tracker.finish(run, "FINISHED")
    assert tracker.close() == 0
    assert caplog.text.count("is gone; a new one takes its place") == 1
    assert steps(store, path, run) == [2, 3, 4]
    assert mlflow_run(store, path, run).info.status == "FINISHED"


def test_what_mlflow_refuses_is_said_once_and_blocks_nothing(
    store: str, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    tracker = Tracker(TrackingConfig(uri=store, experiment="refused"), Journal(path))
    run = tracker.start("member", {})
    for step in range(5):
        tracker.log(run, step, {"loss": 1.0})
        tracker.log(run, step, {"no such name?": 1.0})
    tracker.artifact(run, tmp_path / "not there")
    tracker.finish("never started", "FINISHED")
    tracker.finish(run, "FINISHED")
    assert tracker.close() == 0
    assert steps(store, path, run) == [0, 1, 2, 3, 4]
    assert mlflow_run(store, path, run).info.status == "FINISHED"
    refused = [each.getMessage() for each in caplog.records if "is left out" in each.getMessage()]
    assert len(refused) == 3, refused
    assert "does not answer" not in caplog.text


@pytest.mark.slow
def test_a_server_that_fails_at_one_operation_for_ever_gets_the_others(
    store: str, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("platform.tracking.delivery.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(
        MlflowClient, "log_artifact", lambda *_: (_ for _ in ()).throw(RuntimeError("the artifact store is broken"))
    )
    tracker = Tracker(TrackingConfig(uri=store, experiment="stuck"), Journal(path))
    run = tracker.start("member", {})
    tracker.artifact(run, path)
    tracker.log(run, 1, {"loss": 1.0})
    wait_for(lambda: Journal(path).waiting == 0)
    assert tracker.close() == 0
    assert steps(store, path, run) == [1]
    assert "refuses artifact" in caplog.text


def test_required_tracking_that_does_not_answer_is_one_line():
    with pytest.raises(ConfigError, match=r"no MLflow at tracking\.uri=http://127") as error:
        require_answer(TrackingConfig(uri=f"http://127.0.0.1:{free_port()}"))
    assert "\n" not in str(error.value)


def test_a_uri_that_mlflow_cannot_use_is_refused():
    with pytest.raises(ConfigError, match=r"tracking\.uri is 'foo://x'; give sqlite:///FILE or http://HOST:PORT"):
        TrackingConfig(uri="foo://x")
    TrackingConfig(uri="postgresql+psycopg2://user@host/name")


@pytest.mark.slow
def test_calls_return_while_a_server_never_answers(path: Path, caplog: pytest.LogCaptureFixture):
    with hanging_port() as port:
        tracker = Tracker(TrackingConfig(uri=f"http://127.0.0.1:{port}"), Journal(path))
        run = tracker.start("member", {"seed": 1})
        for step in range(1000):
            tracker.log(run, step, {"loss": 1.0})
        tracker.tag(run, "a", "b")
        tracker.finish(run, "FINISHED")
        assert tracker._journal.waiting == 1006  # all of them returned; the server still holds the first call
        tracker._delivery._away = True
        assert tracker.close(wait_s=0.5) == 1006
        again = Tracker(TrackingConfig(uri=f"http://127.0.0.1:{port}"), Journal(path))
        again._delivery._away = True
        for _ in range(2):  # a member that started again repeats steps: first of the launch before, then of this one
            for step in range(900, 1010):
                again.log(run, step, {"loss": 1.0})
            assert again._journal.waiting == 1016
        assert again.close(wait_s=0.5) == 1016
    assert len(Journal(path).read(2000)) == 1016


@pytest.mark.slow
def test_a_thread_that_stands_still_is_named_with_its_place(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("platform.tracking.delivery.SAID_AFTER_S", 0.1)
    monkeypatch.setattr("platform.tracking.delivery.STALLED_S", 1.0)
    caplog.set_level(logging.DEBUG, "platform")
    with hanging_port() as port:
        tracker = Tracker(TrackingConfig(uri=f"http://127.0.0.1:{port}"), Journal(path))
        tracker.start("member", {"seed": 1})
        assert tracker.close() == 4
    assert f"waiting for MLflow at http://127.0.0.1:{port} to take 4 entries" in caplog.text
    assert re.search(r"the delivery is in \w+ \(.+, line \d+\)\n", caplog.text)


def test_a_thread_that_has_died_is_not_waited_for(
    path: Path, store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def none(*_: object) -> None:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(Journal, "delivered", none)
    monkeypatch.setattr("platform.tracking.delivery.STALLED_S", 1e9)  # as long as the test may take
    tracker = Tracker(TrackingConfig(uri=store), Journal(path))
    tracker.start("member", {"seed": 1})
    assert tracker.close() == 4
    assert "the tracking thread has ended (KeyError: 'getpwuid(): uid not found: 12345')" in caplog.text


def test_mlflow_that_cannot_be_imported_is_said_as_one_that_is_away(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setitem(sys.modules, "platform.tracking.mlflow_store", None)
    tracker = Tracker(TrackingConfig(), Journal(path))
    tracker.start("member", {"seed": 1})
    wait_for(lambda: "does not answer (import of platform.tracking.mlflow_store halted" in caplog.text)
    assert tracker.close(wait_s=0.1) == 4


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["refused", "failing", "another"])
def test_an_absent_server_is_said_once_and_everything_waits(
    answer: str, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("platform.tracking.delivery.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("platform.tracking.delivery.LONGEST_PAUSE_S", 0.05)
    with contextlib.ExitStack() as stack:
        status = {"failing": 500, "another": 404}
        port = free_port() if answer == "refused" else stack.enter_context(answering_port(status[answer]))
        tracker = Tracker(TrackingConfig(uri=f"http://127.0.0.1:{port}"), Journal(path))
        run = tracker.start("member", {"seed": 1})
        tracker.log(run, 1, {"loss": 1.0})
        wait_for(lambda: "does not answer" in caplog.text)
        time.sleep(0.5)  # many attempts
        assert tracker.close(wait_s=0.5) == 5
    (record,) = [each for each in caplog.records if each.name.startswith(("platform", "mlflow", "urllib3"))]
    assert record.getMessage().startswith(f"MLflow at http://127.0.0.1:{port} does not answer (")
    assert record.getMessage().endswith(f"); training goes on, metrics are queued in {path}")
    assert "\n" not in record.getMessage()


@pytest.mark.long
def test_a_server_that_comes_after_the_launch_and_goes_in_the_middle_gets_everything_in_order(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    server = MlflowServer(tmp_path)
    tracker = Tracker(TrackingConfig(uri=server.url), Journal(path))
    parent = tracker.start("parent", {"seed": 1})
    run = tracker.start("member", {"seed": 1}, parent=parent)
    for step in range(50):
        tracker.log(run, step, {"loss": 1.0})
    wait_for(lambda: "does not answer" in caplog.text)
    with server:
        wait_for(lambda: tracker._journal.waiting == 0, 90)
        server.kill()
        for step in range(30, 100):  # a member that started again repeats steps
            tracker.log(run, step, {"loss": 1.0})
        wait_for(lambda: caplog.text.count("does not answer") == 2)
        server.start()
        tracker.finish(run, "FINISHED")
        tracker.finish(parent, "FINISHED")
        assert tracker.close(wait_s=60) == 0
        assert caplog.text.count("is back") == 2
        assert steps(server.url, path, run) == list(range(100))
        found = mlflow_run(server.url, path, run)
        assert found.info.status == "FINISHED"
        assert found.data.tags["mlflow.parentRunId"] == mlflow_ids(path)[parent]
        assert "config.yaml" in {file.path for file in MlflowClient(server.url).list_artifacts(found.info.run_id)}


@pytest.mark.slow
def test_a_server_that_hangs_in_the_middle_gets_everything_once(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Stopped, not ended: requests without an answer are done when it goes on, and again when they are repeated."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with MlflowServer(tmp_path) as server:
        tracker = Tracker(TrackingConfig(uri=server.url), Journal(path))
        run = tracker.start("member", {})
        for step in range(20):
            tracker.log(run, step, {"loss": 1.0})
            time.sleep(0.05)
        wait_for(lambda: tracker._journal.waiting == 0, 60)
        server.send(signal.SIGSTOP)
        for step in range(20, 60):
            tracker.log(run, step, {"loss": 1.0})
            time.sleep(0.1)
        assert tracker._journal.waiting == 40
        server.send(signal.SIGCONT)
        tracker.finish(run, "FINISHED")
        assert tracker.close(wait_s=60) == 0
        assert steps(server.url, path, run) == list(range(60))


LOGGING_PROCESS = """
import os, sys, time
from pathlib import Path
from platform.config.sections import TrackingConfig
from platform.tracking.journal import Journal
from platform.tracking.tracker import Tracker
uri, path, parent, run, first = sys.argv[1:]
tracker = Tracker(TrackingConfig(uri=uri, experiment="killed"), Journal(Path(path)))
tracker.start("parent", {"seed": 1}, again=parent)
tracker.start("member", {f"p{i}": i for i in range(150)}, parent=parent, again=run)
for step in range(max(0, int(first) - 30), 10**9):
    tracker.log(run, step, {"loss": float(step), "odd": float("nan")})
    os.write(1, b"%d\\n" % step)
    time.sleep(0.002)
"""


@pytest.mark.slow
@pytest.mark.long
def test_a_process_killed_at_any_moment_loses_no_point_and_doubles_none(store: str, path: Path):
    """Each launch begins 30 steps before the last one died, as a member does from its checkpoint."""
    parent, run, reached = new_key(), new_key(), 0
    rng = random.Random(0)
    for _ in range(6):
        command = [sys.executable, "-c", LOGGING_PROCESS, store, str(path), parent, run, str(reached)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(1.0, 5.0))  # importing MLflow takes two of them
        process.kill()
        reached = int(process.communicate()[0].splitlines()[-1])
    tracker = Tracker(TrackingConfig(uri=store, experiment="killed"), Journal(path))
    tracker.finish(run, "FINISHED")
    tracker.finish(parent, "FINISHED")
    assert tracker.close() == 0
    for key in ("loss", "odd"):
        got = steps(store, path, run, key)
        assert got == list(range(len(got)))
        assert len(got) > reached
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("killed")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(each.info.run_name or "" for each in runs) == ["member", "parent"]
    assert {each.info.status for each in runs} == {"FINISHED"}
    assert len(mlflow_run(store, path, run).data.params) == 150


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["run", "points", "nothing"])
def test_a_process_that_died_before_it_noted_what_it_delivered_repeats_nothing(
    store: str, path: Path, kept: str, monkeypatch: pytest.MonkeyPatch
):
    """Every operation again: with what was noted after the runs were made, after the first points, and never."""
    config = TrackingConfig(uri=store, experiment=f"forgetful {kept}")
    beside = path.with_suffix(".delivered.json")
    tracker = Tracker(config, Journal(path))
    run = tracker.start("member", {"seed": 1})
    noted: list[str] = []  # the file beside the journal at these moments
    for points in range(2):
        for step in range(5 * points, 5 * points + 5):
            tracker.log(run, step, {"loss": 1.0, "odd": float("nan")}, at=1e9 + step)
        wait_for(lambda: Journal(path).waiting == 0)
        noted.append(beside.read_text())
    tracker.summary(run, {"test/top1": 0.5})
    tracker.tag(run, "error", "lost")
    tracker.finish(run, "FAILED")
    assert tracker.close() == 0
    made = mlflow_ids(path)[run]
    if kept == "nothing":
        beside.unlink()
    else:
        beside.write_text(noted[0] if kept == "points" else noted[0].replace('"delivered": 9', '"delivered": 1'))
    assert Journal(path).waiting > 0
    sent: set[str] = set()
    log_batch = MlflowClient.log_batch

    def spied(client: MlflowClient, run: str, metrics: Sequence[Metric] = (), **others: Any) -> Any:
        sent.update(metric.key for metric in metrics)
        return log_batch(client, run, metrics, **others)

    monkeypatch.setattr(MlflowClient, "log_batch", spied)
    again = Tracker(config, Journal(path))
    assert again.close() == 0
    assert mlflow_ids(path)[run] == made
    for key in ("loss", "odd"):
        assert steps(store, path, run, key) == list(range(10))
    assert len(steps(store, path, run, "test/top1")) == 1
    assert sent == {"test/top1"}  # the database drops this one itself; other stores of MLflow's would keep doubles
    assert mlflow_run(store, path, run).info.status == "FAILED"


def steps(uri: str, journal: Path, run: str, metric: str = "loss") -> list[int]:
    """As MLflow has them, in its order."""
    return [point.step for point in MlflowClient(uri).get_metric_history(mlflow_ids(journal)[run], metric)]


def mlflow_run(uri: str, journal: Path, run: str) -> Run:
    return MlflowClient(uri).get_run(mlflow_ids(journal)[run])


def wait_for(happened: Callable[[], bool], limit_s: float = 30) -> None:
    until = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def hanging_port() -> Iterator[int]:
    """Takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield listener.getsockname()[1]


@contextlib.contextmanager
def answering_port(status: int) -> Iterator[int]:
    """Answers everything with `status` and no word of MLflow's."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_deleted_experiment_is_no_answer(store: str):
    client = MlflowClient(store)
    number = client.create_experiment("removed")
    client.delete_experiment(number)
    remedy = rf"removed is deleted; restore it \(mlflow experiments restore --experiment-id {number}, .*or give another"
    with pytest.raises(ConfigError, match=remedy):
        require_answer(TrackingConfig(uri=store, experiment="removed"))
    client.restore_experiment(number)
    require_answer(TrackingConfig(uri=store, experiment="removed"))


@pytest.mark.slow
@pytest.mark.parametrize("copied", [False, True])
def test_a_database_that_was_moved_says_where_its_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, copied: bool
):
    def run_from(place: Path) -> None:
        monkeypatch.chdir(place)
        tracker = Tracker(TrackingConfig(uri=f"sqlite:///{place / 'mlflow.db'}"), Journal(place / "tracking.jsonl"))
        tracker.finish(tracker.start("run", {"seed": 1}), "FINISHED")
        assert tracker.close() == 0

    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    run_from(before)
    run_from(before)
    assert "was moved" not in caplog.text
    shutil.copytree(before, after) if copied else before.rename(after)
    run_from(after)
    noted, beside = before / "mlruns" / "1", after / "mlruns" / "1"
    said = f"the MLflow database {after / 'mlflow.db'} was moved: experiment platform keeps its files in {noted}"
    assert f"{said} ({beside} is not used), where new ones go, too" in caplog.text
    assert f"ln -s {beside} {noted}" in caplog.text


def test_a_password_of_a_journal_that_an_earlier_version_wrote_does_not_arrive(store: str, path: Path):
    journal = Journal(path)
    leaked = "http://me:hunter2@mlflow"
    journal.append(encode(Start("key", "old", None, 1.0, {})))
    journal.append(encode(Params("key", {"tracking.uri": leaked})))
    journal.append(encode(Text("key", "config.yaml", f"uri: {leaked}\n")))
    assert Tracker(TrackingConfig(uri=store), journal).close() == 0
    run = mlflow_ids(path)["key"]
    assert MlflowClient(store).get_run(run).data.params["tracking.uri"] == "http://me:***@mlflow"
    assert Path(MlflowClient(store).download_artifacts(run, "config.yaml")).read_text() == "uri: http://me:***@mlflow\n"


@pytest.mark.slow
def test_a_process_killed_while_it_makes_the_database_leaves_none(tmp_path: Path):
    """MLflow itself leaves half of the tables, and never uses the file again."""
    code = f"""import os
from platform.config.sections import TrackingConfig
from platform.tracking import mlflow_connection
whole = mlflow_connection.initialize_tables
mlflow_connection.initialize_tables = lambda engine: (whole(engine), os._exit(9))
mlflow_connection.connect(TrackingConfig(uri="sqlite:///{tmp_path}/mlflow.db"))"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, check=False)
    assert killed.returncode == 9
    assert not (tmp_path / "mlflow.db").exists()
    assert [path.suffix for path in tmp_path.iterdir()] == [".unfinished"]
    client = connect(TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db"))
    assert [each.name for each in client.search_experiments()] == ["Default"]
    assert (tmp_path / "mlflow.db").stat().st_nlink == 1
