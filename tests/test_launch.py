"""The command line: every experiment composes, and what cannot work is one line before Ray starts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform.checkout import ROOT
from platform.config.data import DataConfig
from platform.data.index import read_index
from platform.experiment.folder import ExperimentFolder
from platform.sweep.plan import sweep_identity
from tests.composing import experiment_of
from tests.launching import launched

NETWORKS = sorted(file.stem for file in (ROOT / "conf" / "model").glob("*.yaml"))
OF_OWN_NETWORKS = ("googlenet", "googlenet_ens", "sampling_schedule_sweep")  # and on the digits
EXPERIMENTS = sorted(file.stem for file in (ROOT / "conf" / "experiment").glob("*.yaml"))


SLOW = ["torch", "ray", "mlflow", "sklearn", "torchvision"]  # modules that take their time
EACH_IN_TURN = """import json, sys
from tests.launching import launched
for arguments in json.loads(sys.argv[1]):
    done = launched(*arguments)
    print(json.dumps([done.returncode, done.stdout, done.stderr, [name for name in %r if name in sys.modules]]))
"""


def in_a_process_of_their_own(*lines: list[str]) -> Iterator[tuple[list[str], int, str, str, list[str]]]:
    """Command lines in turn: each with its status, its output, its errors, and what is imported at its end."""
    command = [sys.executable, "-c", EACH_IN_TURN % SLOW, json.dumps(lines)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=True)
    for arguments, line in zip(lines, done.stdout.splitlines(), strict=True):
        yield arguments, *json.loads(line)


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "platform.launch", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
def test_without_an_experiment_it_lists_them():
    done = process()
    assert done.returncode == 0
    assert all(name in done.stdout for name in EXPERIMENTS)
    assert "+experiment=" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data"),
    [
        *[("googlenet", data) for data in ("digits", "cifar10", "imagenet")],
        *[(name, "folder") for name in EXPERIMENTS],
    ],
)
def test_experiments_compose_with_other_data_sets(name: str, data: str):
    """With their own and with ImageNet in tests/compose/test_recipes.py."""
    done = launched(f"+experiment={name}", f"data={data}", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert f"name: {data}" in done.stdout


def test_help_names_jobs_and_groups():
    done = launched("--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("job=check", "sampling: alexnet", "data: cifar10", "optim.lr="))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optim.lrr=1"], "optim.lrr does not exist; did you mean optim.lr"),
        (["optim.lr=abc"], "optim.lr is 'abc'"),
        (["optim.lr=-1"], "optim.lr is -1"),
        (["sampling=foo"], "sampling=foo does not exist; choose one of alexnet"),
        (["name=???"], "name is ???, Hydra's word for a value that is missing; give one"),
        (["name=a\nb"], "name has the character '\\n', which no value needs; leave it out"),
        (["evaluation.views=[1"], "evaluation.views is [1: "),
        (["data.source="], "data.source is empty; give a value, or leave it out"),
        (["sampling=foo/bar"], "sampling=foo/bar does not exist; choose one of alexnet"),
        (
            ["model=torchvision/vgg11"],
            f"model=torchvision/vgg11 does not exist; choose one of {', '.join(NETWORKS)}, or give "
            "model.name=torchvision/vgg11",
        ),
        (["tracking.uri=http://127.0.0.1:9", "tracking.required=true"], "no MLflow at tracking.uri=http://127.0.0.1:9"),
        (["sampling.method=foo"], "sampling.method is 'foo'; choose one of"),
        (["training.batch_size=33"], "training.batch_size is 33, not a multiple of loader.streams (8); use 32 or 40"),
        (["cluster.workers=16"], "cluster.workers is 16, more than loader.streams (8)"),
        (["cluster.workers={min:2,max:16}"], "cluster.workers is 2 to 16, more than loader.streams (8); lower it, or"),
        (["cluster.workers={lo:1}"], "cluster.workers is {'lo': 1}; give a number, or a range as {min:2,max:8}"),
        (["cluster.workers=many"], "cluster.workers is 'many'; give a number, or a range as {min:2,max:8}"),
        (["cluster.workers=8", "cluster.cpus_per_worker=1000"], "is 8000, this machine has"),
        (["training.batch_size=8000"], "training.batch_size is 8000, more than the 1438 training images"),
        (["data.classes=11"], "10 classes"),
        (["data.source=/nowhere"], "data.source is '/nowhere', which does not exist"),
        (["model.name=torchvision/resnet51", "ensemble=none"], "torchvision has"),
        (["model.name=torchvision/resnet18"], "member wider: model.width: torchvision/resnet18 has no such setting"),
        (["model=resnet50", "ensemble=none", "model.width=2"], "model.width is a setting of googlenet, and another"),
        (["model.name=alexnet"], "model.name is 'alexnet'; give googlenet, bn_inception, "),
        (["+ensemble.members.x=['model.widht=2']"], "ensemble member x: model.widht does not exist"),
        (["+ensemble.members.x=[model.width=2]"], "quote values that hold ="),
        (["bench=foo"], "bench is 'foo', and a section of settings; give one of bench.json, bench.photos, bench."),
        (["data.source=/a b/c=d"], """/a b/c=d, where '=' needs quotes; write "data.source='/a b/c=d'\""""),
        (
            ["data.source=a,b"],
            """a,b, where ',' parts several values for --multirun; add that, or write "data.source='""",
        ),
        (["--optim.lr=0.1"], "--optim.lr=0.1 is no option; write optim.lr=0.1"),
        (["optim.lr=fast"], "optim.lr is 'fast'; give a number"),
        (["training.batch_size=1.5"], "training.batch_size is '1.5'; give an integer"),
        (["data.mirror=maybe"], "data.mirror is 'maybe'; give true or false"),
        (["optim.lr=~3"], "optim.lr is ~3, where no '~' can be"),
        (["optim.lr"], "optim.lr has no value; write optim.lr=VALUE"),
        (["output_dir=~nobody.here/x"], "output_dir is ~nobody.here/x, and ~nobody.here is no home folder; write the"),
        (
            ["output_dir=~/x", "cluster.address=http://head"],
            "output_dir is ~/x, a home folder of this machine; write the",
        ),
        (["sampling=plain"], "sampling=plain has no effect: every ensemble member sets sampling"),
        (["name=a/b"], "name is 'a/b'"),
        (["checkpoint.copy_to=/proc/copies"], "checkpoint.copy_to: /proc/copies cannot be written to (No such file or"),
        (["data.image_size=16"], "data.image_size is 16; give at least 32"),
        (
            ["cluster.address=http://head"],
            "output_dir=runs, tracking.uri=sqlite:///mlflow.db: relative, and would be lost",
        ),
        (["cluster.address=http://head", "--config-dir", "/tmp"], "/tmp is a folder of configs of this machine only"),
    ],
)
def test_what_cannot_work_is_one_line(words: list[str], said: str, tmp_path: Path):
    members = any("member" in text for text in (*words, said))  # each takes Hydra a tenth of a second
    experiment = "+experiment=googlenet_ens" if members else "+experiment=googlenet"
    done = launched(experiment, "job=check", f"data.shards={tmp_path / 'none'}", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_check_says_what_is_there_and_what_does_not_answer(tmp_path: Path, digits_data: DataConfig):
    words = ["job=check", f"data.shards={digits_data.shards}", f"output_dir={tmp_path}", "name=mine"]
    done = launched("+experiment=googlenet", *words, "tracking.uri=http://me:hunter2@127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "warning: no MLflow answers at http://127.0.0.1:9 ([Errno 111] Connection refused); until one" in done.stdout
    assert "finished already" not in done.stdout
    experiment, _ = experiment_of("+experiment=googlenet", *words)
    ExperimentFolder(experiment.folder).open(experiment, read_index(digits_data.shards))
    assert "\n0 of 1 member(s) are finished already" in launched("+experiment=googlenet", *words).stdout
    other = launched("+experiment=googlenet", *words, "optim.lr=0.5")
    assert other.returncode == 2
    assert other.stderr == (
        "error: mine was run with another config (optim.lr: 0.03 -> 0.5); give it another name=, or fresh=true to "
        "start anew\n"
    )
    assert "moves what is in" in launched("+experiment=googlenet", *words, "optim.lr=0.5", "fresh=true").stdout


def test_check_refuses_another_sweep_than_the_one_that_was_begun(tmp_path: Path, digits_data: DataConfig):
    words = ["+experiment=googlenet", f"data.shards={digits_data.shards}", f"output_dir={tmp_path}", "name=swept"]
    space = "+sweep.space={optim.lr:[0.01,0.02]}"
    experiment, _ = experiment_of(*words, "job=sweep", space)
    index, identity = read_index(digits_data.shards), sweep_identity(experiment.config.sweep)
    ExperimentFolder(experiment.folder).open(experiment, index, identity)
    same = launched(*words, "job=check", space)
    assert "it was begun before: the same command goes on" in same.stdout, same.stderr
    for others in ([space.replace("0.02", "0.03")], []):
        refused = launched(*words, "job=check", *others)
        assert refused.returncode == 2
        assert "swept was run with another config (sweep" in refused.stderr


@pytest.mark.slow
def test_errors_of_every_job_come_before_torch_ray_and_mlflow(tmp_path: Path):
    places = [f"data.shards={tmp_path / 'none'}", f"output_dir={tmp_path / 'runs'}"]
    lines = [
        ["+experiment=nope"],
        ["+experiment=googlenet", "optim.lrr=1"],
        ["+experiment=googlenet", "optim.lr=-1"],
        ["+experiment=googlenet", "optim.lr=~3"],
        ["+experiment=googlenet_ens", "sampling=plain"],
        ["+experiment=googlenet_ens", "+ensemble.members.x=['model.widht=2']"],
        ["job=ensemble"],
        ["+experiment=googlenet_ens", "data.classes=11"],
        ["+experiment=googlenet_ens", "cluster.cpus_per_worker=1000"],
        ["+experiment=googlenet", "training.batch_size=8000"],
        ["+experiment=googlenet", "data.source=/nowhere"],
        ["+experiment=googlenet", "checkpoint.copy_to=/proc/copies"],
        ["+experiment=googlenet", "cluster.address=http://head"],
        ["+experiment=googlenet", "cluster=kuberay", "output_dir=/nowhere"],
        ["+experiment=sampling_schedule_sweep", "data.classes=11"],
        ["+experiment=sampling_schedule_sweep", "+sweep.space={optim.lrr: [1, 2]}"],
        ["+experiment=sampling_schedule_sweep", "checkpoint.copy_to=/proc/copies"],
        ["job=evaluate", "+experiment=googlenet"],
        ["job=promote"],
        ["job=promote", "promote.sweep=/nowhere"],
        ["job=predict"],
        ["job=predict", "predict.images=/nowhere"],
        ["job=predict", "predict.images=jobs/check.py"],  # of a run that is not there
        ["job=predict", "predict.images=jobs/check.py", "predict.model=/nowhere"],
        ["job=predict", "predict.images=jobs/check.py", "predict.output=/proc/x.csv"],
        ["job=predict", "predict.images=jobs/check.py", "predict.model=models:/x@y", "tracking.uri=sqlite:////no/m.db"],
        ["job=predict", "predict.images=jobs/check.py", "predict.model=models:x", "tracking.uri=sqlite:////no/m.db"],
        ["job=serve", "serve.port=0"],
        ["job=pack", "data.source=/nowhere"],
        ["job=pack", "pack.action=verify"],
    ]
    for line, status, stdout, stderr, imported in in_a_process_of_their_own(*[[*places, *line] for line in lines]):
        assert status == 2, (line, stdout)
        assert len(stderr.strip().splitlines()) == 1, (line, stderr)
        assert imported == [], line


def test_an_unknown_experiment_names_the_known_ones():
    done = launched("+experiment=googlenet_enx")
    assert done.returncode == 2
    assert (
        done.stderr.strip() == f"error: experiment=googlenet_enx does not exist; choose one of {', '.join(EXPERIMENTS)}"
    )


@pytest.mark.slow
def test_check_prints_the_plan_and_writes_nothing(tmp_path: Path):
    done = launched(
        "+experiment=googlenet_ens", "job=check", f"data.shards={tmp_path / 'd'}", f"output_dir={tmp_path / 'r'}"
    )
    assert done.returncode == 0, done.stderr
    for word in ("1438 training and 359 validation", "144 views", "wider", "googlenet x1.25", "photometric"):
        assert word in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_check_imports_neither_torch_nor_ray_but_for_networks_of_torchvision(digits_data: DataConfig, tmp_path: Path):
    places = (digits_data.shards, str(tmp_path / "none"))
    lines = [
        ["job=check", f"data.shards={place}", f"+experiment={name}"] for place in places for name in OF_OWN_NETWORKS
    ]
    for line, status, stdout, stderr, imported in in_a_process_of_their_own(*lines, ["job=check", "model=resnet50"]):
        assert status == 0, (line, stderr)
        assert "multi_scale           googlenet  " in stdout or "googlenet_ens" not in line[-1], line
        assert imported == (["torch", "torchvision"] if "model=resnet50" in line else []), line


@pytest.mark.slow
def test_a_range_of_workers_is_given_on_the_command_line(digits_data):
    words = ["+experiment=googlenet_ens", f"data.shards={digits_data.shards}", "cluster.workers={min:1,max:3}"]
    assert "  workers:\n    min: 1\n    max: 3\n" in launched(*words, "--cfg", "job").stdout
    done = launched(*words, "job=check")
    assert "batch       32 images: 1 to 3 worker(s) x 8 to 32" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_missing_shard_is_named(digits_data, tmp_path: Path):
    import shutil

    shards = tmp_path / "shards"
    shutil.copytree(digits_data.shards, shards)
    (shards / "train-000001.tar").unlink()
    done = launched("+experiment=googlenet", "job=check", f"data.shards={shards}")
    assert done.returncode == 2
    assert "train-000001.tar is missing" in done.stderr


@pytest.mark.slow
def test_mlflows_own_variables_are_obeyed_and_said_unless_something_is_chosen(tmp_path: Path):
    place = f"output_dir={tmp_path}"
    own = {"MLFLOW_TRACKING_URI": "http://me:hunter2@mlflow:5000", "MLFLOW_EXPERIMENT_NAME": "theirs"}
    done = launched("job=check", place, MLFLOW_EXPERIMENT_ID="7", **own)
    assert done.returncode == 0, done.stderr
    assert "MLFLOW_EXPERIMENT_ID is not used: tracking.experiment is theirs; give the experiment's name" in done.stdout
    assert "tracking.uri is http://me:***@mlflow:5000, of MLFLOW_TRACKING_URI; tracking.uri=... on the" in done.stdout
    assert "tracking    http://me:***@mlflow:5000, MLflow experiment theirs" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    done = launched("job=check", place, "tracking.uri=sqlite:///mine.db", "tracking.experiment=mine", **own)
    assert "tracking    sqlite:///mine.db, MLflow experiment mine" in done.stdout
    assert "MLFLOW_" not in done.stdout


@pytest.mark.slow
def test_a_rayjob_gets_what_mlflows_variables_say_here(tmp_path: Path):
    words = ["+experiment=googlenet", "cluster=kuberay", f"cluster.render_to={tmp_path / 'job.yaml'}", "name=one"]
    done = launched(*words, MLFLOW_TRACKING_URI="http://tracking.example:5000")
    assert done.returncode == 0, done.stderr
    assert "http://tracking.example:5000" in (tmp_path / "job.yaml").read_text()
    done = launched(*words, MLFLOW_TRACKING_URI="http://me:hunter2@tracking.example:5000")
    assert done.returncode == 2
    assert "tracking.uri holds a password or token, and a manifest is no place for one" in done.stderr


@pytest.mark.slow
def test_a_password_leaves_the_command_line_at_once(tmp_path: Path):
    """Process lists, Ray's dashboard and Hydra's multirun.yaml have it from there."""
    words = ["job=check", f"output_dir={tmp_path}", "tracking.uri=http://me:hunter2@mlflow", "seed=1,2", "--multirun"]
    done = process(*words)
    assert done.returncode == 0, done.stderr
    assert "tracking    http://me:***@mlflow" in done.stdout
    written = (tmp_path / ".multirun" / "multirun.yaml").read_text()
    assert "tracking.uri=http://me:***@mlflow" in written
    assert "hunter2" not in done.stdout + done.stderr + written


@pytest.mark.slow
def test_names_are_what_was_typed_and_paths_may_begin_at_home(tmp_path: Path):
    words = ["job=check", "name=2024_11_28", "tracking.experiment=1.10", "tracking.uri=sqlite:///~/m.db"]
    done = launched(*words, "output_dir=~/my runs", "data.shards='~/s'", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "experiment  2024_11_28\n" in done.stdout
    assert f"results     {tmp_path}/my runs/2024_11_28\n" in done.stdout
    assert f"shards      {tmp_path}/s " in done.stdout
    assert f"tracking    sqlite:///{tmp_path}/m.db, MLflow experiment 1.10\n" in done.stdout


@pytest.mark.slow
def test_several_names_are_what_was_typed(tmp_path: Path):
    done = launched("job=check", f"output_dir={tmp_path}", "name=1.10,1.1,v2", "--multirun")
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("experiment ")] == [
        "1.10",
        "1.1",
        "v2",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, r"Gr\xf6\xdfe\u2083"),
        ({"PYTHONIOENCODING": "latin-1"}, r"Größe\u2083"),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}, r"Gr\xf6\xdfe\u2083"),
    ],
)
def test_what_standard_output_cannot_show_is_escaped(settings: dict[str, str], shown: str, tmp_path: Path):
    command = [sys.executable, "-m", "platform.launch", "job=check", "name='Größe₃'", f"output_dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=600, check=False, env=os.environ | settings)
    assert done.returncode == 0, done.stderr
    assert f"experiment  {shown}\n".encode("latin-1") in done.stdout
    done = subprocess.run([*command, "Ümlaut=₃"], cwd=ROOT, capture_output=True, timeout=600, env=os.environ | settings)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert b"mlaut" in done.stderr
