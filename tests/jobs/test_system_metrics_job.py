"""System metrics of a training on several real nodes, as they are in MLflow's database at the end."""

import pytest
from mlflow.tracking import MlflowClient

from platform.chaos.nodes import LocalCluster

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_workers_on_two_nodes_are_all_measured_and_summed_on_the_parent(launch):
    words = ["job=train", "name=two", "cluster.workers=2", "training.epochs=4", "tracking.system_metrics_every_s=0.5"]
    with LocalCluster(launch.folder, nodes=3, head_cpus=0) as cluster:
        there = [f"cluster.address={cluster.address}", "evaluation.views=[1]"]
        status, output = launch(*words, *there, environment=cluster.environment)
    assert status == 0, output
    runs, client = launch.runs("two"), MlflowClient(launch.uri)

    def series(run: str, name: str) -> list[float]:
        return [point.value for point in client.get_metric_history(runs[run].info.run_id, f"system/{name}")]

    for node in (0, 1):
        assert max(series("model", f"node_{node}/worker_{node}_process_memory_megabytes")) > 100
        assert max(series("model", f"node_{node}/worker_{node}_process_cpus_busy")) > 0.2
        assert 0 < max(series("model", f"node_{node}/cpu_utilization_percentage")) <= 100
        for counter in ("network_receive_megabytes", "disk_write_megabytes"):
            if values := series("model", f"node_{node}/{counter}"):
                assert values == sorted(values)
            else:
                assert "measuring what the disk does failed" in output
                assert counter == "disk_write_megabytes"
    assert max(series("parent", "workers")) == max(series("parent", "nodes")) == 2.0
    own = [max(series("model", f"node_{node}/worker_{node}_process_memory_megabytes")) for node in (0, 1)]
    assert max(own) < max(series("parent", "workers_memory_megabytes")) <= 1.01 * sum(own)
    names = {name for run in runs.values() for name in run.data.metrics}
    assert not [name for name in names if "node_2" in name or "gpu" in name]
