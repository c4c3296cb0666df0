"""An experiment on somebody's Ray cluster, through its Jobs API: submitted, or found there, and followed to its end.

In: what is submitted. Out: the job's log as it grows, and its exit status. Whoever follows may leave: the job stays.
"""

import asyncio
import contextlib
import logging
import math
import os
import sys
import time
from typing import Any

import aiohttp
import ray
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from platform.cluster.runtime_env import shipped_code
from platform.cluster.submission import BY, Submission, difference
from platform.config.checks import CannotGoOn, ConfigError, require
from platform.config.sections import Config
from platform.redaction import redacted, unsealed
from platform.signals import signals
from platform.text import first_line

CONNECT_S = 5.0
FIRST_ANSWER_S = 8.0  # of an address that may be another thing than Ray
ANSWER_S = 30.0
SILENCE_S = 15.0  # without a line of the job's log, after which the cluster is asked whether the job still runs
PAUSE_S = 2.0  # before the next attempt to reach a cluster
GIVEN_UP_S = 600.0  # without an answer
CLOSING_S = 60.0  # for a job that was told to stop, after its last checkpoint: to deliver to MLflow, to disconnect
LOST = (OSError, RuntimeError, ValueError, aiohttp.ClientError)  # of requests to a cluster that is away or starting
NOT_FOUND = 127
CHATTY = ("dashboard.modules.job.sdk", "dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging")
"""Loggers of Ray whose messages we print in one line of our own."""


def run(submission: Submission, config: Config) -> int:
    """Submit a job, or find the one that the same command has submitted, and follow it to its end.

    Returns:
        the job's exit status; 130 if it was stopped, or following it was interrupted.

    Raises:
        ConfigError: no cluster answers, or it does not take the job.
    """
    client = connect(config.cluster.address or "")
    try:
        with signals(KeyboardInterrupt):
            job = _running(client, submission) or _submit(client, submission, config)
            try:
                return status_of(Follower(client, job).follow())
            except KeyboardInterrupt:
                _say_how_to_go_on(job, client.get_address())
                return 130
    except AuthenticationError as error:
        raise ConfigError(_refused(client.get_address(), error)) from error
    except CannotGoOn as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


class Client(JobSubmissionClient):
    """Ray's client with a time limit, without which it waits for an answer for ever."""

    answer_s = FIRST_ANSWER_S

    def get_address(self) -> str:
        """The cluster's address for messages, without a password."""
        return redacted(super().get_address())

    def _do_request(self, method: str, endpoint: str, **rest: Any) -> Any:
        return super()._do_request(method, endpoint, timeout=(CONNECT_S, self.answer_s), **rest)

    @property
    def version(self) -> str | None:
        """The cluster's version of Ray."""
        return self._server_ray_version


def connect(address: str) -> Client:
    """Connect to the Ray Jobs API at `address`.

    Raises:
        ConfigError: nothing answers there, it has another version of Ray, or it refuses our token.
    """
    for logger in CHATTY:
        logging.getLogger(f"ray.{logger}").setLevel(logging.WARNING)
    for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # they would win over the given address
        os.environ.pop(variable, None)
    try:
        client = Client(unsealed(address))
    except AuthenticationError as error:
        raise ConfigError(_refused(address, error)) from error
    except LOST as error:
        raise ConfigError(
            f"no Ray answers at cluster.address={address} ({_reason(error)}); "
            "give the address of its dashboard, http://HEAD:8265"
        ) from error
    require(
        client.version == ray.__version__,
        f"the Ray at cluster.address={address} is {client.version}, this checkout needs {ray.__version__}; "
        "start the cluster with that version",
    )
    client.answer_s = ANSWER_S
    return client


def _refused(address: str, error: AuthenticationError) -> str:
    remedy = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the token that the cluster was started with"
    return f"the Ray at cluster.address={address} does not let us in ({_reason(error)}); {remedy}"


def _reason(error: BaseException) -> str:
    """The first sentence of Ray's message: the others are about other remedies."""
    return first_line(error).partition(". ")[0].rstrip(".")


def _running(client: Client, submission: Submission) -> str | None:
    """The id of a job that does this work already; None: there is none.

    Raises:
        ConfigError: it does so with other overrides.
    """
    for job in client.list_jobs():
        if submission.is_work_of(job.metadata) and not job.status.is_terminal() and job.submission_id:
            there = f"{submission.name} runs there already: job {job.submission_id}, of {(job.metadata or {}).get(BY)}"
            different = difference(submission.entrypoint, job.entrypoint)
            require(
                not different,
                f"{there}, with other overrides (here {different}); give its own to follow it, another name=, or stop "
                f"it: {_stop(job.submission_id, client.get_address())}",
            )
            _say(there)
            return job.submission_id
    return None


def _submit(client: Client, submission: Submission, config: Config) -> str:
    """Submit the job; its id.

    Raises:
        ConfigError: the cluster does not take it.
    """
    taken = {job.submission_id for job in client.list_jobs() if job.submission_id}
    job = submission.id(taken)
    try:
        client.submit_job(
            entrypoint=submission.entrypoint,
            submission_id=job,
            metadata=submission.metadata,
            runtime_env=_environment(config),
        )
    except LOST as error:
        # Two launchers may submit the same job at once: an id is taken once, so one of the two is there.
        if found := _running(client, submission):
            return found
        raise ConfigError(f"the Ray at {client.get_address()} does not take the job: {first_line(error)}") from error
    _say(f"{submission.name} is submitted to {client.get_address()}: job {job}")
    return job


def _environment(config: Config) -> dict[str, Any]:
    """The runtime environment of the job. It makes Ray wait longer than 3 s for a job that was told to stop."""
    wait_s = math.ceil(config.checkpoint.grace_s + CLOSING_S)
    code = shipped_code() if config.cluster.ship_code else {}
    return {**code, "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(wait_s)}}


class Follower:
    """Prints the log of a job as it grows, and connects again where the connection is lost."""

    def __init__(self, client: Client, job: str) -> None:
        self._client, self._job = client, job
        self._printed = 0  # characters of the log
        self._answered_at = time.monotonic()
        self._is_lost = False

    def follow(self) -> JobDetails:
        """Print the log until the job has ended; the cluster's details of the job.

        Raises:
            CannotGoOn: the cluster is gone, or has forgotten the job.
        """
        while True:
            whole = self._tail()
            details = self._ask()
            if details and details.status.is_terminal():
                if not whole:
                    self._print_rest()
                return details
            time.sleep(PAUSE_S)

    def _tail(self) -> bool:
        """Print the log until it ends; false: the connection was lost before."""
        try:
            asyncio.run(self._tail_to_the_end())
        except LOST:
            return False
        return True

    async def _tail_to_the_end(self) -> None:
        chunks, seen = self._client.tail_job_logs(self._job), 0
        while True:
            chunk = asyncio.ensure_future(anext(chunks, None))
            while not (await asyncio.wait({chunk}, timeout=SILENCE_S))[0]:  # a dead machine does not hang up
                if (await asyncio.to_thread(self._client.get_job_info, self._job)).status.is_terminal():
                    raise TimeoutError
            if (text := chunk.result()) is None:
                return
            start, seen = seen, seen + len(text)
            self._print(text[max(0, self._printed - start) :])  # each connection sends the log from its beginning

    def _print(self, text: str) -> None:
        self._found()
        self._printed += len(text)
        sys.stdout.write(text)
        sys.stdout.flush()

    def _print_rest(self) -> None:
        with contextlib.suppress(*LOST):  # the machine that has it may be gone
            self._print(self._client.get_job_logs(self._job)[self._printed :])

    def _ask(self) -> JobDetails | None:
        """Ask for the job's details; None: the cluster does not answer.

        Raises:
            CannotGoOn: it has not answered for too long, or does not know the job.
        """
        try:
            details = self._client.get_job_info(self._job)
        except LOST as error:
            self._lost(error)
            return None
        self._found()
        return details

    def _lost(self, error: BaseException) -> None:
        address = self._client.get_address()
        if "status code 404" in str(error):
            raise CannotGoOn(
                f"the Ray at {address} does not know job {self._job} any more: its head was started anew; "
                "the same command submits it again, and goes on from the newest checkpoints"
            )
        if not self._is_lost:
            self._is_lost = True
            _say(f"the Ray at {address} does not answer ({first_line(error)}); trying again ...")
        if time.monotonic() - self._answered_at > GIVEN_UP_S:
            raise CannotGoOn(
                f"the Ray at {address} has not answered for {GIVEN_UP_S / 60:g} minutes; "
                f"job {self._job} may still run, and the same command follows it"
            )

    def _found(self) -> None:
        self._answered_at = time.monotonic()
        if self._is_lost:
            self._is_lost = False
            _say("it answers again")


def status_of(job: JobDetails) -> int:
    """The exit status of a job that has ended; prints the reason where the job's log does not have it."""
    if job.status is JobStatus.SUCCEEDED:
        return 0
    if job.status is JobStatus.STOPPED:
        _say(f"job {job.submission_id} was stopped; the same command goes on from the newest checkpoints")
        return 130
    if job.driver_exit_code is None:
        print(f"error: job {job.submission_id} failed: {first_line(Exception(job.message or ''))}", file=sys.stderr)
        return 1
    if job.driver_exit_code == NOT_FOUND:
        print(
            "error: the nodes have no `python`; start Ray with that of its environment first in PATH", file=sys.stderr
        )
    return (
        job.driver_exit_code if job.driver_exit_code >= 0 else 128 - job.driver_exit_code
    )  # killed, as a shell has it


def _say_how_to_go_on(job: str, address: str) -> None:
    _say(f"\njob {job} goes on without us. To follow it: the same command. To stop it: {_stop(job, address)}")


def _stop(job: str, address: str) -> str:
    token = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=... " if os.environ.get("RAY_AUTH_MODE") == "token" else ""
    return f"{token}ray job stop {job} --address {address}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
