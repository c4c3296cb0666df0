"""What workers tell the launcher, and it them: an actor on its node that keeps what comes until it is fetched."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from platform.cluster.fork_server.client import FORKED, STATE
from platform.experiment.run_logs import note
from platform.lanes.usage import Usage
from platform.redaction import redacted, shared_secrets, trust

GONE_AFTER_S = 5.0  # without a beat
MOST_MESSAGES = 50_000  # that wait for a launcher that does not come for them; beyond it metrics are left out
ANSWER_S = 10.0  # of the mailbox
SECRETS_WAIT_S = 60.0  # for the mailbox to answer


@dataclass(frozen=True)
class Message:
    """From a worker to the launcher."""

    member: str
    kind: str  # metrics, state, ended, warning, unforked; fatal: nothing can go on
    step: int = 0
    metrics: dict[str, float] | None = None
    text: str = ""
    time: float = 0.0  # seconds since the epoch, by the mailbox


@dataclass(frozen=True)
class Beat:
    """Where one worker of a member is, once a second. Its times are by the worker's clock until the mailbox has it."""

    member: str
    lane: int
    rank: int
    world: int
    node: str  # host name
    node_id: str  # Ray's
    pid: int
    started: float  # this start of the member; times are seconds since the epoch
    at: float
    from_step: int  # of the checkpoint it went on from; -1: not known yet
    step: int  # global steps done
    first_step_at: float  # 0: none yet
    doing: str
    stalled_s: float  # since anything moved
    answered: int = 0  # the newest question for a checkpoint that has its answer on disk
    last_step_at: float = 0.0  # 0: none yet
    usage: Usage | None = None  # the newest measurement
    cpus: int = 0  # that the worker holds; 0: not known
    gpus: int = 0
    held_since: float = 0.0  # when the lane's group, or the trial's process, got them, by the mailbox; 0: not known
    team: str = ""  # the first of the members that its process trains together; "": the member by itself

    @property
    def process(self) -> tuple[str, int]:
        """Of the worker, which members that are trained together share."""
        return self.team or self.member, self.rank

    @property
    def moved_at(self) -> float:
        """When the worker last made progress, in seconds since the epoch."""
        return self.at - self.stalled_s


@dataclass(frozen=True)
class GroupEvent:
    """What Ray Train does with the worker group of a lane."""

    lane: int
    kind: str  # failed, resized, preempted, waiting; lost: a worker of trials, which have their own events
    text: str
    time: float = 0.0  # seconds since the epoch, by the mailbox
    whose: str = ""  # where it is of no member: what it is of


@dataclass(frozen=True)
class Failure:
    """Why a worker's start of a member failed."""

    member: str
    rank: int
    text: str
    final: bool  # it would come again at every start
    of_a_peer: bool  # it only says that another worker is gone


def cause_of(failures: list[Failure]) -> Failure:
    """The one that the others follow from, by the order in which they were told."""
    return min(failures, key=lambda failure: (not failure.final, failure.of_a_peer))


class Mailbox:
    """An actor that holds what workers and their groups tell until the launcher fetches it: nobody waits for MLflow. It
    hands the launcher's question for checkpoints on to the workers.

    It is on the launcher's node and stamps what comes: the clocks of other nodes may be wrong by any amount."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: time.time())  # seconds since the epoch
        self._number = 0  # of what came last
        self._messages: deque[tuple[int, Message | GroupEvent]] = deque()
        self._is_full = False  # and that was said
        self._beats: dict[tuple[str, int], tuple[int, Beat]] = {}  # the newest of each (member, rank)
        self._behind: dict[tuple[str, int], tuple[float, float]] = {}  # -> (a start, seconds its clock is behind)
        self._failures: dict[str, list[Failure]] = {}  # of each member's newest start
        self._asked = 0
        self._training: dict[str, tuple[float, Beat]] = {}  # when rank 0 of each member was heard, and its beat
        self._unanswered: dict[str, Any] = {}  # member -> scores that a sweep's scheduler has not answered
        self._groups: dict[int, list[str]] = {}  # placement groups of lanes
        self._held_since: dict[int, float] = {}  # of each lane that has its CPUs and GPUs
        self._claims: dict[str, int] = {}  # member -> the lane that has begun it
        how = os.environ.get(STATE, FORKED)
        if how != FORKED:
            self.put(Message("", "unforked", text=how))

    def trust(self, secrets: str) -> None:
        """The launcher's, of URLs. As a call's argument they are in memory alone: an actor's own are in Ray's store."""
        trust(secrets)

    def secrets(self) -> str:
        """What a worker needs to know to open URLs."""
        return shared_secrets()

    def put(self, message: Message | GroupEvent) -> None:
        """Take a message, with the time of now and without secrets."""
        if len(self._messages) >= MOST_MESSAGES and isinstance(message, Message) and message.kind == "metrics":
            if self._is_full:
                return
            self._is_full, text = True, f"{MOST_MESSAGES} messages wait for the launcher: MLflow does not get the "
            message = Message("", "warning", text=f"{text}metrics of now, which metrics.jsonl of each member has")
        self._messages.append((self._next(), replace(message, time=self._clock(), text=redacted(message.text))))
        if isinstance(message, GroupEvent) and message.kind == "failed":
            self._held_since.pop(message.lane, None)

    def beat(self, beat: Beat) -> int:
        """Take a beat; returns the number of the newest question for a checkpoint, 0 if there was none."""
        beat = self._by_own_clock(beat)
        self._beats[beat.member, beat.rank] = self._next(), beat
        if beat.rank == 0:
            self._training[beat.member] = time.monotonic(), beat
        return self._asked

    def _by_own_clock(self, beat: Beat) -> Beat:
        """The difference is taken once a start, so that its times stay the same from beat to beat."""
        now, worker = self._clock(), (beat.member, beat.rank)
        if self._behind.get(worker, (None,))[0] != beat.started:
            self._behind[worker] = beat.started, now - beat.at
        behind = self._behind[worker][1]
        first_step_at, last_step_at = (at and at + behind for at in (beat.first_step_at, beat.last_step_at))
        started, held_since = beat.started + behind, self._held_since.get(beat.lane, 0.0)
        return replace(
            beat, at=now, started=started, first_step_at=first_step_at, last_step_at=last_step_at, held_since=held_since
        )

    def drain(self, received: int) -> tuple[int, list[Message | GroupEvent], list[Beat]]:
        """What has come after number `received`: the number of the last, messages, and the newest beats. It is kept
        until a later call says that it was received: answers are lost."""
        while self._messages and self._messages[0][0] <= received:
            self._messages.popleft()
            self._is_full = False
        self._beats = {key: (number, beat) for key, (number, beat) in self._beats.items() if number > received}
        return self._number, [message for _, message in self._messages], [beat for _, beat in self._beats.values()]

    def _next(self) -> int:
        self._number += 1
        return self._number

    def failed(self, failure: Failure) -> list[Failure]:
        """Keep why a worker failed until the member starts again; returns all that were told of this start."""
        self._failures.setdefault(failure.member, []).append(failure)
        return self._failures[failure.member]

    def take_failures(self, member: str) -> list[Failure]:
        """Why the workers of the start before failed; it is forgotten."""
        return self._failures.pop(member, [])

    def ask_for_checkpoints(self) -> int:
        """Have every member save as soon as it can; returns the question's number."""
        self._asked += 1
        return self._asked

    def group_started(self, lane: int, placement_group: str, held_s: float = 0.0) -> None:
        """What a lane's workers hold, by Ray's id, and for how long already: each start of a lane has its own."""
        self._groups.setdefault(lane, []).append(placement_group)
        self.holds(lane, held_s)

    def holds(self, lane: int, held_s: float = 0.0) -> None:
        """A lane has had its CPUs and GPUs for `held_s`; until then it waited for room."""
        self._held_since[lane] = self._clock() - held_s

    def holding(self) -> list[int]:
        """The lanes with worker groups that were not taken yet."""
        return list(self._groups)

    def take_groups(self, lanes: list[int]) -> list[str]:
        """Those of some lanes that were not taken yet."""
        return [group for lane in lanes for group in self._groups.pop(lane, [])]

    def claim(self, member: str, lane: int) -> bool:
        """Whether a member is a lane's, which is about to begin it: it is of the first that asks, at every start."""
        return self._claims.setdefault(member, lane) == lane

    def claims(self) -> dict[str, int]:
        """The members that lanes have begun, each with its lane."""
        return self._claims

    def ask_scheduler(self, member: str, scores: Any) -> None:
        """Have a sweep's scheduler look at a trial's scores; the trial waits meanwhile."""
        self._unanswered[member] = scores

    def unanswered_scores(self, member: str) -> Any:
        """A trial's scores that wait for the scheduler, or None."""
        return self._unanswered.get(member)

    def continue_trial(self, member: str) -> None:
        """The scheduler's answer: the trial goes on. Where it does not, its workers are ended instead."""
        self._unanswered.pop(member, None)

    def is_answered(self, number: int, lane: int | None = None) -> bool:
        """Whether every member that trains now (of one lane, or of all) has a checkpoint newer than the question."""
        living = [beat for heard, beat in self._training.values() if time.monotonic() - heard < GONE_AFTER_S]
        return all(beat.answered >= number for beat in living if lane in (None, beat.lane))


def start_mailbox() -> Any:
    """On this node: if it dies, the launcher is gone anyway."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    mailbox: Any = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
    mailbox.trust.remote(shared_secrets())  # comes first: an actor takes its calls in their order
    return mailbox


def take_secrets(mailbox: Any) -> None:
    """Learn the secrets of URLs, in a worker: of another machine none are in its environment."""
    trust(ray.get(mailbox.secrets.remote(), timeout=SECRETS_WAIT_S))


class Sender:
    """A worker's end of the mailbox. Never raises: a lost mailbox costs metrics, not the run."""

    def __init__(self, mailbox: Any, member: str) -> None:
        self._mailbox, self.member = mailbox, member

    def named(self, members: Sequence[str]) -> "Sender":
        """One that speaks for one of these members, whichever it is."""
        return Sender(self._mailbox, members[0] if len(members) == 1 else f"one of {', '.join(members)}")

    def send(self, kind: str, *, step: int = 0, metrics: dict[str, float] | None = None, text: str = "") -> None:
        """Send a message of a `kind` that `Message` has; returns at once."""
        self._mailbox.put.remote(Message(self.member, kind, step, metrics, text))
        said = text or f"step {step} " + " ".join(f"{name}={value:.6g}" for name, value in (metrics or {}).items())
        note(f"{self.member} {kind}: {said}")

    def beat(self, beat: Beat, wait_s: float = 0) -> int | None:
        """Send a beat, and wait so long for the number of the newest question for a checkpoint."""
        sent = self._mailbox.beat.remote(beat)
        with contextlib.suppress(RayError):
            return ray.get(sent, timeout=wait_s) if wait_s else None
        return None

    def failed(self, failure: Failure) -> list[Failure]:
        """Tell why this worker fails; returns what it and its peers have told so far, in the order they did."""
        with contextlib.suppress(RayError):
            return ray.get(self._mailbox.failed.remote(failure), timeout=ANSWER_S)
        return [failure]

    def take_failures(self) -> list[Failure]:
        """Why the workers of the member's start before failed, as far as they could tell."""
        with contextlib.suppress(RayError):
            return ray.get(self._mailbox.take_failures.remote(self.member), timeout=ANSWER_S)
        return []
