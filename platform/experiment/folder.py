"""An experiment on disk: its folder, its identity, the lock on it, and the state of each member.

runs/NAME/experiment.json      resolved config, identity, keys of the runs in tracking.jsonl; while a sweep runs,
                               changes since it was written are in experiment.jsonl
runs/NAME/origin.json          what it was begun with: command, commit, packages, CPU and GPUs
runs/NAME/members/MEMBER/      checkpoints/, weights.pt, probabilities/ (of test: probabilities-test/), state.json,
                               attempts.json, curve.jsonl, metrics.jsonl: every metric of every log step (and
                               metrics.taken: how many of its bytes a launcher has handed on); of a sweep's
                               trial also scores.json and images.npz; with training.profile_steps profile/; with
                               export.models model/, and of each of networks/*.pt a folder beside it
runs/NAME/model/               of all members together; networks/KIND/: the same of their further networks
runs/NAME/init/DIGEST.safetensors   weights that members begin with; of each initial.json: what fits
runs/NAME/teacher/targets.{npy,json}   what the teacher of job=distill says of each training image
runs/NAME/table.{md,csv,png}   the results; scores.json: what they were made from; images.npz: what was said of each
                               image; of test: table-test, scores-test, images-test; methods.{json,csv}: what is beyond
                               the paper's table
runs/NAME/report.html          the report as one page, and its pictures/; of test: report-test, pictures-test
runs/NAME/logs/                a folder of each launch: what was printed, each worker, Ray's logs of each node
runs/NAME/tracking.jsonl       the queue for MLflow; tracking.delivered.json: how much of it is delivered
"""

import contextlib
import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from platform.changes import append_change, forget_changes, read_changes, read_with_changes
from platform.config.checks import ConfigError
from platform.config.experiment import Experiment
from platform.config.identity import changes, identity, shown
from platform.config.sections import Config
from platform.console import duration
from platform.data.index import Index
from platform.experiment.fingerprint import fingerprint
from platform.experiment.fresh import fresh_for, set_aside
from platform.experiment.member_folder import MemberFolder
from platform.experiment.origin import origin_here
from platform.experiment.places import initial_weights_file, suffix_of
from platform.files import remove_unfinished, write_atomically
from platform.locks import SUFFIX, Held, locked
from platform.text import first_line

log = logging.getLogger("platform")

RECORD = "experiment.json"
LOCK_POLL_S = 1.0
ANEW = "give it another name=, or fresh=true to start anew"


@dataclass
class Record:
    """`experiment.json`."""

    identity: dict[str, Any]
    configs: dict[str, Any]
    copies: str = ""  # the folder in `checkpoint.copy_to`: the same experiment has the same one on any machine
    fresh_for: str = ""  # the RayCluster whose `fresh=true` began it
    parent_run: str | None = None  # our key of a run: `tracking.mlflow_ids` knows MLflow's
    member_runs: dict[str, str] = field(default_factory=dict)
    reported: list[str] = field(default_factory=list)  # members whose end is in the tracking journal
    whole: bool = False  # whether the end of the whole experiment is there, too: its tables are made, its run has ended
    models: dict[str, str] = field(default_factory=dict)  # member, or "" for all together -> our key of its model there


class ExperimentFolder:
    """The folder of one experiment."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self.live = self.path / "live.json"  # workers with node, process and step, while it runs
        self.tracking = self.path / "tracking.jsonl"
        self.networks = self.path / "networks"  # models of the members' further networks, each kind together
        self._file, self._changes = self.path / RECORD, self.path / "experiment.jsonl"

    def initial_weights_file(self, digest: str) -> Path:
        """The weights of that digest, which members begin with."""
        return initial_weights_file(self.path, digest)

    def member(self, name: str) -> MemberFolder:
        return MemberFolder(self.path / "members" / name)

    def scores(self, split: str) -> Path:
        """The members' scores, with the digest of what they were computed from."""
        return self.path / f"scores{suffix_of(split)}.json"

    def methods(self, split: str) -> Path:
        """What there is beyond the paper's table, with the digest of what it was computed from."""
        return self.path / f"methods{suffix_of(split)}.json"

    def images(self, split: str) -> Path:
        """What each member and the ensemble said of every image."""
        return self.path / f"images{suffix_of(split)}.npz"

    @contextlib.contextmanager
    def held(self, within_s: float = 0.0) -> Iterator[None]:
        """Lock the experiment, so that a second launch of it is refused. The lock of a dead process is free.

        Args:
            within_s: seconds to wait for another process's lock. Of a machine that is gone a file server frees it
                later: NFS 4 after a lease of some 90 s.

        Raises:
            ConfigError: another process has the lock, or the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the experiment's folder {self.path} cannot be made ({error.strerror}); give another output_dir"
            ) from error
        holder = self.path / ".holder"
        with contextlib.ExitStack() as stack:
            self._lock(stack, holder, within_s)
            stack.callback(holder.unlink, missing_ok=True)
            self._sweep()
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}\n")
            yield

    def _lock(self, stack: contextlib.ExitStack, holder: Path, within_s: float) -> None:
        until, said = time.monotonic() + within_s, False
        while True:
            try:
                stack.enter_context(locked(self.path / ".lock"))
                return
            except Held as held:
                known = Held(held.path, holder.read_text().strip() if holder.exists() else "")
            except OSError as error:
                raise ConfigError(
                    f"the folder {self.path} cannot be locked ({first_line(error)}); give another output_dir"
                ) from error
            if time.monotonic() >= until:
                raise ConfigError(f"{self.name} is being run by {known}; wait for it, or give another name=")
            if not said:
                print(
                    f"{self.name} is being run by {known}; waiting up to {duration(within_s)} for its end", flush=True
                )
            said = True
            time.sleep(LOCK_POLL_S)

    def _sweep(self) -> None:
        """Remove half-written files of killed processes, but checkpoints, which `Checkpoints` removes."""
        parts = (*self.path.glob("members/*/probabilities*"), *self.path.glob("members/*/networks"))
        remove_unfinished(self.path, self.networks, *self.path.glob("members/*"), *parts)

    def open(self, experiment: Experiment, index: Index, more: dict[str, Any] | None = None) -> Record:
        """Read the record of this experiment, or write a new one; with `fresh=true` an old one is moved aside. A table
        may have more rows or seeds than it had: what was trained of it stays.

        Args:
            experiment: its config and members.
            index: the data, which are part of its identity.
            more: further parts of its identity.

        Raises:
            ConfigError: the folder holds an experiment of another identity; the message has the differences.
        """
        new = Record(
            identity=_member_identities(experiment) | {"data": fingerprint(index)} | (more or {}),
            configs={name: asdict(member) for name, member in experiment.members.items()},
        )
        new.copies = f"{self.name}-{_short_digest(new.identity)}"
        if experiment.config.fresh:
            new.copies += time.strftime("-%Y%m%d-%H%M%S")  # so that it does not resume from the earlier run's copies
            new.fresh_for = fresh_for()
            if self.exists():  # logs are being written
                set_aside(self.path, self._file.name, stay=(".lock", f".lock{SUFFIX}", ".holder", "logs"))
        if not self._file.exists():
            origin_here(experiment.overrides, fingerprint(index)).write(self.path)
            self.write(new)
            return new
        old = self.record()
        self._require_same(old, new, experiment.config)
        if gained := [name for name in new.configs if name not in old.identity]:
            log.info("%s gains %s", self.name, ", ".join(gained))
            origin_here(experiment.overrides, fingerprint(index)).write(self.path)  # a command that makes all of it
            old.identity, old.configs, old.whole = new.identity, {}, False
        old.configs |= new.configs
        old.copies = old.copies or new.copies
        return old

    def require_same(self, experiment: Experiment, more: dict[str, Any] | None = None) -> None:
        """Refuse an experiment that is not the one of this folder, as far as that is known without its data.

        Args:
            experiment: its config and members.
            more: further parts of its identity, as of `open`; None: not asked about.

        Raises:
            ConfigError: it was run with another config; the message has the differences.
        """
        old = self.record()
        members = _member_identities(experiment)
        others = {key: value for key, value in old.identity.items() if key not in old.configs}
        if more is not None:
            others = {key: value for key, value in others.items() if key == "data"} | more
        self._require_same(old, Record(members | others, members), experiment.config)

    def _require_same(self, old: Record, new: Record, config: Config) -> None:
        wanted = json.loads(json.dumps(new.identity))
        members = dict.fromkeys(name for record in (old, new) for name in record.configs if name in record.identity)
        only_reads = config.job in ("evaluate", "report", "register")
        if config.table.has_rows and not only_reads:  # rows are of their own: more of them change none
            wanted = {name: part for name, part in wanted.items() if name in old.identity or name not in members}
        if changed := changes(old.identity, wanted, [name for name in members if name in old.identity | wanted]):
            remedy = f"give the command that it was run with, and job={config.job}" if only_reads else ANEW
            raise ConfigError(f"{self.name} was run with another config ({shown(changed)}); {remedy}")

    def holder(self) -> str:
        """The process that runs it just now; empty: none does."""
        try:
            with locked(self.path / ".lock") if self.exists() else contextlib.nullcontext():
                return ""
        except (Held, OSError):
            with contextlib.suppress(OSError):  # it may end, or begin, just now
                return (self.path / ".holder").read_text().strip()
        return ""

    def exists(self) -> bool:
        """Whether there is a record."""
        return self._file.exists()

    def record(self) -> Record:
        """Read the record with the changes since it was written.

        Raises:
            ConfigError: it is damaged.
        """
        try:
            return read_with_changes(self._file, self._read)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(
                f"{self._file} is damaged ({first_line(error)}); bring it back, or give fresh=true to start anew"
            ) from error

    def write(self, record: Record) -> None:
        """Write the whole record; takes time in proportion to members and trials."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file, json.dumps(asdict(record), indent=1) + "\n")
        forget_changes(self._changes)

    def note_run(self, record: Record, name: str) -> None:
        """Append the run and config of a trial that begins: one line, however many trials there are."""
        append_change(self._changes, {"run": {name: record.member_runs[name]}, "config": {name: record.configs[name]}})

    def note_reported(self, name: str) -> None:
        """Append that a trial's end is in the tracking journal."""
        append_change(self._changes, {"reported": [name]})

    def _read(self) -> Record:
        record = Record(**json.loads(self._file.read_text()))
        reported = dict.fromkeys(record.reported)
        for change in read_changes(self._changes):
            record.member_runs |= change.get("run", {})
            record.configs |= change.get("config", {})
            for name in change.get("run", {}):
                reported.pop(name, None)
            reported |= dict.fromkeys(change.get("reported", []))
        record.reported = list(reported)
        return record


def _member_identities(experiment: Experiment) -> dict[str, Any]:
    return {name: identity(asdict(member)) for name, member in experiment.members.items()}


def _short_digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
