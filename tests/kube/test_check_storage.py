"""What `job=check` says of the volume, of storage classes, of Secrets' keys, and of the time that pods have to end."""

import pytest

from platform.kubernetes.check import storage
from platform.kubernetes.check.finding import MISSING, OK, UNKNOWN, WARNING
from platform.kubernetes.check.grace import grace
from platform.kubernetes.check.secret_keys import secrets
from tests.kube.apiserver import ApiServer
from tests.kube.checking import found, one
from tests.kube.good_cluster import CREDENTIALS, node, secret, storage_class

pytestmark = pytest.mark.slow
CACHED = "cluster.kube.cache_class=fast"


def test_the_volume(good_cluster: ApiServer):
    assert one(storage.volume) == (OK, "platform-data is bound: 10Ti, ReadWriteMany, platform-shared")
    state, said = one(storage.volume, "cluster.kube.claim=other")
    assert (state, said.partition(";")[0]) == (MISSING, "claim other is not in namespace platform")
    good_cluster.objects.one("persistentvolumeclaims", "platform-data")["status"] = {"phase": "Lost"}
    assert one(storage.volume)[0] == MISSING


def test_a_volume_of_one_node(good_cluster: ApiServer):
    claim = good_cluster.objects.one("persistentvolumeclaims", "platform-data")
    claim["spec"]["accessModes"] = ["ReadWriteOnce"]
    state, said = found(storage.volume)[0]
    assert (state, said.partition(";")[0]) == (
        WARNING,
        "platform-data is ReadWriteOnce: pods on a second node wait for ever",
    )
    good_cluster.objects.remove("nodes")
    good_cluster.objects.add("v1", "nodes", node("only", cpu="16", memory="60Gi"))
    assert [state for state, _ in found(storage.volume)] == [OK, OK]
    good_cluster.objects.hidden.add("list nodes")
    assert found(storage.volume)[0][0] == WARNING
    claim["spec"]["accessModes"] = ["ReadWriteOncePod"]
    assert found(storage.volume)[0][0] == MISSING


def test_a_volume_that_is_not_bound(good_cluster: ApiServer):
    objects, claim = good_cluster.objects, good_cluster.objects.one("persistentvolumeclaims", "platform-data")
    claim["status"] = {"phase": "Pending"}
    assert one(storage.volume)[0] == WARNING
    objects.add("storage.k8s.io/v1", "storageclasses", storage_class("platform-shared", binding="WaitForFirstConsumer"))
    state, said = one(storage.volume)
    assert (state, said.partition(",")[0]) == (UNKNOWN, "platform-data is made by platform-shared with the first pod")
    assert "user 1000" in said
    claim["spec"]["storageClassName"] = "efs"
    assert one(storage.volume) == (
        MISSING,
        "platform-data wants the storage class efs, which does not exist; "
        "make it, or name one of those that are there: platform-shared",
    )
    del claim["spec"]["storageClassName"]
    state, said = one(storage.volume)
    assert (state, said.partition(";")[0]) == (MISSING, "platform-data names no storage class, and there is no default")
    objects.add("storage.k8s.io/v1", "storageclasses", storage_class("nfs", default=True))
    assert one(storage.volume)[0] == WARNING
    objects.hidden.add("list storageclasses")
    state, said = one(storage.volume)
    assert (state, "needs the right to list storageclasses.storage.k8s.io" in said) == (UNKNOWN, True)


def test_the_class_of_caches(good_cluster: ApiServer):
    assert found(storage.cache_class) == []
    state, said = one(storage.cache_class, CACHED)
    assert (state, said.partition(";")[0]) == (MISSING, "storage class fast does not exist")
    good_cluster.objects.add("storage.k8s.io/v1", "storageclasses", storage_class("fast"))
    assert one(storage.cache_class, CACHED) == (OK, "storage class fast")


def test_secrets_and_the_names_of_their_keys(good_cluster: ApiServer):
    assert one(secrets) == (OK, "platform-credentials holds MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_USERNAME")
    state, said = found(secrets, "cluster.kube.secrets=[platform-credentials,store]")[1]
    assert (state, said.partition(":")[0]) == (WARNING, "store does not exist")
    state, said = found(secrets, "cluster.kube.pull_secrets=[registry]")[1]
    assert (state, said.partition(":")[0]) == (MISSING, "registry is not in namespace platform")
    good_cluster.objects.add("v1", "secrets", secret("registry", ".dockerconfigjson"))
    assert found(secrets, "cluster.kube.pull_secrets=[registry]")[1] == (OK, "registry is there")


WRONG = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD are not in platform-credentials, cluster.kube.env, nor "
S3 = ("data.shards=s3://bucket/imagenet", "checkpoint.copy_to=s3://bucket/runs")


def hold(server: ApiServer, *keys: str, name: str = "platform-credentials") -> None:
    server.objects.add("v1", "secrets", secret(name, *keys))


def test_keys_without_an_account_of_mlflows(good_cluster: ApiServer):
    hold(good_cluster, "WRONG")
    first, (state, said) = found(secrets)
    assert first == (OK, "platform-credentials holds WRONG")
    assert state == WARNING
    assert said == (
        f"{WRONG}MLFLOW_TRACKING_TOKEN: MLflow at http://mlflow:5000 gets no account; put MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD into platform-credentials, unless that server takes everybody"
    )
    hold(good_cluster, "MLFLOW_TRACKING_USERNAME")
    assert found(secrets)[1][1].startswith("MLFLOW_TRACKING_PASSWORD is not in platform-credentials, cluster.kube.env")
    assert one(secrets, "cluster.kube.secrets=[]")[0] == WARNING
    assert "into a Secret that cluster.kube.secrets names" in one(secrets, "cluster.kube.secrets=[]")[1]


def test_where_the_account_may_be(good_cluster: ApiServer):
    hold(good_cluster, "MLFLOW_TRACKING_TOKEN")
    assert one(secrets)[0] == OK
    hold(good_cluster, "MLFLOW_TRACKING_PASSWORD")
    assert one(secrets, "+cluster.kube.env={MLFLOW_TRACKING_USERNAME: jobs}")[0] == OK
    hold(good_cluster, "MLFLOW_TRACKING_USERNAME", name="platform-more")
    both = found(secrets, "cluster.kube.secrets=[platform-credentials,platform-more]")
    assert [state for state, _ in both] == [OK, OK]


def test_keys_that_cannot_be_seen_are_not_missed(good_cluster: ApiServer):
    made = secret("platform-credentials", "WRONG")
    del made["metadata"]["managedFields"]
    good_cluster.objects.add("v1", "secrets", made)
    assert one(secrets, *S3) == (OK, "platform-credentials holds keys whose names cannot be seen")
    good_cluster.objects.remove("secrets")
    assert one(secrets, *S3)[1].startswith("platform-credentials does not exist")  # and nothing else


def test_a_store_without_keys_and_without_an_identity(good_cluster: ApiServer):
    first, (state, said) = found(secrets, *S3)
    assert (first[0], state) == (OK, WARNING)
    assert said.startswith(
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not in platform-credentials, cluster.kube.env, and "
        "platform-head, platform-worker have no annotation eks.amazonaws.com/role-arn: the store of data.shards, "
        "checkpoint.copy_to lets pods in only if"
    )
    assert "put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into platform-credentials, or give the accounts" in said
    account = good_cluster.objects.one("serviceaccounts", "platform-worker")["metadata"]
    account["annotations"] = {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/platform"}
    assert "and platform-head has no annotation" in found(secrets, S3[0])[1][1]
    good_cluster.objects.one("serviceaccounts", "platform-head")["metadata"]["annotations"] = account["annotations"]
    assert one(secrets, *S3)[0] == OK


def test_what_opens_a_store(good_cluster: ApiServer):
    hold(good_cluster, *CREDENTIALS, "AWS_ACCESS_KEY_ID")
    assert found(secrets, S3[1])[1][1].startswith("AWS_SECRET_ACCESS_KEY is not in platform-credentials")
    hold(good_cluster, *CREDENTIALS, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    assert one(secrets, *S3)[0] == OK
    hold(good_cluster, *CREDENTIALS)
    for name in ("AWS_PROFILE", "FSSPEC_S3_ANON"):
        assert one(secrets, *S3, f"+cluster.kube.env={{{name}: x}}")[0] == OK
    assert one(secrets, "data.shards=gs://bucket/imagenet")[0] == OK
    good_cluster.objects.hidden.add("get serviceaccounts")
    state, said = found(secrets, *S3)[1]
    assert (state, said.endswith("needs the right to get serviceaccounts in namespace platform")) == (UNKNOWN, True)


def test_the_key_of_redis(good_cluster: ApiServer):
    redis = "cluster.kube.redis_address=redis:6379"
    assert found(secrets, redis)[1][0] == MISSING
    good_cluster.objects.add("v1", "secrets", secret("platform-redis", "pass"))
    state, said = found(secrets, redis)[1]
    assert (state, said.partition(":")[0]) == (MISSING, "platform-redis holds pass, not password")
    good_cluster.objects.add("v1", "secrets", secret("platform-redis", "password"))
    assert found(secrets, redis)[1] == (OK, "platform-redis is there and holds password")
    made = secret("platform-redis", "password")
    del made["metadata"]["managedFields"]  # of an operator that keeps none
    good_cluster.objects.add("v1", "secrets", made)
    assert found(secrets, redis)[1][0] == UNKNOWN


def test_time_to_end(good_cluster: ApiServer):
    assert one(grace) == (OK, "pods have 80 s to end: a drain of 30 s and checkpoint.grace_s=20 fit")
    state, said = one(grace, "cluster.kube.capacity=spot")
    assert state == WARNING
    assert said == (
        "gke takes spot nodes back after 15 s, a drain of 30 s and checkpoint.grace_s=20 take 50; what came since the "
        "newest checkpoint is lost (checkpoint.every_s=300)"
    )
    assert one(grace, "cluster.kube.capacity=spot", "cluster.kube.provider=eks")[0] == OK
