"""A real training and a real sweep, asked by a real Prometheus while they run."""

import threading
from pathlib import Path

import pytest

from tests.monitoring.dashboard import NEIGHBOURS, filled, queries
from tests.monitoring.prometheus import Prometheus, prometheus
from tests.tracking.test_tracker import free_port

pytestmark = [pytest.mark.slow, pytest.mark.long]
ON_GPUS = "platform_worker_gpu_"
LONG = ["training.epochs=16", "training.log_every_steps=4", "evaluation.views=[1]", "evaluation.every_epochs=2"]
SMALL = ["model.width=0.25", "tracking.system_metrics_every_s=1"]


def asked(launch, tmp_path: Path, *words: str) -> tuple[int, str, dict[str, list]]:
    """Status and output of a launch, and the newest answer to each of the dashboard's queries while it ran."""
    port, folder = free_port(), tmp_path / "prometheus"
    folder.mkdir()
    ended: list[tuple[int, str]] = []
    answers: dict[str, list] = {}

    def run() -> None:
        ended.append(launch(*words, *SMALL, f"tracking.prometheus_address=127.0.0.1:{port}"))

    def ask(server: Prometheus) -> None:
        for _, query in queries():
            if NEIGHBOURS.search(query):  # tests/monitoring asks them
                continue
            answers[query] = server.query(filled(query)) or answers.get(query, [])

    with prometheus(folder, f"127.0.0.1:{port}") as server:
        running = threading.Thread(target=run)
        running.start()
        while running.is_alive():
            ask(server)
            running.join(1.0)
    return *ended[0], answers


def test_every_query_of_the_dashboard_has_an_answer_while_members_train(launch, tmp_path: Path):
    words = ["job=ensemble", "+ensemble.members={a:['order_seed=1'],b:['order_seed=2']}", "name=seen", *LONG]
    status, output, answers = asked(launch, tmp_path, *words)
    assert status == 0, output
    assert "metrics for Prometheus at http://127.0.0.1:" in output
    assert [query for query, found in answers.items() if not found and ON_GPUS not in query] == []
    (cost,) = [found for query, found in answers.items() if "experiment_cpu_seconds" in query]
    assert cost[0]["metric"] == {"experiment": "seen"}
    assert float(cost[0]["value"][1]) > 0
    (steps,) = [found for query, found in answers.items() if query.startswith("max by (experiment, member) (clamp_min")]
    assert {each["metric"]["member"] for each in steps} == {"a", "b"}


def test_trials_of_a_sweep_have_series_of_their_own(launch, tmp_path: Path):
    words = ["job=sweep", "+sweep.space={optim.lr: [0.01, 0.02]}", "name=swept", "sweep.seeds=1", *LONG]
    status, output, answers = asked(launch, tmp_path, *words)
    assert status == 0, output
    costs = [found for query, found in answers.items() if "(platform_cpu_seconds" in query]
    assert {each["metric"]["member"] for each in costs[0]} == {"p000-s0", "p001-s0"}
    (states,) = [found for query, found in answers.items() if "platform_members" in query]
    assert {each["metric"]["state"] for each in states} == {
        "waiting", "running", "finished", "failed", "diverged", "stopped",
    }  # fmt: skip
