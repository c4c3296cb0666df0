"""The measurements of all workers as metrics system/...: of each member its workers and nodes, of the whole their sums.

In: heartbeats. Out: metrics for MLflow, in which a node that several members or workers share is there once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from platform.lanes.mailbox import Beat
from platform.lanes.usage import Figures, Usage

MOST_WORKERS, MOST_NODES = 16, 8  # of a member, with metrics of their own; the others are in its sums
FRESH_S = 30.0  # a worker that has not been heard of for so long uses nothing
SPREAD = 3  # measurements that may be late before a worker's use is no longer known
PREFIX = "system/"


@dataclass
class _Worker:
    """The newest beat of a worker, and when its measurement was new."""

    beat: Beat
    measured_at: float = 0.0
    told: int = 0  # number of the measurement that its member's run has

    def is_fresh(self, now: float) -> bool:
        """Whether what it used last is what it uses now."""
        if not (usage := self.beat.usage):
            return False
        return now - self.beat.at < FRESH_S and now - self.measured_at < FRESH_S + SPREAD * usage.every_s


class SystemSeries:
    """Makes metrics of heartbeats."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, int], _Worker] = {}  # by (member, rank)
        self._began: dict[tuple[str, str], float] = {}  # (node, counter) -> its total when the first worker began
        self._totals: dict[tuple[str, str], float] = {}  # -> the newest
        self._summed_at = 0.0
        self._said: set[str] = set()
        self.warnings: list[str] = []  # to be said, and then removed by whoever says them

    def take(self, beat: Beat) -> dict[str, float]:
        """Metrics of the beat's member that are new; empty: there are none, or not all its workers are known yet."""
        known = self._workers.get((beat.member, beat.rank))
        if known is None or known.beat.started != beat.started:
            known = _Worker(replace(beat, usage=None))
            self._workers[beat.member, beat.rank] = known
        if beat.usage and (known.beat.usage is None or known.beat.usage.number != beat.usage.number):
            known.measured_at = beat.at
            self._count(beat, beat.usage)
        known.beat = beat
        if beat.usage is None or beat.usage.number == known.told:
            return {}
        if len(group := self._group(beat)) < beat.world:
            return {}
        known.told = beat.usage.number
        return self._of_worker(beat, beat.usage, [worker.beat for worker in group])

    def sums(self, now: float) -> dict[str, float]:
        """What all members use together; empty where the last sums are as new as the measurements.

        Args:
            now: seconds since the epoch, by the clock of the beats.
        """
        workers = [worker for worker in self._workers.values() if worker.is_fresh(now)]
        every_s = min((worker.beat.usage.every_s for worker in workers if worker.beat.usage), default=0.0)
        if not workers or now - self._summed_at < every_s:
            return {}
        self._summed_at = now
        return _named(_sums([worker.beat for worker in workers]) | self._traffic())

    def _traffic(self) -> dict[str, float]:
        """What went through all nodes since the first worker on each began, those whose workers have ended too."""
        found: dict[str, float] = {}
        for (node, name), total in self._totals.items():
            found[f"nodes_{name}"] = found.get(f"nodes_{name}", 0.0) + total - self._began[node, name]
        return found

    def forget(self, member: str) -> None:
        """The workers of a member have ended."""
        for key in [key for key in self._workers if key[0] == member]:
            del self._workers[key]

    def _group(self, beat: Beat) -> list[_Worker]:
        """The member's workers that are known, by rank."""
        found = [self._workers.get((beat.member, rank)) for rank in range(beat.world)]
        return [worker for worker in found if worker]

    def _count(self, beat: Beat, usage: Usage) -> None:
        """Keep the node's totals, and say what could not be measured."""
        for name, (began, now) in usage.counters.items():
            key = beat.node_id, name
            self._began[key] = min(began, self._began.get(key, began))
            self._totals[key] = max(now, self._totals.get(key, now))
        for failure in usage.failures:
            self._say(failure, f"{beat.member}: rank {beat.rank} on {beat.node}: {failure}; the rest goes on")

    def _say(self, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self.warnings.append(text)

    def _of_worker(self, beat: Beat, usage: Usage, group: Sequence[Beat]) -> dict[str, float]:
        """What one worker says of itself and, if it is the first of its node, of the node; rank 0 also sums."""
        nodes = list(dict.fromkeys(each.node_id for each in group))
        node = nodes.index(beat.node_id)
        found: dict[str, float] = {}
        if beat.rank < MOST_WORKERS and node < MOST_NODES:
            own = f"worker_{beat.rank}_" if beat.world > 1 else ""
            found = {f"{own}{name}": value for name, value in usage.process.items()}
            found |= {f"{usage.gpu_name}_{name}": value for name, value in usage.gpu.items()}
        else:
            self._say(f"many {beat.member}", f"{beat.member}: {_left_out(beat.world, len(nodes))}")
        speaks = next(each.rank for each in group if each.node_id == beat.node_id and each.usage) == beat.rank
        if speaks and node < MOST_NODES:
            found |= {name: value for name, value in usage.node.items() if name != "cpus"}
            found |= {name: now - began for name, (began, now) in usage.counters.items()}
        place = f"node_{node}/" if len(nodes) > 1 else ""
        metrics = _named(found, place)
        if beat.rank == 0 and beat.world > 1:
            sums = _sums([each for each in group if each.usage])
            alone = len(nodes) == 1  # then what the node uses is there already
            metrics |= _named({name: each for name, each in sums.items() if not (alone and name.startswith("nodes"))})
        return metrics


def _sums(beats: Sequence[Beat]) -> dict[str, float]:
    """Sums over workers, and over the GPUs and nodes that they are on, each of which counts once."""
    one_of_each = {beat.process: beat for beat in beats if beat.usage}  # members trained together share a process
    measured = [(beat, beat.usage) for beat in one_of_each.values() if beat.usage]
    nodes = {beat.node_id: usage.node for beat, usage in measured}
    gpus = {(beat.node_id, usage.gpu_name): usage.gpu for beat, usage in measured if usage.gpu_name}
    processes = [usage.process for _, usage in measured]
    busy = [
        {"cpus_busy": node["cpu_utilization_percentage"] / 100 * node["cpus"]}
        for node in nodes.values()
        if "cpu_utilization_percentage" in node
    ]
    counts = {"workers": float(len(measured)), "nodes": float(len(nodes))}
    if gpus:
        counts["gpus"] = float(len(gpus))
    used = [
        {"gpus_busy": gpu["utilization_percentage"] / 100} for gpu in gpus.values() if "utilization_percentage" in gpu
    ]
    return (
        counts
        | _sum(processes, "process_cpus_busy", "workers_cpus_busy")
        | _sum(processes, "process_memory_megabytes", "workers_memory_megabytes")
        | _sum(busy, "cpus_busy", "nodes_cpus_busy")
        | _sum(nodes.values(), "system_memory_usage_megabytes", "nodes_memory_megabytes")
        | _sum(used, "gpus_busy", "gpus_busy")
        | _sum(gpus.values(), "memory_usage_megabytes", "gpus_memory_megabytes")
        | _sum(gpus.values(), "power_usage_watts", "gpus_power_watts")
    )


def _sum(figures: Iterable[Figures], name: str, called: str) -> dict[str, float]:
    """The sum under its name; nothing where nobody has measured it."""
    found = [each[name] for each in figures if name in each]
    return {called: sum(found)} if found else {}


def _named(figures: dict[str, float], place: str = "") -> dict[str, float]:
    return {f"{PREFIX}{place}{name}": value for name, value in figures.items()}


def _left_out(workers: int, nodes: int) -> str:
    return (
        f"system metrics of its own has each of the first {MOST_WORKERS} workers and {MOST_NODES} nodes; the others of "
        f"its {workers} workers on {nodes} nodes are in the sums alone"
    )
