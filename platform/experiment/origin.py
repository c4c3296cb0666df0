"""What a run was made with: command, commit, packages, Python, CPU and GPUs; kept as `origin.json` in its folder.

In: this process. Out: an `Origin`, and how two of them differ.
"""

import functools
import importlib.metadata
import json
import os
import shlex
import socket
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import platform as machine  # our package has the standard module's names as well
from platform.checkout import ROOT
from platform.files import write_atomically
from platform.redaction import redacted

FILE = "origin.json"
UNKNOWN = "unknown"
SHOWN = 5  # packages in a line of differences


@dataclass(frozen=True)
class Origin:
    """Of the machine that ran the launcher; workers on other nodes may have other devices."""

    command: str
    began: str  # local time, with its zone
    host: str
    commit: str  # with "-dirty" where files differed
    python: str
    packages: dict[str, str]  # name -> version
    cpu: str
    gpus: list[str]
    data: dict[str, str] = field(default_factory=dict)  # digest of each split, as `experiment.fingerprint` makes it

    def write(self, folder: Path) -> None:
        """Write it into an experiment's folder.

        Raises:
            OSError: the disk is full.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / FILE, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Origin | None":
        """That of an experiment's folder; None where an earlier version made it, or the file is damaged."""
        try:
            return cls.parsed((folder / FILE).read_text())
        except (OSError, ValueError):
            return None

    @classmethod
    def parsed(cls, text: str) -> "Origin":
        """That of a file's content.

        Raises:
            ValueError: it is none.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"not an origin: {text[:100]!r}") from error


def origin_here(overrides: list[str], data: dict[str, str]) -> Origin:
    """What a run of this command line and these data is made with, here and now; without passwords."""
    return Origin(
        command=redacted(shlex.join(["python", "-m", "platform.launch", *overrides])),
        began=time.strftime("%F %T %z"),
        host=socket.gethostname(),
        commit=git_commit() or UNKNOWN,
        python=machine.python_version(),
        packages=dict(line.split("==", 1) for line in environment().splitlines()),
        cpu=cpu_model(),
        gpus=gpu_models(),
        data=data,
    )


def changes(then: Origin, now: Origin) -> list[str]:
    """What may make the same run with the same data come out otherwise, one `what: then -> now` each."""
    found = [
        f"{what}: {one} -> {other}"
        for what, one, other in (
            ("commit", then.commit, now.commit),
            ("Python", then.python, now.python),
            ("CPU", then.cpu, now.cpu),
            ("GPUs", ", ".join(then.gpus) or "none", ", ".join(now.gpus) or "none"),
        )
        if one != other
    ]
    if then.commit == now.commit and now.commit.endswith("-dirty"):
        found.append(f"commit: {now.commit} both times, with changes that no commit has")
    names = [name for name in sorted(then.packages | now.packages) if then.packages.get(name) != now.packages.get(name)]
    if names:
        versions = [f"{name} {then.packages.get(name, 'none')} -> {now.packages.get(name, 'none')}" for name in names]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        found.append(f"{len(names)} package(s): {', '.join(versions[:SHOWN])}{more}")
    return found


@functools.cache
def git_commit() -> str | None:
    """The checkout's commit, with "-dirty" where files differ; in a container image, the commit it was built from."""
    if commit := os.environ.get("PLATFORM_COMMIT"):
        return commit
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


@functools.cache
def environment() -> str:
    """The installed distributions as a constraints file: NAME==VERSION a line."""
    found = {f"{dist.metadata['Name']}=={dist.version}" for dist in importlib.metadata.distributions()}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def cpu_model() -> str:
    """As the CPU calls itself; its architecture where it has no name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else machine.machine() or UNKNOWN


def gpu_models() -> list[str]:
    """Of every NVIDIA GPU that the driver shows, in its order; none where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
            return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return []
