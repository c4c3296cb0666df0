"""What every worker of a lane is given: the lane's members, and the way to the launcher."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platform.config.sections import Config
from platform.experiment.places import initial_weights_file, targets
from platform.experiment.teacher import TeacherMember
from platform.lanes.shared_index import SharedIndex
from platform.training.learning_curve import EvaluationPoint


@dataclass(frozen=True)
class LaneMember:
    """One member of a lane."""

    name: str
    config: Config
    folder: Path
    copy_to: str | None  # folder or URL for copies of its checkpoints
    teacher: list[TeacherMember] = field(default_factory=list)  # whose networks are asked; none: nothing is

    @property
    def initial_weights_file(self) -> Path | None:
        """The file of the weights that it begins with; None: all are drawn from the seed."""
        model = self.config.model
        return initial_weights_file(self.folder.parents[1], model.init_digest) if model.init else None

    @property
    def targets(self) -> Path | None:
        """The folder of what its teacher says of the training images; None: it has none."""
        return targets(self.folder.parents[1]) if self.config.distill.teacher else None


@dataclass(frozen=True)
class Lane:
    """A worker group's share of the members, trained one after another or several together."""

    number: int
    members: list[LaneMember]
    mailbox: Any  # Ray's handle of a Mailbox
    on_evaluation: Callable[[str, EvaluationPoint], None] | None = None  # (member, its scores): may end the training
    export: bool = False  # make each member's model folder when it is evaluated
    index: SharedIndex | None = None  # the launcher's; None: each worker reads it
    shared: bool = False  # a lane that came later may have taken some of the members: each is claimed first
    fused: list[list[str]] = field(default_factory=list)  # names of members whose steps are computed together
    shared_worker: str = ""  # that trains other trials beside this lane's one; "": a worker trains this lane alone

    @property
    def teams(self) -> list[list[LaneMember]]:
        """The members in the order in which they are trained: those of a team together."""
        found: dict[str, list[LaneMember]] = {}
        for member in self.members:
            found.setdefault(self.team_of(member.name), []).append(member)
        return list(found.values())

    def team_of(self, member: str) -> str:
        """The first of those that are trained together with a member, which the team is known by; of one that is
        trained by itself its own name, and of a trial at a shared worker that."""
        return self.shared_worker or next((team[0] for team in self.fused if member in team), member)
