"""A node that comes while a sweep's trials train has trials of its own, whether they share workers or not."""

import pytest

from platform.chaos.nodes import LocalCluster
from platform.sweep.trial_store import FINISHED, TrialStore
from tests.jobs.conftest import Runner
from tests.jobs.test_growing_lanes import head, seen_on_nodes  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]
RATES = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08]


@pytest.mark.parametrize("each", [1, 2])
def test_a_node_that_comes_late_trains_trials_of_the_sweep(launch: Runner, head: LocalCluster, each: int):  # noqa: F811
    rates = RATES[: 4 * each]
    head.start_node()
    process = launch.start(
        "cluster=ray", f"cluster.address={head.address}", "cluster.ship_code=false", "cluster.gpus_per_worker=0",
        "cluster.resize_check_s=1", f"cluster.fuse={each}", "model.width=0.1", "evaluation.views=[1]",
        "optim.clip_norm=1", "training.epochs=20", "job=sweep", "name=late", f"+sweep.space={{optim.lr:{rates}}}",
        environment=head.environment,
    )  # fmt: skip
    seen = seen_on_nodes(launch, process, head, "late")
    output = process.communicate()[0]
    assert process.returncode == 0, output
    trials = TrialStore.read(launch.folder / "runs" / "late").trials
    names = [trial.name for trial in trials]
    assert f"late: {len(rates)} of {len(rates)} trials to run, {each} side by side on 2 node(s), 1 CPUs" in output
    assert output.count("1 lane(s) more: the cluster has 3 node(s), 2 CPUs, 0 GPUs now") == 1
    assert sorted(name for there in seen.values() for name in there) == names  # each on one node, and on no other
    assert len(seen) == 2
    assert [(trial.values, trial.seed, trial.state) for trial in trials] == [
        ({"optim.lr": rate}, 0, FINISHED) for rate in rates
    ]
    assert {name: len(launch.attempts("late", name)) for name in names} == dict.fromkeys(names, 1)
    assert "warning" not in output
