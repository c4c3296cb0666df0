"""All processes of a command over time, with the CPU they take, and the marks of `platform.marks`.

    python -m platform.bench.timeline FILE -- COMMAND [ARGUMENT...]

In: a command, such as `python -m platform.launch ...`. Out: a JSON file, a panel of `docs/pictures/timeline.py`:
processes with names, start, end, and when they computed, and marks, in seconds since the command was given. Read from
/proc twenty times a second: what lives shorter than that may be missed. Where PLATFORM_MARKS is set, what lives already
and has the same value, such as a cluster that the command joins, is recorded with it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from platform.bench.commands import environment
from platform.checkout import ROOT
from platform.marks import FILE as MARKS

EVERY_S = 0.05
SLACK_S = 0.05  # of a start that is told in hundredths of a second since the machine was started
BIN_S, STEP = 0.1, 0.25  # how finely it is told when a process computed, and how much of a core
TICKS = os.sysconf("SC_CLK_TCK")
NAMES = (  # in a command line, the first that is found -> what the process is
    ("fork_server/client.py", "fork server's client"),
    ("fork_server/server.py", "fork server"),
    ("ray::fork_server", "fork server"),
    ("ray::LoneWorker", "worker"),
    ("ray::_RayTrainWorker", "worker"),
    ("ray::RayTrainWorker", "worker"),
    ("ray::TrainController", "Ray Train's controller"),
    ("ray::Mailbox", "mailbox"),
    ("ray::DashboardAgent", "Ray: agent of the dashboard"),
    ("ray::RuntimeEnvAgent", "Ray: agent of runtime environments"),
    ("ray::", "another process of Ray's jobs"),
    ("gcs_server", "Ray: GCS"),
    ("raylet/raylet", "Ray: raylet"),
    ("dashboard/dashboard.py", "Ray: API server"),
    ("ray-dashboard-", "Ray: part of the API server"),
    ("multiprocessing", "Python: multiprocessing's own"),
    ("dashboard/agent.py", "Ray: agent of the dashboard"),
    ("runtime_env/agent", "Ray: agent of runtime environments"),
    ("log_monitor", "Ray: log monitor"),
    ("monitor.py", "Ray: autoscaler's monitor"),
    ("cluster.cleanup", "clean-up"),
    ("platform.launch", "launcher"),
    ("baselines", "launcher"),
    ("default_worker", "another process of Ray's jobs"),
    ("setup_worker", "another process of Ray's jobs"),
)


@dataclass
class Process:
    """One that was seen. Times are seconds since the command."""

    pid: int
    name: str
    began_s: float
    ended_s: float
    cpu_s: float = 0.0
    busy: list[list[float]] = field(default_factory=list)  # [from, seconds, share of a core], where it computed
    _since: tuple[float, float] = (0.0, 0.0)  # end of the newest of these, and the CPU seconds until then
    _before: float = 0.0  # CPU seconds until the command was given

    def look(self, now: float, cpu_s: float) -> None:
        """Take in the CPU seconds that it has had by now, since it was started."""
        self.ended_s, cpu_s = now, cpu_s - self._before
        since, before = self._since
        if now - since >= BIN_S:
            share = round((cpu_s - before) / (now - since) / STEP) * STEP
            if self.busy and self.busy[-1][2] == share and abs(sum(self.busy[-1][:2]) - since) < BIN_S / 2:
                self.busy[-1][1] = round(now - self.busy[-1][0], 2)
            elif share:
                self.busy.append([round(since, 2), round(now - since, 2), share])
            self._since = now, cpu_s
        self.cpu_s = cpu_s


class Recorder:
    """Looks at the processes of a command, which have a variable of it in their environment, or a parent with it; a
    cluster's fork server, which has neither, is of the session of its node."""

    def __init__(self, variable: str) -> None:
        self._variable, self._began = variable.encode(), time.time()
        self._boot = time.time() - float(Path("/proc/uptime").read_text().split()[0])
        self.processes: dict[tuple[int, str], Process] = {}
        self._others: set[tuple[int, str]] = set()
        self._own: set[int] = set()

    def look(self) -> None:
        """Note what is alive now."""
        now = time.time() - self._began
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                try:
                    self._look_at(int(entry.name), now)
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    continue

    def _look_at(self, pid: int, now: float) -> None:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        state, parent, session, user, system, began = (status[place] for place in (0, 1, 3, 11, 12, 19))
        key, cpu_s = (pid, began), (int(user) + int(system)) / TICKS
        if key in self._others or state in "ZX" or pid == os.getpid():
            return
        if key not in self.processes:
            is_known = int(parent) in self._own or int(session) in self._own
            if not is_known and self._variable not in Path(f"/proc/{pid}/environ").read_bytes():
                self._others.add(key)
                return
            self._own.add(pid)
            since = self._boot + int(began) / TICKS - self._began
            lived, since = since < -SLACK_S, max(since, 0.0)
            before = cpu_s if lived else 0.0  # of what it did before, nothing is shown
            self.processes[key] = Process(pid, "", round(since, 2), now, _since=(since, 0.0), _before=before)
        process = self.processes[key]
        process.name = _name(pid) or process.name
        process.look(round(now, 2), cpu_s)


def _name(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    program = Path(command.split(" ", 1)[0]).name  # without its folder, which is this machine's
    return next((name for text, name in NAMES if text in command), program[:40])


def main() -> None:
    """Run the command, and write what its processes did."""
    target, command = sys.argv[1], sys.argv[sys.argv.index("--") + 1 :]
    with tempfile.TemporaryDirectory(prefix="platform-timeline-") as folder:
        marks = Path(os.environ.get(MARKS) or Path(folder) / "marks")
        recorder = Recorder(f"{MARKS}={marks}")
        began = time.time()
        running = subprocess.Popen(command, cwd=ROOT, env=environment() | {MARKS: str(marks)})
        while running.poll() is None:
            recorder.look()
            time.sleep(EVERY_S)
        lines = [line.split("\t") for line in marks.read_text().splitlines()] if marks.exists() else []
        lines = [line for line in lines if float(line[0]) >= began]
    processes = sorted(recorder.processes.values(), key=lambda each: each.began_s)
    found = {
        "title": " ".join(command[:3]),
        "seconds": round(time.time() - began, 3),
        "processes": [{name: value for name, value in asdict(each).items() if name[0] != "_"} for each in processes],
        "marks": [{"at_s": round(float(at) - began, 3), "pid": int(pid), "what": what} for at, pid, what in lines],
    }
    Path(target).write_text(json.dumps(found) + "\n")
    for each in found["processes"]:
        print(f"{each['began_s']:7.2f} {each['ended_s']:7.2f}  CPU {each['cpu_s']:5.2f}  {each['name']}")
    for each in found["marks"]:
        print(f"{each['at_s']:7.2f}  {each['what']}")
    sys.exit(running.returncode)


if __name__ == "__main__":
    main()
