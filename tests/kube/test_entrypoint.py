"""The command of a RayJob composes to the same experiment, and every word of it arrives."""

import shlex
import subprocess
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.cluster.submission import COMMAND
from platform.config.checks import ConfigError
from platform.config.identity import differences, identity
from platform.kubernetes.entrypoint import entrypoint
from tests.kube.rendered import composed, render

# What a submitter's bash does with it, what `ray job submit` does, and what the head's shell does.
SUBMITTER = "python3 -c 'import shlex, sys; print(shlex.join(sys.argv[1:]), end=\"\")' {entrypoint}"
HEAD = "show() {{ printf '%s\\0' \"$@\"; }}; show {line}"
SAFE = st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"])


def arrived(text: str) -> list[str]:
    line = _run(["bash", "-c", SUBMITTER.format(entrypoint=text)])
    return _run(["sh", "-c", HEAD.format(line=line)]).split("\0")[:-1]


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def words_of(manifest: dict) -> list[str]:
    command = arrived(manifest["spec"]["entrypoint"])
    assert command[: len(COMMAND)] == COMMAND
    return command[len(COMMAND) :]


METRICS = "tracking.prometheus_address=0.0.0.0:9464"
AWKWARD = [
    "cluster.workers={min:2,max:8}",
    "evaluation.views=[1, 10, 144]",
    "+sweep.space={optim.lr: [0.01, 0.03], sampling: [multi_scale, plain]}",
    "name=quick-${optim.lr}",
    "data.source='it  is here'",
    'name="quick"',
    "a=`b`",
    "a=\\n",
    "~ensemble",
    "a=*",
    "a=b;c|d&e<f>g#h",
    "a=!x",
]


def test_awkward_words_pass_both_shells_unchanged():
    assert arrived(entrypoint(AWKWARD)) == [*COMMAND, *AWKWARD]


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(SAFE, min_size=1).filter(lambda word: "$$" not in word and "$(" not in word), max_size=3))
def test_every_word_passes_both_shells_unchanged(words: list[str]):
    assert arrived(entrypoint(words)) == [*COMMAND, *words]


@pytest.mark.parametrize("word", ["a=b\nc", "a=$$b", "a=$(b)"])
def test_words_that_kubernetes_would_change_are_refused(word: str):
    with pytest.raises(ConfigError, match="which does not reach the pods as it is; write it otherwise"):
        entrypoint([word])


def test_the_plain_command_stays_readable():
    assert entrypoint(["+experiment=googlenet_ens"]) == "python -m platform.launch +experiment=googlenet_ens"
    assert entrypoint(["cluster.workers={min:2,max:8}"]).endswith(" 'cluster.workers={min:2,max:8}'")


@pytest.mark.parametrize(
    "words",
    [
        ["+experiment=googlenet_ens"],
        ["+experiment=googlenet_ens", "data=imagenet", "seed=3", "cluster.workers={min:2,max:8}"],
        ["+experiment=googlenet", "optim.lr=0.01", "name=slower", "job=evaluate", "data.shards=s3://bucket/digits"],
        ["+experiment=sampling_schedule_sweep", "cluster.lanes=8"],
        ["+experiment=googlenet", "tracking=server", "tracking.uri=https://mlflow.example.org", "loader.streams=32"],
    ],
)
@pytest.mark.slow
def test_the_command_in_the_pods_is_the_same_experiment(words: list[str]):
    here, _ = composed(*words, "cluster=kuberay")
    there, _ = composed(*words_of(render(*words)))
    assert there.name == here.name
    assert there.members.keys() == here.members.keys()
    for name, member in here.members.items():
        assert differences(identity(asdict(member)), identity(asdict(there.members[name]))) == []
    assert there.config.job == here.config.job
    assert there.config.sweep == here.config.sweep
    assert there.config.data == here.config.data
    mine, theirs = here.config.cluster, there.config.cluster
    assert (theirs.address, theirs.ship_code, theirs.kube) == ("auto", False, None)
    assert theirs.workers == mine.workers
    assert theirs.lanes == mine.lanes or theirs.autoscaled
    assert (theirs.cpus_per_worker, theirs.gpus_per_worker) == (mine.cpus_per_worker, mine.gpus_per_worker) == (8, 1)


@pytest.mark.slow
def test_a_local_tracking_file_becomes_the_server_of_the_cluster_and_a_server_stays():
    assert "tracking.uri=http://mlflow:5000" in words_of(render("+experiment=googlenet"))
    local = words_of(render("+experiment=googlenet", "tracking.uri=sqlite:////home/me/mlflow.db"))
    assert [word for word in local if word.startswith("tracking")] == [
        "tracking=server",
        "tracking.uri=http://mlflow:5000",
        METRICS,
    ]
    for uri in ("http://localhost:5000", "http://127.0.0.1:5000"):  # of this machine, too
        assert "tracking.uri=http://mlflow:5000" in words_of(render("+experiment=googlenet", f"tracking.uri={uri}"))
    server = ["tracking=server", "tracking.uri=https://mlflow.example.org"]
    words = words_of(render("+experiment=googlenet", *server))
    assert [word for word in words if "tracking" in word] == [*server, METRICS]


@pytest.mark.slow
def test_the_launcher_answers_prometheus_on_the_heads_port_unless_it_is_not_to():
    for more in ([], ["tracking.prometheus_address=127.0.0.1:1"]):
        manifest = render("+experiment=googlenet", *more)
        assert [word for word in words_of(manifest) if "prometheus" in word] == [METRICS]
        head, worker = (
            manifest["spec"]["rayClusterSpec"]["headGroupSpec"],
            manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"][0],
        )
        ports = {each["name"]: each["containerPort"] for each in head["template"]["spec"]["containers"][0]["ports"]}
        assert ports["launcher"] == 9464
        assert "ports" not in worker["template"]["spec"]["containers"][0]
    silent = render("+experiment=googlenet", "cluster.kube.metrics=false")
    assert "prometheus" not in silent["spec"]["entrypoint"]
    assert "launcher" not in str(silent["spec"]["rayClusterSpec"]["headGroupSpec"]["template"])


@pytest.mark.slow
def test_shards_at_a_url_are_cached_on_the_pods_disks():
    words = words_of(render("+experiment=googlenet", "data.shards=s3://bucket/x", "storage.cache=/home/me/cache"))
    assert [word for word in words if "storage" in word] == ["storage.cache=/cache"]
    in_memory = words_of(render("+experiment=googlenet", "data.shards=s3://bucket/x", "storage.cache=memory"))
    assert [word for word in in_memory if "storage" in word] == ["storage.cache=memory"]
    also = ["data.also.more.shards=s3://bucket/more", "data.also.more.weight=0.1"]
    blended = words_of(render("+experiment=googlenet", "storage.cache=/home/me/cache", *also))
    assert [word for word in blended if "storage" in word] == ["storage.cache=/cache"]
    assert [word for word in blended if "data.also" in word] == also


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["data.shards=/home/me/imagenet"],
            "data.shards is /home/me/imagenet, which pods do not see; give a path below",
        ),
        (["data.shards=../imagenet"], "data.shards is ../imagenet, which pods do not see"),
        (
            ["data.also.more.shards=/home/me/more", "data.also.more.weight=0.1"],
            "data.also.more.shards is /home/me/more, which pods do not see; give a path below",
        ),
        (["output_dir=/home/me/runs"], "output_dir is /home/me/runs, which pods do not see"),
        (["checkpoint.copy_to=/home/me/runs"], "checkpoint.copy_to is /home/me/runs, which pods do not see"),
        (["data.source=/home/me/images"], "data.source is /home/me/images, which pods do not see"),
        (["job=promote"], "job=promote writes into this checkout; leave out cluster=kuberay"),
        (["bench.json=/home/me/x.json"], "bench.json is /home/me/x.json, which pods do not see"),
        (["fresh=true"], "fresh=true would start anew in each of cluster.kube.retries=3"),
        (
            ["fresh=true", "cluster.kube.retries=0", "cluster.kube.queue=a"],
            "fresh=true would start anew each time that Kueue takes the room away (cluster.kube.queue=a)",
        ),
        (
            ["tracking.uri=http://me:hidden@mlflow"],
            "tracking.uri holds a password or token, and a manifest is no place for one",
        ),
    ],
)
def test_what_pods_cannot_have_is_one_line_with_the_remedy(words: list[str], said: str):
    with pytest.raises(ConfigError) as error:
        render("+experiment=googlenet", *words)
    assert said in str(error.value)
    assert "hidden" not in str(error.value)


@pytest.mark.slow
def test_paths_on_the_volume_pass():
    words = words_of(render("+experiment=googlenet", "output_dir=/mnt/platform/mine", "data.shards=deep/../digits"))
    assert "output_dir=/mnt/platform/mine" in words
    assert shlex.join(words).count("digits") == 1
