"""Records what `timeline.py` draws: `python -m docs.pictures.record_timeline`, a few minutes.

In: the digits that come with scikit-learn. Out: timeline.json beside this file: a bare Ray Train job, one member on a
Ray of this machine, and one on a cluster that has had a launch before, each until a little after its first step.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from platform.bench.commands import environment, run
from platform.chaos.nodes import LocalCluster
from platform.checkout import ROOT
from platform.cluster.resources import cpus_here
from platform.marks import FILE as MARKS

HERE = Path(__file__).parent
AFTER_S = 0.3  # the first step
LEAST_CPU_S = 0.03  # of a process that is shown
LAUNCH = ["platform.launch", "+experiment=smoke", "cluster.workers=1", "evaluation.views=[1]", "export.models=false"]
FIRST_STEP = "first step"


def main() -> None:
    """Record all three and write the file."""
    with tempfile.TemporaryDirectory(prefix="platform-timeline-") as scratch:
        folder = Path(scratch)
        panels = recorded(folder, [*LAUNCH, *_own(folder)])
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    found = {
        "command": "python -m docs.pictures.record_timeline",
        "hardware": f"{cpus_here()} cores, no GPU",
        "date": time.strftime("%F"),
        "commit": commit,
        "remark": "Coloured where a process computes, darker for more of a core. Grey: it lives.",
        "panels": panels,
    }
    (HERE / "timeline.json").write_text(json.dumps(found, indent=1) + "\n")


def _own(folder: Path) -> list[str]:
    """Overrides by which a launch leaves nothing but in this folder."""
    places = [f"data.shards={folder / 'shards'}", f"output_dir={folder / 'runs'}"]
    return [*places, f"tracking.uri=sqlite:///{folder / 'mlflow.db'}", "training.epochs=0.3"]


def recorded(folder: Path, launch: list[str]) -> list[dict[str, Any]]:
    """The three panels.

    Args:
        folder: for everything that the commands leave.
        launch: of one member, as arguments of `python -m`.
    """
    run([sys.executable, "-m", *launch, "name=warm-up"])  # packs, makes the tracking database
    (folder / "bare").mkdir()
    bare = ["platform.bench.baselines.ray_train", str(folder / "bare"), "32", "10", "32", "1"]
    return [
        _panel("A bare Ray Train job", bare, folder, step_at=lambda: folder / "bare" / "first_step"),
        _panel("This platform, a Ray of its own", [*launch, "name=local"], folder),
        _second_launch(launch, folder),
    ]


def _second_launch(launch: list[str], folder: Path) -> dict[str, Any]:
    """Of two on a cluster of this machine, whose processes know from their start that they are recorded."""
    (folder / "cluster").mkdir()
    marked = {MARKS: str(folder / "cluster" / "marks")}
    with LocalCluster(folder / "cluster", nodes=1, cpus=cpus_here(), variables=marked) as cluster:
        joins = [*launch, "cluster=ray", f"cluster.address={cluster.address}", "cluster.gpus_per_worker=0"]
        run([sys.executable, "-m", *joins, "name=first"], environment() | cluster.environment)
        title = "This platform, a second launch on a cluster that runs"
        return _panel(title, [*joins, "name=second"], folder, variables=cluster.environment)


def _panel(
    title: str, module: list[str], folder: Path, *, step_at: Any = None, variables: dict[str, str] | None = None
) -> dict[str, Any]:
    target = folder / "recorded.json"
    command = [sys.executable, "-m", "platform.bench.timeline", str(target), "--", sys.executable, "-m", *module]
    began = time.time()
    run(command, environment() | os.environ | (variables or {}))
    found = json.loads(target.read_text())
    marks = [mark for mark in found["marks"] if mark["what"] != "planned"]
    if step_at:
        marks = [{"at_s": round(float(step_at().read_text()) - began, 2), "what": FIRST_STEP}]
    until = next(mark["at_s"] for mark in marks if mark["what"] == FIRST_STEP) + AFTER_S
    processes = [_until(until, each) for each in found["processes"] if each["began_s"] < until]
    shown = [each for each in processes if sum(width * share for _, width, share in each["busy"]) >= LEAST_CPU_S]
    return {
        "title": f"{title}: {until - AFTER_S:.1f} s to the first step",
        "seconds": round(until, 2),
        "processes": shown,
        "marks": [{"at_s": each["at_s"], "what": each["what"]} for each in marks if each["at_s"] <= until],
    }


def _until(until: float, process: dict[str, Any]) -> dict[str, Any]:
    busy = [[start, min(width, until - start), share] for start, width, share in process["busy"] if start < until]
    return {
        "name": process["name"],
        "began_s": process["began_s"],
        "ended_s": min(process["ended_s"], until),
        "busy": [[round(start, 2), round(width, 2), share] for start, width, share in busy],
    }


if __name__ == "__main__":
    main()
