"""What a person sees while it runs: bars on a terminal, plain lines elsewhere."""

import sys
import time
from dataclasses import dataclass, field

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
)

from platform.console import duration
from platform.experiment.plan import MemberPlan, Plan

PLAIN_LINE_EVERY_S, WHOLE_LINE_EVERY_S = 10.0, 30.0
MOST_BARS = 24  # of members: more fill no terminal, and drawing hundreds of them takes a core
FEW_BARS, REFRESHES_PER_S, SLOW_REFRESHES_PER_S = 8, 10, 2  # up to so many are drawn as often; more, more rarely
IDLE = ("waiting", "finished", "failed", "stopped")  # states of members that do nothing


@dataclass
class _Member:
    steps: int
    batch_size: int
    done: int = 0
    resumed_at: int = -1  # steps at the first report
    state: str = "waiting"
    speed: float = 0.0  # images/s
    loss: float = float("nan")
    top1: float = float("nan")
    epoch: float = 0.0
    printed_at: float = field(default=-1e9)


class Console:
    """Progress of the members that run now and of the whole. Use with `with`."""

    def __init__(
        self, plan: Plan, names: list[str], lanes: int, *, expected: int = 0, plain: bool | None = None
    ) -> None:
        """Nothing is shown before `with`.

        Args:
            plan: the members' sizes.
            names: those that run.
            lanes: how many at a time.
            expected: of a sweep, whose trials are not known beforehand: how many there will be.
            plain: lines; None: where this is no terminal.
        """
        running = [member for member in plan.members if member.name in names]
        self._members = {m.name: _Member(m.steps, m.config.training.batch_size) for m in running}
        self._costs = {member.name: member.cost for member in running}
        self._expected, self._ended = expected, 0
        self._printed_at = time.monotonic()
        self._share_before = 0.0  # done by earlier launches
        self._lanes, self._is_over = lanes, False
        self._rich = RichConsole(highlight=False)
        self._plain = not self._rich.is_terminal if plain is None else plain
        self._bars = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[text]}"),
            console=self._rich,
            disable=self._plain,
            refresh_per_second=REFRESHES_PER_S if max(len(names), lanes) <= FEW_BARS else SLOW_REFRESHES_PER_S,
        )
        self._tasks: dict[str, TaskID] = {}
        self._shown: dict[str, None] = {}  # members whose bars are
        self._started = time.monotonic()

    def __enter__(self) -> "Console":
        if not self._plain:
            for name, member in self._members.items():
                self._add_bar(name, member.steps)
            if self._has_several:
                self._tasks[""] = self._bars.add_task("all", total=1.0, text="")
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self._say_stopped()
        self._bars.stop()

    def say(self, text: str) -> None:
        """A line above the bars."""
        if self._plain:
            print(text, flush=True)
        else:
            self._bars.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """A warning above the bars; on stderr where there are none."""
        if self._plain:
            print(f"warning: {text}", file=sys.stderr, flush=True)
        else:
            self._bars.console.print(f"warning: {text}", style="yellow", markup=False)

    def add(self, member: MemberPlan) -> None:
        """A trial that begins."""
        self._members[member.name] = _Member(member.steps, member.config.training.batch_size)
        self._costs[member.name] = 1.0
        if not self._plain:
            self._add_bar(member.name, member.steps)

    def end(self, name: str, text: str) -> None:
        """A trial that has ended: a line of its own in the place of its bar."""
        if self._members.pop(name, None):
            del self._costs[name]
            self._ended += 1
        if not self._plain and name in self._tasks:
            self._shown.pop(name, None)
            self._bars.remove_task(self._tasks.pop(name))
            self._show_whole()
        self.say(f"{name:<12} {text}")

    def metrics(self, name: str, step: int, metrics: dict[str, float]) -> None:
        """Show a member's metrics after `step` global steps."""
        member = self._members.get(name)
        if member is None:  # a trial that has ended
            return
        if member.resumed_at < 0:
            member.resumed_at = 0 if step == 1 else step
            self._share_before += self._costs[name] * member.resumed_at / member.steps / self._all_costs()
        member.done = max(member.done, step)
        if "train/loss" in metrics:
            member.loss, member.epoch = metrics["train/loss"], metrics["train/epoch"]
            member.speed = metrics["train/images_per_s"] or member.speed
            member.state = "training"
        member.top1 = metrics.get("val/top1", member.top1)
        self._show(name)

    def state(self, name: str, state: str) -> None:
        """Show what a member does, such as "starting" or "finished"."""
        member = self._members.get(name)
        if member is None:  # a trial that has ended
            return
        member.state = state
        if state.startswith(("evaluat", "finished")):
            member.done = member.steps
        self._show(name, now=True)

    def _say_stopped(self) -> None:
        """Have the bars say that nothing runs any more: what was interrupted would look as if it went on."""
        self._is_over = True
        for name, member in self._members.items() if not self._plain else []:
            if not member.state.startswith(("waiting", "finished", "failed")):
                member.state = f"stopped at epoch {member.epoch:.1f}"
                self._show(name)

    def _show(self, name: str, *, now: bool = False) -> None:
        member = self._members[name]
        if self._plain:
            due = time.monotonic() - member.printed_at > PLAIN_LINE_EVERY_S
            if now or due:
                member.printed_at = time.monotonic()
                print(f"{name:<22} {100 * member.done // member.steps:>3}%  {self._text(member)}", flush=True)
            if self._has_several and time.monotonic() - self._printed_at > WHOLE_LINE_EVERY_S:
                self._printed_at = time.monotonic()
                print(f"{'all':<22} {100 * self._share_done():>3.0f}%  {self._whole()}", flush=True)
            return
        self._make_room_for(name)
        self._bars.update(self._tasks[name], completed=member.done, text=self._text(member))
        self._show_whole()

    def _add_bar(self, name: str, steps: int) -> None:
        is_shown = len(self._shown) < MOST_BARS
        self._tasks[name] = self._bars.add_task(name, total=steps, text="waiting", visible=is_shown)
        if is_shown:
            self._shown[name] = None

    def _make_room_for(self, name: str) -> None:
        """Show the bar of a member that does something, in the place of one that does nothing if need be."""
        if name in self._shown or self._members[name].state.startswith(IDLE):
            return
        if len(self._shown) >= MOST_BARS:
            idle = (other for other in self._shown if self._members[other].state.startswith(IDLE))
            if (other := next(idle, None)) is None:
                return
            del self._shown[other]
            self._bars.update(self._tasks[other], visible=False)
        self._shown[name] = None
        self._bars.update(self._tasks[name], visible=True)

    def _show_whole(self) -> None:
        if "" in self._tasks:
            self._bars.update(self._tasks[""], completed=self._share_done(), text=self._whole())

    @property
    def _has_several(self) -> bool:
        return max(len(self._members), self._expected) > 1

    def _text(self, member: _Member) -> str:
        top1 = "" if member.top1 != member.top1 else f"  val top-1 {100 * member.top1:5.2f}%"
        if member.state != "training":
            return member.state + (top1 if member.state == "finished" else "")
        left = (member.steps - member.done) * member.batch_size / member.speed if member.speed else float("nan")
        return f"epoch {member.epoch:5.1f}  loss {member.loss:6.3f}{top1}  {member.speed:6.0f} images/s" + (
            "" if left != left else f"  {duration(left)} left"
        )

    def _share_done(self) -> float:
        done = sum(self._costs[name] * member.done / member.steps for name, member in self._members.items())
        return min(1.0, (done + self._ended) / self._all_costs())

    def _all_costs(self) -> float:
        """Of a sweep: one a trial."""
        return self._expected or sum(self._costs.values())

    def _whole(self) -> str:
        elapsed, share = time.monotonic() - self._started, self._share_done()
        images_per_s = sum(member.speed for member in self._members.values() if member.state == "training")
        speed = f"  {images_per_s:6.0f} images/s" if images_per_s else ""
        now = share - self._share_before  # of the work, done by this launch
        left = (
            f"  about {duration(elapsed / now * (1 - share))} left"
            if now > 0.02 and share < 1 and not self._is_over
            else ""
        )
        where = f"{self._ended} of {self._expected} trials" if self._expected else f"{self._lanes} lane(s)"
        return f"{duration(elapsed)}{speed}  {where}{left}"
