"""A RayJob as small as one machine wants it: one head without work, one worker, tiny stores."""

from typing import Any

from tests.kube.standin.derive import Manifest


def rayjob(entrypoint: str, **spec: Any) -> Manifest:
    """With one worker of one CPU; `spec` replaces what the RayJob's spec says."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "small", "namespace": "platform", "labels": {"app.kubernetes.io/part-of": "platform"}},
        "spec": {
            "submissionMode": "K8sJobMode",
            "entrypoint": entrypoint,
            "submitterConfig": {"backoffLimit": 1},
            "rayClusterSpec": {
                "rayVersion": "2.60.0",
                "authOptions": {"mode": "token"},
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": {"version": "v2"},
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0", "object-store-memory": "100000000"},
                    "template": {"spec": _pod("ray-head", "1")},
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": 1,
                        "minReplicas": 1,
                        "maxReplicas": 2,
                        "rayStartParams": {"object-store-memory": "100000000"},
                        "template": {"spec": _pod("ray-worker", "1")},
                    }
                ],
            },
            **spec,
        },
    }


def _pod(name: str, cpus: str) -> Manifest:
    probe = {"httpGet": {"path": "/api/healthz", "port": 52365}, "timeoutSeconds": 5}
    mounts = {"data": "/mnt/platform", "tmp": "/tmp", "shm": "/dev/shm", "cache": "/cache"}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 20,
        "containers": [
            {
                "name": name,
                "image": "platform:test",
                "workingDir": "/mnt/platform",
                "env": [{"name": "SHARDS", "value": "/cache/shards"}],
                "envFrom": [{"secretRef": {"name": "platform-credentials", "optional": True}}],
                "resources": {"limits": {"cpu": cpus, "memory": "2Gi"}},
                "readinessProbe": {**probe, "periodSeconds": 1, "failureThreshold": 60},
                "livenessProbe": {**probe, "initialDelaySeconds": 30, "periodSeconds": 5, "failureThreshold": 12},
                "volumeMounts": [{"name": volume, "mountPath": path} for volume, path in mounts.items()],
            }
        ],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "platform-data"}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
            {"name": "cache", "emptyDir": {}},
        ],
    }
