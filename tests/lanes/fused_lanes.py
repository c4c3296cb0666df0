"""Lanes on the digits without Ray, in this process: their members, a run of them, what they leave."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from platform.config.sections import Config
from platform.data.index import Index, Split
from platform.evaluation.probabilities import MemberProbabilities
from platform.experiment.member_folder import MemberFolder
from platform.lanes import member_state, worker
from platform.lanes.lane import Lane, LaneMember
from platform.lanes.mailbox import Mailbox, Message
from platform.lanes.worker import run_lane
from platform.training import learning_curve
from platform.training.checkpoints import Checkpoints
from tests.lanes.ranks import Handle
from tests.training.fused.trainings import require_close

CPU = torch.device("cpu")
TOLERANCE = 1e-5, 1e-3  # absolute, relative
TIMES = ("images_per_s", "seconds")  # what of a curve no two runs share


@dataclass
class Ran:
    """What a lane left."""

    folder: Path
    messages: list[Message]

    def member(self, name: str) -> MemberFolder:
        return MemberFolder(self.folder / "members" / name)

    def texts(self, member: str, kind: str) -> list[str]:
        return [each.text for each in self.messages if (each.member, each.kind) == (member, kind)]

    def curve(self, name: str) -> dict[str, dict[int, torch.Tensor]]:
        """Metric -> step -> value, of what the member told."""
        found: dict[str, dict[int, torch.Tensor]] = {}
        for each in self.messages:
            for metric, value in (each.metrics or {}).items() if each.member == name else ():
                if metric.startswith(("train/", "val/")) and not metric.endswith(TIMES):
                    found.setdefault(metric, {})[each.step] = torch.tensor(value)
        return found

    def state(self, name: str, cfg: Config) -> Any:
        return Checkpoints(self.member(name).checkpoints, cfg.checkpoint, cfg.storage).load()

    def probs(self, name: str) -> torch.Tensor:
        found = MemberProbabilities(self.member(name).probabilities_of("val"))
        return found.read(0, 59)


def without_ray(monkeypatch: pytest.MonkeyPatch, digits: Index) -> None:
    """Have Ray's answers without a Ray, and 59 images to evaluate on."""
    index = replace(digits, splits=digits.splits | {"val": Split("val", digits.split("val").shards[-1:])})
    monkeypatch.setattr(ray, "get", lambda value, timeout=None: value)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "node"))
    monkeypatch.setattr(member_state, "lost_nodes", lambda nodes: [])
    monkeypatch.setattr(worker, "read_sets", lambda *args, **options: index)


def run(members: dict[str, Config], folder: Path, fused: Sequence[str] = (), mailbox: Mailbox | None = None) -> Ran:
    """Train and evaluate members in one lane, those of `fused` together."""
    mailbox = mailbox or Mailbox()
    given = [LaneMember(name, cfg, folder / "members" / name, None) for name, cfg in members.items()]
    lane = Lane(0, given, Handle(mailbox), fused=[list(fused)] if fused else [])
    try:
        run_lane(lane, 0, 1, CPU, lambda: False)
    finally:
        messages = [each for each in mailbox.drain(0)[1] if isinstance(each, Message)]
    return Ran(folder, messages)


def require_same(names: Sequence[str], one: Ran, other: Ran, members: dict[str, Config]) -> None:
    """Curves, checkpoints, weights and probabilities within a tolerance; states and points on the curve alike."""
    for name in names:
        assert one.member(name).state().state == other.member(name).state().state, name
        require_close(one.state(name, members[name]), other.state(name, members[name]), *TOLERANCE, name)
        require_close(one.curve(name), other.curve(name), *TOLERANCE, f"{name} curve")
        torch.testing.assert_close(one.probs(name), other.probs(name), atol=1e-4, rtol=1e-3)
        points = [[point.step for point in learning_curve.read(ran.member(name).path)] for ran in (one, other)]
        assert points[0] == points[1]
