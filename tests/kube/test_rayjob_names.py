"""No two experiments share a RayJob, whatever they are called; those of earlier versions are found."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform.config.checks import ConfigError
from platform.config.kubernetes import KUBE_CRON_NAME, KUBE_NAME
from platform.kubernetes.names import annotations, is_same, name_of, names_to_look_for, renamed, with_digest
from platform.kubernetes.submit import submit
from tests.kube.apiserver import ApiServer
from tests.kube.apistore import Object
from tests.kube.rbac import role
from tests.kube.test_submit import COMPLETE, QUICK, RUNNING, rayjob

NAMES = st.one_of(
    st.text(st.sampled_from("aAvV10.-_é実ß"), min_size=1, max_size=60),
    st.text(st.characters(categories=("L", "Nd"), include_characters="-_."), min_size=1, max_size=120),
)
FOLDERS, JOBS = (
    st.sampled_from(["platform-data:runs/x", "other:runs/x"]),
    st.sampled_from(["train", "evaluate", "pack"]),
)
SAID = st.builds(annotations, NAMES, FOLDERS, JOBS)


@given(SAID, st.sampled_from([KUBE_NAME, KUBE_CRON_NAME]))
def test_every_name_is_one_that_kubernetes_takes_and_always_the_same(said: dict[str, str], longest: int):
    for name in (name_of(said, longest), with_digest(said, longest)):
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
        assert len(name) <= longest
    assert name_of(said, longest) == name_of(dict(said), longest)


@given(st.from_regex(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?", fullmatch=True).filter(lambda name: "--" not in name))
def test_a_name_that_kubernetes_takes_is_left_alone(name: str):
    assert name_of(annotations(name, "platform-data:runs/x", "train")) == name


@given(SAID, SAID)
def test_two_experiments_have_two_names_or_one_that_only_annotations_tell_apart(
    one: dict[str, str], two: dict[str, str]
):
    if one == two:
        return
    assert with_digest(one) != with_digest(two)
    first, second = manifest(one), manifest(two)
    assert not is_same(first, second)
    assert not is_same(second, first)
    if first["metadata"]["name"] == second["metadata"]["name"]:
        assert with_digest(two) in names_to_look_for(second)


def manifest(said: dict[str, str]) -> Object:
    made = renamed(rayjob(), name_of(said))
    return made | {"metadata": made["metadata"] | {"annotations": said}}


def of(name: str, folder: str = "runs", job: str = "train") -> Object:
    return manifest(annotations(name, f"platform-data:{folder}/{name}", job))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with ApiServer(tmp_path) as running:
        running.rules = role()["rules"]
        monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig))
        yield running


def send(job: Object) -> int:
    return submit(job, context=None, follow=False, patience=QUICK)


def there(server: ApiServer) -> dict[str, str]:
    """Experiment, folder and job of each RayJob that is there, by its name."""
    jobs = server.store.jobs("platform")
    return {job["metadata"]["name"]: "|".join((job["metadata"].get("annotations") or {}).values()) for job in jobs}


def test_experiments_whose_names_are_cleaned_to_the_same_have_a_rayjob_each(cluster: ApiServer):
    jobs = [of("v1.0"), of("v1_0"), of("v1-0"), of("v1-0", folder="mine"), of("v1", job="evaluate"), of("v1-evaluate")]
    for job in [*jobs, *jobs]:  # the second time each finds its own
        assert send(job) == 0
    found = there(cluster)
    assert sorted(found.values()) == sorted("|".join(job["metadata"]["annotations"].values()) for job in jobs)
    assert "v1-0" in found
    for name, job in ((job["metadata"]["name"], job) for job in cluster.store.jobs("platform")):
        assert job["metadata"]["labels"].get("app.kubernetes.io/instance", name) == name


def test_a_rayjob_of_another_script_is_left_alone_even_when_it_has_ended(
    cluster: ApiServer, capsys: pytest.CaptureFixture[str]
):
    other = rayjob("python theirs.py")
    assert send(other) == 0
    cluster.store.set_status("ens", COMPLETE)
    before = cluster.store.job("ens")
    assert send(of("ens")) == 0
    assert cluster.store.job("ens") == before
    made = set(there(cluster)) - {"ens"}
    assert {re.sub("[0-9a-f]{6}$", "", name) for name in made} == {"ens-"}
    said = capsys.readouterr().out
    assert f"rayjob platform/ens is there, of no experiment of this platform: this one is called {made.pop()}" in said


def test_a_job_that_an_earlier_version_submitted_is_found_by_its_annotation(
    cluster: ApiServer, capsys: pytest.CaptureFixture[str]
):
    earlier = renamed(of("googlenet_ens"), "googlenet-ens")
    earlier["metadata"]["annotations"] = {"platform/experiment": "googlenet_ens"}
    cluster.store.create("platform", earlier, strict=False, dry_run=False)
    cluster.store.set_status("googlenet-ens", RUNNING)
    assert send(of("googlenet_ens")) == 0
    assert set(there(cluster)) == {"googlenet-ens"}
    assert "rayjob platform/googlenet-ens is there already" in capsys.readouterr().out
    assert send(of("googlenet.ens")) == 0  # would have been called the same
    assert len(there(cluster)) == 2


def test_where_all_names_are_others_nothing_is_touched(cluster: ApiServer):
    for name in ("ens", with_digest(of("ens")["metadata"]["annotations"])):
        cluster.store.create("platform", renamed(rayjob("python theirs.py"), name), strict=False, dry_run=False)
    with pytest.raises(ConfigError, match=r"of no experiment of this platform; .*; choose another name="):
        send(of("ens"))
    assert len(there(cluster)) == 2
