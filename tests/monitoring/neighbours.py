"""What others export beside the launcher, on ports of their own: KubeRay's operator, Kueue, NVIDIA's DCGM exporter.

KubeRay's as a real operator (1.7.0) answered while a job ran and after it; Kueue's from its source (0.19.2,
pkg/metrics/metrics.go), DCGM's as its exporter prints them: labels are all that count here, values are made up.
"""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Metric -> labels, of which a query may name these alone.
LABELS: dict[str, set[str]] = {
    "kuberay_job_deployment_status": {"name", "namespace", "uid", "deployment_status"},
    "kuberay_cluster_info": {"name", "namespace", "uid", "owner_kind"},
    "kuberay_cluster_provisioned_duration_seconds": {"name", "namespace", "uid"},
    "kueue_pending_workloads": {"cluster_queue", "status", "replica_role"},
    "kueue_admission_wait_time_seconds_sum": {"cluster_queue", "priority_class", "replica_role"},
    "kueue_admission_wait_time_seconds_count": {"cluster_queue", "priority_class", "replica_role"},
} | {
    name: {
        "gpu",
        "UUID",
        "device",
        "modelName",
        "Hostname",
        "GPU_I_ID",
        "GPU_I_PROFILE",
        "container",
        "namespace",
        "pod",
    }
    for name in ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE")
}

OPERATORS = """\
# TYPE kuberay_cluster_info gauge
kuberay_cluster_info{name="smoke-6t6m7",namespace="platform",owner_kind="RayJob",uid="d00e5ead"} 1
# TYPE kuberay_cluster_provisioned_duration_seconds gauge
kuberay_cluster_provisioned_duration_seconds{name="smoke-6t6m7",namespace="platform",uid="d00e5ead"} 16.916230689
# TYPE kuberay_job_deployment_status gauge
kuberay_job_deployment_status{deployment_status="Complete",name="smoke",namespace="platform",uid="c71f6dbd"} 1
kuberay_job_deployment_status{deployment_status="Initializing",name="waits",namespace="platform",uid="24202b7e"} 1
kuberay_job_deployment_status{deployment_status="",name="new",namespace="platform",uid="40b1bd42"} 1
kuberay_job_deployment_status{deployment_status="Initializing",name="theirs",namespace="other",uid="7f3b0c11"} 1
# TYPE kueue_pending_workloads gauge
kueue_pending_workloads{cluster_queue="platform",replica_role="leader",status="active"} 1
kueue_pending_workloads{cluster_queue="platform",replica_role="leader",status="inadmissible"} 2
# TYPE kueue_admission_wait_time_seconds histogram
kueue_admission_wait_time_seconds_bucket{cluster_queue="platform",priority_class="",replica_role="leader",le="+Inf"} 2
kueue_admission_wait_time_seconds_sum{cluster_queue="platform",priority_class="",replica_role="leader"} 90
kueue_admission_wait_time_seconds_count{cluster_queue="platform",priority_class="",replica_role="leader"} 2
"""


def gpus(holders: list[tuple[str, str]], values: dict[str, float]) -> str:
    """DCGM's metrics of GPUs, by the labels (pod, GPU) of who holds each."""
    lines = []
    for metric, value in values.items():
        lines.append(f"# TYPE {metric} gauge")
        for pod, gpu in holders:
            labels = f'gpu="{gpu}",UUID="GPU-{gpu}",modelName="NVIDIA H200",Hostname="node-1",container="ray-worker"'
            lines.append(f'{metric}{{{labels},namespace="platform",pod="{pod}"}} {value}')
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def exporter(text: str) -> Iterator[str]:
    """HOST:PORT that answers every request with `text`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
