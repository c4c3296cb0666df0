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
import shutil
import socket
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from platform.changes import append_change, forget_changes, read_changes, read_with_changes
from platform.config.checks import ConfigError
from platform.config.identity import changes, identity, shown
from platform.config.sections import Config, Experiment
from platform.data.index import Index, Split
from platform.evaluation.seal import SEAL, is_complete
from platform.experiment.origin import origin_here
from platform.files import append_line, remove_unfinished, write_atomically
from platform.locks import SUFFIX, Held, locked
from platform.redaction import redacted
from platform.text import first_line

log = logging.getLogger("platform")

RECORD = "experiment.json"
FINISHED, FAILED, UNFINISHED = "finished", "failed", "unfinished"
ANEW = "give it another name=, or fresh=true to start anew"


@dataclass
class MemberState:
    """`state.json` of a member, written by its rank 0."""

    state: str = UNFINISHED
    starts: int = 0  # since the last launch, or since one that got further than those before; see `count_start`
    excused: int = 0  # of starts in a row that were not counted, and got no further either
    reached: int = -1  # global step of the newest checkpoint that a start went on from
    nodes: list[str] = field(default_factory=list)  # Ray's ids of those that the newest start was on
    workers: int = 0  # of the newest start
    error: str = ""
    times: dict[str, float] = field(default_factory=dict)  # of the newest start: event -> seconds since the epoch
    device: str = ""  # of the newest start: the GPU's name, or the CPU's


def suffix_of(split: str) -> str:
    """The suffix of the names of a split's results: none for val, otherwise -SPLIT."""
    return "" if split == "val" else f"-{split}"


def initial_weights_file(experiment: Path, digest: str) -> Path:
    """The file in an experiment's folder of the weights of that digest, which members begin with."""
    return experiment / "init" / f"{digest}.safetensors"


def targets(experiment: Path) -> Path:
    """The folder in an experiment's folder of what its teacher says of the training images."""
    return experiment / "teacher"


class MemberFolder:
    """One member's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.weights = path / "weights.pt"
        self.probabilities = self.probabilities_of("val")
        self.scores, self.images = path / "scores.json", path / "images.npz"  # of a sweep's trial, as an experiment has
        self._series, self._taken = path / "metrics.jsonl", path / "metrics.taken"
        self._left = path / "reports.jsonl"  # by an earlier version: the end of its series, which nobody has taken

    def is_trained(self) -> bool:
        """Whether the training is finished."""
        return self.weights.exists()

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of a member that is trained; they stay where the weights' own checksums do not match,
        as the newest one has the same weights."""
        if not self.checkpoints.exists():  # at an earlier launch: reading all weights once more may take minutes
            return
        try:
            with zipfile.ZipFile(self.weights) as weights:
                torn = weights.testzip()
        except Exception as error:  # of the disk, and whatever zipfile and zlib say of damaged bytes
            torn = first_line(error)
        if torn is None:
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        else:
            log.warning("%s is unusable (%s), so the checkpoints beside it stay", self.weights, torn)

    def probabilities_of(self, split: str) -> Path:
        """The folder of a split's probabilities: each split has its own."""
        return self.path / f"probabilities{suffix_of(split)}"

    def whole_images_of(self, split: str) -> Path:
        """The folder of the probabilities of a split's whole images (`evaluation.dense`)."""
        return self.path / f"probabilities-whole{suffix_of(split)}"

    @property
    def networks(self) -> Path:
        """The folder of further networks of the same training, `NAME.pt` (`training.also_average`, `.snapshots`), and
        of their models, `NAME/`."""
        return self.path / "networks"

    def kept_networks(self) -> list[str]:
        """Their names."""
        return sorted(file.stem for file in self.networks.glob("*.pt"))

    def probabilities_of_network(self, name: str, split: str) -> Path:
        """The folder of a split's probabilities by one of these."""
        return self.path / f"probabilities-{name}{suffix_of(split)}"

    def is_finished(self, views: int, split: str = "val") -> bool:
        """Whether it is trained, and evaluated on that split with at least so many views."""
        return self.is_trained() and is_complete(self.probabilities_of(split), views)

    def forget_evaluation(self, split: str = "val") -> None:
        """Make the next launch evaluate the trained weights again."""
        (self.probabilities_of(split) / SEAL).unlink(missing_ok=True)

    def state(self) -> MemberState:
        """Read the state; a new one where there is none, or a torn one."""
        try:
            return MemberState(**json.loads((self.path / "state.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return MemberState()

    def keep_report(self, step: int, metrics: dict[str, float]) -> None:
        """Append metrics to a file, from which the next launcher takes them if the present one is killed now."""
        with contextlib.suppress(OSError):  # a full disk is reported elsewhere
            append_line(self._series, json.dumps([step, metrics, time.time()]))

    def take_reports(self) -> list[tuple[int, dict[str, float], float]]:
        """The metrics of `keep_report` since the last time: (step, metrics, seconds since the epoch). A launcher that
        was killed meanwhile may have taken some of them, too."""
        self._take_left()
        try:
            start = int(self._taken.read_text())
        except (OSError, ValueError):
            start = 0
        try:
            with self._series.open("rb") as file:
                file.seek(start)
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]  # the last line may be being written
        if whole:
            with contextlib.suppress(OSError):  # a full disk: they are taken again, and no point is logged twice
                write_atomically(self._taken, f"{start + len(whole)}\n")
        return _parsed(whole.decode(errors="replace"))

    def _take_left(self) -> None:
        """Make what an earlier version kept apart a part of the series; what comes before it has been taken."""
        with contextlib.suppress(FileNotFoundError):
            kept = _parsed(self._left.read_text(errors="replace"))
            with contextlib.suppress(OSError):  # a full disk: the next launch does it
                if not self._taken.exists():
                    write_atomically(self._taken, f"{self._series.stat().st_size if self._series.exists() else 0}\n")
                for step, metrics, at in kept:
                    append_line(self._series, json.dumps([step, metrics, at]))
                self._left.unlink()

    def series(self) -> list[tuple[int, dict[str, float], float]]:
        """All that `keep_report` was given, in order: of MLflow's long series this is the whole. Steps that a restart
        trained again are there twice."""
        try:
            return _parsed(self._series.read_text(errors="replace"))
        except OSError:
            return []

    def set_state(self, state: MemberState) -> None:
        """Write the state, its error without secrets."""
        self.path.mkdir(parents=True, exist_ok=True)
        state.error = redacted(state.error)
        write_atomically(self.path / "state.json", json.dumps(asdict(state)) + "\n")


def _parsed(text: str) -> list[tuple[int, dict[str, float], float]]:
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):  # torn by a kill
            step, metrics, at = json.loads(line)
            found.append((step, metrics, at))
    return found


@dataclass
class Record:
    """`experiment.json`."""

    identity: dict[str, Any]
    configs: dict[str, Any]
    copies: str = ""  # the folder in `checkpoint.copy_to`: the same experiment has the same one on any machine
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
    def held(self) -> Iterator[None]:
        """Lock the experiment, so that a second launch of it is refused. The lock of a dead process is free.

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
            try:
                stack.enter_context(locked(self.path / ".lock"))
            except Held as held:
                known = Held(held.path, holder.read_text().strip() if holder.exists() else "")
                raise ConfigError(f"{self.name} is being run by {known}; wait for it, or give another name=") from None
            except OSError as error:
                raise ConfigError(
                    f"the folder {self.path} cannot be locked ({first_line(error)}); give another output_dir"
                ) from error
            stack.callback(holder.unlink, missing_ok=True)
            self._sweep()
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}\n")
            yield

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
            if self.exists():
                self._set_aside()
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

    def _set_aside(self) -> None:
        """Move everything but the lock and the logs, which are being written, into a dated folder beside this one."""
        aside = self.path.with_name(f"{self.path.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        aside.mkdir()
        stay = (".lock", f".lock{SUFFIX}", ".holder", "logs")
        files = [file for file in self.path.iterdir() if file.name not in stay]
        for file in sorted(files, key=lambda file: file == self._file):  # the record last: it says that they are there
            file.rename(aside / file.name)


def _member_identities(experiment: Experiment) -> dict[str, Any]:
    return {name: identity(asdict(member)) for name, member in experiment.members.items()}


def fingerprint(index: Index) -> dict[str, str]:
    """Identity of the data: for each split the number of samples and a digest of its shards' checksums; for shards that
    others made also the extension of the images, where their index names it. Of further sets to train on the same of
    their training images, as `also.NAME`."""
    found = {split.name: _fingerprint(split) for split in index.splits.values()}
    if "image" in index.packing:
        found["image"] = str(index.packing["image"])
    for name, other in index.also.items():
        image = f", image {other.packing['image']}" if "image" in other.packing else ""
        found[f"also.{name}"] = _fingerprint(other.split("train")) + image
    return found


def _fingerprint(split: Split) -> str:
    return f"{split.samples} samples in {len(split.shards)} shards, sha256 {split.digest}"


def _short_digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
