"""`kubectl apply -k` of a new version on top of the old one: nothing that cannot change does."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.kube.lint import findings, images
from tests.kube.manifests import REMOVED, changed
from tests.kube.objects import Objects, RefusedError
from tests.kube.overlays import OVERLAYS, Build, build, on_top


def upgraded(name: str, folder: Path) -> Build:
    """With another tag for every image."""
    names = {each.rpartition(":")[0] for one in build(name).objects for each in images(one)}
    return on_top(name, folder, images=[{"name": each, "newTag": "9.9.9-next"} for each in sorted(names)])


@pytest.mark.slow
@pytest.mark.parametrize("name", OVERLAYS)
def test_every_image_changes_and_nothing_is_refused(name: str, tmp_path: Path):
    new = upgraded(name, tmp_path)
    tags = {each.rpartition(":")[2] for one in new.objects for each in images(one)}
    assert tags == {"9.9.9-next"}
    server = Objects()
    server.apply(build(name).objects)
    server.apply(new.objects)
    assert [line for each in new.objects for line in findings(each, name)] == []


@pytest.mark.slow
@pytest.mark.parametrize("overlay", ["dev", "gke", "eks", "aks"])
@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("mlflow-server", "MLFLOW_DISABLE_TELEMETRY=false"),
        ("mlflow-site", "MLFLOW_ARTIFACTS_DESTINATION=s3://elsewhere/mlflow"),
        ("mlflow-databases", "PGHOST=elsewhere"),
    ],
)
def test_a_changed_setting_of_mlflow_starts_new_servers(overlay: str, name: str, setting: str, tmp_path: Path):
    settings = {"name": name, "namespace": "platform", "behavior": "merge", "literals": [setting]}
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    before = on_top(overlay, old, components=["backup"])
    after = on_top(overlay, new, components=["backup"], configMapGenerator=[settings])
    pods = [each.one("Deployment", "mlflow")["spec"]["template"] for each in (before, after)]
    assert pods[0] != pods[1]
    key, _, value = setting.partition("=")
    assert after.one("ConfigMap", name)["data"][key] == value
    there = {each["metadata"]["name"] for each in after.of("ConfigMap")}
    for each in [after.one("Deployment", "mlflow"), *after.of("CronJob")]:  # a backup of the same place
        named = set(re.findall(r"'configMapRef': {'name': '([^']+)'}", str(each)))
        assert named
        assert named <= there


def job(name: str = "pack-0-1-0", image: str = "registry:5000/platform:0.1.0") -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "platform"},
        "spec": {
            "ttlSecondsAfterFinished": 86400,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": "platform-worker",
                    "automountServiceAccountToken": False,
                    "securityContext": {
                        "runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}
                    },
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                    "containers": [
                        {
                            "name": "pack",
                            "image": image,
                            "resources": {kind: {"cpu": "1", "memory": "1Gi"} for kind in ("requests", "limits")},
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                        }
                    ],
                }
            },
        },
    }  # fmt: skip


def test_a_job_is_called_after_its_images_and_goes_by_itself():
    assert findings(job(), "job.yaml") == []
    (found,) = findings(job(image="registry:5000/platform:0.2.0_rc1"), "job.yaml")
    assert found.startswith("job.yaml: metadata.name is 'pack-0-1-0'; end it in 0-2-0-rc1, its image's tag: ")
    (found,) = findings(changed(job(), "spec/ttlSecondsAfterFinished", REMOVED), "job.yaml")
    assert "spec.ttlSecondsAfterFinished is missing; write one" in found
    each_time = changed(changed(job(), "metadata/name", REMOVED), "metadata/generateName", "pack-")
    assert findings(each_time, "job.yaml") == []


CLAIM = {
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "2Gi"}}},
}


@pytest.mark.parametrize(
    ("old", "path", "value", "field"),
    [
        (job(), "spec/template/spec/containers/0/image", "platform:0.2.0", "spec.template"),
        (CLAIM, "spec/storageClassName", "other", "spec.storageClassName"),
        (CLAIM, "spec/resources/requests/storage", "1Gi", "spec.resources.requests.storage"),
        ({"kind": "PriorityClass", "metadata": {"name": "x"}, "value": 1}, "value", 2, "value"),
    ],
    ids=["Job", "class of a volume", "size of a volume", "PriorityClass"],
)
def test_what_a_server_refuses(old: dict[str, Any], path: str, value: object, field: str):
    server = Objects()
    server.apply([old])
    server.apply([changed(old, "metadata/labels", {"new": "label"})])
    with pytest.raises(RefusedError, match=f"is invalid: {field}: .*immutable"):
        server.apply([changed(old, path, value)])


def test_a_stateful_set_keeps_its_volumes_and_takes_another_image():
    (database,) = [each for each in build("dev").of("StatefulSet") if each["metadata"]["name"] == "postgres"]
    server = Objects()
    server.apply([database])
    server.apply([changed(database, "spec/template/spec/containers/0/image", "postgres:18.1-bookworm")])
    with pytest.raises(RefusedError, match=r"spec\.volumeClaimTemplates"):
        server.apply([changed(database, "spec/volumeClaimTemplates/0/spec/resources/requests/storage", "20Gi")])


def test_a_volume_may_grow():
    server = Objects()
    server.apply([CLAIM])
    server.apply([changed(CLAIM, "spec/resources/requests/storage", "3Gi")])
