"""What is made of a job's end, and of a cluster that is gone while it is followed."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import ray
from ray.job_submission import JobDetails, JobStatus

from platform.cluster import ray_jobs
from platform.cluster.connect import CannotGoOn
from platform.cluster.ray_jobs import Follower, connect, status_of


def ended(status: JobStatus, code: int | None, message: str = "") -> JobDetails:
    known = {"type": "SUBMISSION", "submission_id": "job", "entrypoint": "", "message": message}
    return JobDetails.model_validate({**known, "status": status, "driver_exit_code": code})


@pytest.mark.parametrize(
    ("job", "status", "said"),
    [
        (ended(JobStatus.SUCCEEDED, 0), 0, ""),
        (ended(JobStatus.FAILED, 2), 2, ""),  # the log has said why
        (ended(JobStatus.FAILED, 127), 127, "the nodes have no `python`; start Ray with"),
        (ended(JobStatus.FAILED, -9), 137, ""),
        (ended(JobStatus.FAILED, None, "runtime_env setup failed: no room\nTraceback"), 1, "failed: no room"),
        (ended(JobStatus.STOPPED, None), 130, "the same command goes on from the newest checkpoints"),
    ],
)
def test_the_exit_status_is_that_of_the_job(
    job: JobDetails, status: int, said: str, capsys: pytest.CaptureFixture[str]
):
    assert status_of(job) == status
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == bool(said)


class Forgetful(BaseHTTPRequestHandler):
    """A head that was started anew: it knows no job."""

    def do_GET(self) -> None:
        is_version = self.path == "/api/version"
        self.send_response(200 if is_version else 404)
        self.end_headers()
        self.wfile.write(f'{{"ray_version": "{ray.__version__}"}}'.encode() if is_version else b"it does not exist")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def head() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Forgetful) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_job_that_the_cluster_has_forgotten_is_followed_no_longer(head: HTTPServer):
    follower = Follower(connect(f"http://127.0.0.1:{head.server_port}"), "mine")
    with pytest.raises(CannotGoOn, match=r"does not know job mine any more: .* the same command submits it again"):
        follower.follow()


@pytest.mark.slow
def test_a_cluster_that_stays_away_is_given_up(
    head: HTTPServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(ray_jobs, "GIVEN_UP_S", 0.5)
    monkeypatch.setattr(ray_jobs, "PAUSE_S", 0.3)
    follower = Follower(connect(f"http://127.0.0.1:{head.server_port}"), "mine")
    head.shutdown()
    head.server_close()
    with pytest.raises(CannotGoOn, match=r"has not answered for .* job mine may still run"):
        follower.follow()
    assert capsys.readouterr().err.count("trying again") == 1
