"""What `job=check` says of room: quotas with submitter and autoscaler, limit ranges; amounts."""

from decimal import Decimal
from typing import Any

import pytest

from platform.kubernetes.check import limit_range, quota
from platform.kubernetes.check.amounts import amount, shown
from platform.kubernetes.check.finding import MISSING, OK, UNKNOWN, WARNING
from tests.kube.apiserver import ApiServer
from tests.kube.checking import ENSEMBLE, job_of, one

pytestmark = pytest.mark.slow
SCALED = "cluster.kube.pods={min:1,max:4}"
GI = 2**30


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", "0.5"), ("2", 2), ("1.5", "1.5"), (".5", "0.5"), ("8Gi", 8 * GI), ("1k", 1000), ("2e3", 2000),
     ("100E", 10**20), ("1Ei", 2**60), ("5u", "0.000005"), (3, 3)],
)  # fmt: skip
def test_amounts_are_read(text: object, number: object):
    assert amount(text) == Decimal(str(number))


@pytest.mark.parametrize("text", ["", "1 Gi", "Gi", "1Zi", "a"])
def test_what_is_no_amount_is_refused(text: str):
    with pytest.raises(ValueError, match="no quantity"):
        amount(text)


@pytest.mark.parametrize(
    ("resource", "number", "text"),
    [("cpu", "0.5", "0.5"), ("cpu", "100", "100"), ("memory", 1.5 * GI, "1.5Gi"), ("requests.memory", 96 * GI, "96Gi"),
     ("nvidia.com/gpu", "8", "8")],
)  # fmt: skip
def test_amounts_are_shown(resource: str, number: object, text: str):
    assert shown(resource, Decimal(str(number))) == text


def test_what_a_quota_counts():
    """Seven workers of 8 CPUs, 32 GiB and a GPU, a head of 2 and 8 GiB, a submitter of 0.1 (1) and 512 MiB (1 GiB)."""
    counted = quota.counted(job_of(*ENSEMBLE), 7)
    assert counted["requests.cpu"] == counted["cpu"] == Decimal("58.1")
    assert counted["limits.cpu"] == 59
    assert counted["requests.memory"] == (7 * 32 + 8) * GI + GI / 2
    assert counted["requests.nvidia.com/gpu"] == 7
    assert counted["pods"] == counted["count/pods"] == 9
    assert counted["count/rayjobs.ray.io"] == 1
    assert "requests.storage" not in counted


def test_the_autoscaler_and_volumes_of_caches_are_counted():
    plain, scaled = quota.counted(job_of(*ENSEMBLE), 2), quota.counted(job_of(*ENSEMBLE, SCALED), 2)
    assert scaled["limits.cpu"] - plain["limits.cpu"] == Decimal("0.5")
    assert scaled["limits.memory"] - plain["limits.memory"] == GI
    remote = ("data.shards=s3://bucket/imagenet", "cluster.kube.cache_class=platform-shared")
    cached = quota.counted(job_of(*ENSEMBLE, *remote), 2)
    assert cached["persistentvolumeclaims"] == 3
    assert cached["requests.storage"] == 3 * 70 * GI  # 50 GB and a half, in whole Gi


def limited(server: ApiServer, hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> None:
    server.objects.remove("resourcequotas")
    content = {"metadata": {"name": "platform", "namespace": "platform"}, "spec": {"hard": hard, **spec}}
    server.objects.add("v1", "resourcequotas", content | {"status": {"hard": hard, "used": used or {}}})


def test_a_quota_that_can_never_hold_the_job(good_cluster: ApiServer):
    limited(good_cluster, {"requests.cpu": "58", "requests.nvidia.com/gpu": "4", "pods": "100"})
    state, said = one(quota.quotas)
    assert state == MISSING
    assert said.startswith(
        "ResourceQuota platform is too small: requests.cpu 58.1 of 58 allowed, requests.nvidia.com/gpu 7 of 4 allowed; "
    )
    limited(good_cluster, {"requests.cpu": "59", "limits.cpu": "58.5"})  # but for the submitter
    assert one(quota.quotas)[0] == MISSING


def test_a_quota_that_others_use(good_cluster: ApiServer):
    limited(good_cluster, {"requests.cpu": "100", "pods": "20"}, {"requests.cpu": "50500m", "pods": "3"})
    state, said = one(quota.quotas)
    assert state == WARNING
    assert said.startswith(
        "ResourceQuota platform: requests.cpu 58.1 of 49.5 left: pods are refused until other jobs end"
    )
    good_cluster.store.create("platform", job_of(*ENSEMBLE).manifest, strict=False, dry_run=False)
    assert one(quota.quotas)[0] == OK  # it is this job that uses it


def test_a_quota_with_room_for_some_of_the_pods(good_cluster: ApiServer):
    limited(good_cluster, {"requests.nvidia.com/gpu": "2"})
    state, said = one(quota.quotas, SCALED)
    assert state == WARNING
    assert said.endswith("has room for the fewest worker pods, not for all 4: requests.nvidia.com/gpu 4 of 2 left")
    limited(good_cluster, {"requests.nvidia.com/gpu": "8", "pods": "100"}, {"requests.nvidia.com/gpu": "1"})
    assert one(quota.quotas) == (
        OK,
        "ResourceQuota platform: it takes 7 of 7 left of requests.nvidia.com/gpu, the tightest",
    )


@pytest.mark.parametrize(
    ("scope", "priority", "state"),
    [
        ({"scopes": ["Terminating"]}, None, OK),
        ({"scopes": ["NotTerminating"]}, None, MISSING),
        ({"scopes": ["CrossNamespacePodAffinity"]}, None, UNKNOWN),
        ({"scopeName": "PriorityClass", "operator": "In", "values": ["platform-high"]}, None, OK),
        ({"scopeName": "PriorityClass", "operator": "In", "values": ["platform-high"]}, "platform-high", MISSING),
        ({"scopeName": "PriorityClass", "operator": "Exists"}, "platform-high", MISSING),
        ({"scopeName": "PriorityClass", "operator": "DoesNotExist"}, "platform-high", OK),
    ],
)
def test_a_quota_for_some_pods_only(good_cluster: ApiServer, scope: dict[str, Any], priority: str | None, state: str):
    spec = scope if "scopes" in scope else {"scopeSelector": {"matchExpressions": [scope]}}
    limited(good_cluster, {"pods": "1"}, None, **spec)
    words = [f"cluster.kube.priority_class={priority}"] if priority else []
    assert one(quota.quotas, *words)[0] == state


def test_no_quota(good_cluster: ApiServer):
    good_cluster.objects.remove("resourcequotas")
    assert one(quota.quotas) == (OK, "none in namespace platform")


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"type": "Container", "max": {"cpu": "4"}}, "ray-worker may take cpu 8, the most is 4"),
        (
            {"type": "Container", "min": {"memory": "300Mi"}},
            "wait-gcs-ready asks for memory 0.25Gi, the least is 0.29Gi",
        ),
        ({"type": "Pod", "max": {"memory": "16Gi"}}, "the worker's pod may take memory 32Gi, the most is 16Gi"),
    ],
)
def test_a_limit_range_that_refuses(good_cluster: ApiServer, limit: dict[str, Any], said: str):
    assert one(limit_range.limit_ranges) == (OK, "every container and pod is within it")
    good_cluster.objects.one("limitranges", "platform")["spec"]["limits"] = [limit]
    state, text = one(limit_range.limit_ranges)
    assert (state, text.partition(";")[0]) == (MISSING, said)
