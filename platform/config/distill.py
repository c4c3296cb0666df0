"""`distill`: a network that learns what the members of a trained experiment say of the training images."""

from dataclasses import dataclass

from platform.config.checks import require, require_views
from platform.config.loss import LossConfig

NOT_TAUGHT = ("train", "ensemble", "sweep", "chaos")  # jobs that train without a teacher
HOTTEST = 100


@dataclass
class DistillConfig:
    """The teacher of `job=distill`, and how much it counts (Hinton, Vinyals and Dean, arXiv 1503.02531)."""

    teacher: str | None = None  # runs/NAME: a finished experiment, whose members' mean is learnt; null: no teacher
    views: int = 1  # crops of each training image that the members are asked about, once: 1, 10, 12 or 144
    weight: float = 0.9  # of the teacher's part of the loss; the labels' part has the rest
    temperature: float = 2.0  # that divides both networks' log-probabilities in the teacher's part
    digest: str = ""  # of the teacher's weights, which the launcher reads

    def __post_init__(self) -> None:
        require_views("distill.views", self.views)
        require(0 < self.weight <= 1, f"distill.weight is {self.weight}; give a share in (0, 1]")
        fits = 0 < self.temperature <= HOTTEST
        require(
            fits, f"distill.temperature is {self.temperature}; give a number above 0 and at most {HOTTEST}, such as 2"
        )
        given = (self.views, self.weight, self.temperature, self.digest)
        require(
            self.teacher is not None or given == (1, 0.9, 2.0, ""),
            "distill.* has no effect without distill.teacher; give distill.teacher=runs/NAME, or leave them out",
        )

    def require_fit(self, job: str, loss: LossConfig, *, several: bool) -> None:
        """Whether the job has a use for a teacher, and the loss for its words.

        Args:
            job: what is done.
            loss: of the labels.
            several: whether there are members.

        Raises:
            ConfigError: it does not go together.
        """
        if self.teacher is None:
            require(job != "distill", "job=distill needs a teacher; give distill.teacher=runs/NAME of a finished run")
            return
        teacher = f"distill.teacher is {self.teacher}"
        require(job not in NOT_TAUGHT, f"{teacher}, and job={job} has none; give job=distill, or leave it out")
        require(not several, f"{teacher}, and one network learns from it; leave out ensemble.members")
        require(
            loss.name == "cross_entropy",
            f"{teacher}, whose probabilities are of a softmax, and loss.name is {loss.name}; give loss=cross_entropy",
        )
        require(
            self.weight < 1 or loss == LossConfig(),
            "distill.weight is 1, and nothing is learnt from labels: loss.* has no effect; leave one of them out",
        )
