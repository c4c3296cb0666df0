"""The pages for whoever runs a cluster: kubectl takes every command, and what they name is there."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform.checkout import ROOT
from tests.docs.pages import PAGES, fenced, inline
from tests.kube import builtin
from tests.kube.lint import findings, whole_findings
from tests.kube.overlays import build, built, on_top
from tests.kube.pods import pods

OURS = [
    *sorted((ROOT / "k8s").rglob("*.md")),
    *(page for page in PAGES if re.match("kubernetes|gpu|monitoring|clusters|failures", page.name)),
]
# An API server that is not there, and nobody's login.
NOBODY = ["--kubeconfig=/dev/null", "--server=https://127.0.0.1:1", "--token=none", "--request-timeout=5s"]
FRAGMENTS = ("kubectl apply -k", "kubectl apply --server-side -f", "kubectl delete rayjob")  # of sentences
OVERLAY = "k8s/overlays/ours"  # the reader's
STAND_INS = {"NAME": "mine", "DIR": "k8s/overlays/dev", "FILE": "pyproject.toml", "HOST": "mlflow.example.com"} | {
    "TRAIN": "docs",
    "VAL": "docs",
}


def kubectl_commands() -> list[str]:
    """Of blocks and sentences, whole, without comments and placeholders; where others come behind a pipe, the first."""
    found = {}
    for page in OURS:
        text = page.read_text(encoding="utf-8")
        lines = [line for code in fenced(text) for line in code.replace("\\\n", " ").splitlines()] + inline(text)
        for line in lines:
            words = shlex.split(line.strip().replace("$(openssl rand -hex 32)", "0" * 64), comments=True)
            if "|" in words:  # kubectl is at one of its ends
                pipe = words.index("|")
                words = words[:pipe] if words[0] == "kubectl" else words[pipe + 1 :]
            if "github.com" in line:  # it would be fetched
                continue
            if words[:1] == ["kubectl"] and len(words) > 2 and shlex.join(words) not in FRAGMENTS:
                filled = [
                    re.sub(r"\b[A-Z]{3,}\b", lambda match: STAND_INS.get(match[0], match[0]), each) for each in words
                ]
                found[shlex.join(filled).replace(OVERLAY, "k8s/overlays/gke")] = None
    return list(found)


COMMANDS = kubectl_commands()


def test_the_pages_have_commands():
    assert len(COMMANDS) > 20
    names = {page.relative_to(ROOT).as_posix() for page in OURS}
    assert names >= {
        "k8s/README.md",
        "k8s/upgrades.md",
        "k8s/image/README.md",
        "docs/monitoring.md",
        "docs/clusters.md",
    }


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_kubectl_takes_a_command(command: str):
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl on this machine")
    words = shlex.split(command)
    local = "kustomize" in words[:2] or "--local" in words
    if "create" in words and not any(word.startswith("--from=") for word in words):
        words, local = [*words, "--dry-run=client", "--output=yaml"], True
    if words[1:5] == ["-n", "platform", "create", "secret"] and "tls" in words:
        pytest.skip("wants a certificate and its key")
    whole = words if local else [words[0], *NOBODY, *words[1:]]
    done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if local:
        assert done.returncode == 0, done.stderr
    else:  # it has understood all of it, and asks the server
        assert re.search("connection refused|connection to the server .* was refused", done.stderr), done.stderr


def test_objects_that_commands_name_are_there():
    there = {(each["kind"].lower(), each["metadata"]["name"]) for each in build("kind").objects}
    kinds = {"deploy": "deployment", "svc": "service"}
    for command in COMMANDS:
        if "-n kuberay-system" in command:
            continue
        for kind, name in re.findall(r" (deploy|deployment|svc|statefulset)/(\S+)", command):
            assert (kinds.get(kind, kind), name) in there, command
        for name in re.findall(r"-[fk] (k8s/\S+)", command):
            assert (ROOT / name).exists(), command


def test_scripts_that_commands_run_in_a_pod_are_mounted_there():
    pod = build("kind").one("Deployment", "mlflow")["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    assert {"name": "scripts", "mountPath": "/scripts", "readOnly": True} in server["volumeMounts"]
    files = build("kind").one("ConfigMap", "mlflow-scripts")["data"]
    scripts = {name for command in COMMANDS for name in re.findall(r" /scripts/(\S+)", command)}
    assert scripts
    assert scripts <= files.keys()


def test_jobs_have_an_account_of_their_own_before_the_first_of_them():
    text = (ROOT / "k8s" / "README.md").read_text(encoding="utf-8")
    made, account = text.index("create secret generic platform-credentials"), text.index("accounts.py add jobs")
    served, first_job = text.index("deployment/mlflow --timeout"), text.index("python -m platform.launch")
    assert served < account < made < first_job
    heads = [path.read_text(encoding="utf-8") for path in (ROOT / "k8s" / "overlays").glob("*/kustomization.yaml")]
    assert set(re.findall(r"MLFLOW_TRACKING_USERNAME=(\S+)", "".join([text, *heads]))) == {"jobs"}


def test_helm_knows_the_newest_versions_before_it_installs_one():
    for page in OURS:
        for code in fenced(page.read_text(encoding="utf-8")):
            if re.search(r"^helm (install|upgrade) [\w-]+ (?!oci:)", code, re.M):  # a registry is asked each time
                assert re.search("^helm repo update\n(?:.*\n)*?helm (install|upgrade)", code, re.M), page.name


@pytest.mark.parametrize("overlay", ["eks", "gke"])
@pytest.mark.slow
def test_patches_of_the_clouds_page_reach_what_they_are_for(overlay: str, tmp_path: Path):
    (page,) = [page for page in OURS if page.name == "kubernetes-clouds.md"]
    blocks = [code for code in fenced(page.read_text(encoding="utf-8")) if code.startswith("patches:")]
    patches = [each for code in blocks for each in yaml.safe_load(code)["patches"]]
    if overlay != "eks":
        patches = [each for each in patches if "imagePullSecrets" in each["patch"]]
    result = on_top(overlay, tmp_path, components=["backup", "prepull"], patches=patches)
    accounts = {each["metadata"]["name"]: each for each in result.of("ServiceAccount")}
    assert accounts.keys() >= {"platform-head", "platform-worker", "mlflow", "prepull"}
    assert {str(each["imagePullSecrets"]) for each in accounts.values()} == {"[{'name': 'registry'}]"}
    if overlay == "eks":
        assert not any("annotations" in each["metadata"] for each in accounts.values())
        agent = {"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}], "ports": [{"protocol": "TCP", "port": 80}]}
        opened = {
            each["metadata"]["name"] for each in result.of("NetworkPolicy") if agent in each["spec"].get("egress", [])
        }
        assert opened == {"mlflow-storage", "to-store"}
    assert [line for each in result.objects for line in findings(each, "ours")] == []


def test_the_pod_that_holds_the_volume_is_as_the_namespace_wants_it():
    (pod,) = yaml.safe_load_all((ROOT / "k8s" / "loader.yaml").read_text(encoding="utf-8"))
    assert builtin.errors(pod) == []
    assert findings(pod, "k8s/loader.yaml") == []
    base = build("base")
    assert pod["metadata"]["namespace"] == base.of("Namespace")[0]["metadata"]["name"]
    claims = {each["metadata"]["name"] for each in base.of("PersistentVolumeClaim")}
    assert {
        each["persistentVolumeClaim"]["claimName"] for each in pod["spec"]["volumes"] if "emptyDir" not in each
    } <= claims
    (container,) = pod["spec"]["containers"]
    places = {each["mountPath"] for each in container["volumeMounts"]}
    head = re.findall(r"^# +((?:kubectl|tar) .*)$", (ROOT / "k8s" / "loader.yaml").read_text(encoding="utf-8"), re.M)
    (steps,) = [code for code in fenced((ROOT / "k8s" / "README.md").read_text(encoding="utf-8")) if "tar -C" in code]
    assert head == steps.splitlines(), "its head and step 6"
    copied = re.findall(r"exec -i (\S+) -- tar -C (\S+) -xf -", "\n".join(COMMANDS))
    assert copied
    for name, path in copied:
        assert name == pod["metadata"]["name"]
        assert container["workingDir"] in places
        assert f"{path}/".startswith("images/"), "data.source=images, as the page says"


def test_every_secret_of_the_overlays_is_in_the_table():
    text = (ROOT / "k8s" / "README.md").read_text(encoding="utf-8")
    for overlay in ("dev", "gpu", "gke", "eks", "aks"):
        head = (ROOT / "k8s" / "overlays" / overlay / "kustomization.yaml").read_text(encoding="utf-8")
        for name in re.findall(r"create secret generic ([\w-]+)", head):
            assert f"| `{name}` |" in text, name


@pytest.mark.parametrize(("overlays", "number"), [(("dev", "kind"), 0), (("gpu", "queue", "gke", "eks", "aks"), 1)])
def test_a_block_of_step_3_makes_what_its_overlays_ask_for_and_no_more(overlays: tuple[str, ...], number: int):
    """By its comments: a line that names overlays is for these alone."""
    step = (ROOT / "k8s" / "README.md").read_text(encoding="utf-8").partition("\n## 3. ")[2].partition("\n## 4. ")[0]
    block = fenced(step)[number].replace("\\\n", " ")
    for overlay in overlays:
        lines = [each.partition("#") for each in block.splitlines()]
        mine = "\n".join(line for line, _, only in lines if not only or overlay in re.findall(r"\w+", only))
        made = set(re.findall(r"create (?:secret generic|configmap) ([\w-]+)", mine))
        built = build(overlay)
        asked = {name for each in built.objects for name in named_from_outside(each)}
        asked -= {each["metadata"]["name"] for each in built.of("ConfigMap")}
        assert asked - {"mlflow-store"} <= made <= asked, overlay
        assert ("mlflow-store" in made) is (overlay not in ("gke", "eks", "aks")), overlay  # these have identities


def named_from_outside(manifest: dict[str, Any]) -> Iterator[str]:
    """Secrets and ConfigMaps that an object's pods take their environment from."""
    for pod in pods(manifest):
        for container in [*pod.spec.get("initContainers", []), *pod.spec["containers"]]:
            for source in container.get("envFrom", []):
                yield from (each["name"] for each in source.values() if isinstance(each, dict))
            for variable in container.get("env", []):
                for reference in variable.get("valueFrom", {}).values():
                    if "name" in reference and "key" in reference:
                        yield reference["name"]


NAMED = re.compile(r"(?<![\w./-])(?:k8s|docs|tests|platform|conf|components|overlays|base)/[\w./-]+\.\w+")


def test_files_that_manifests_and_scripts_name_in_comments_are_there():
    files = [path for path in (ROOT / "k8s").rglob("*") if path.suffix in (".yaml", ".sh", ".py", ".sql", ".ini")]
    files += [ROOT / "Dockerfile", *(ROOT / ".github" / "workflows").glob("*.yml")]
    comments = {path: re.findall(r"(?:^|\s)(?:#|--) (.*)", path.read_text(encoding="utf-8")) for path in files}
    named = {(path, name) for path, lines in comments.items() for line in lines for name in NAMED.findall(line)}
    assert len(named) > 10
    missing = [each for each in named if not (ROOT / each[1]).exists() and not (ROOT / "k8s" / each[1]).exists()]
    assert missing == []


def test_folders_of_overlays_and_components_are_named():
    text = "\n".join(page.read_text(encoding="utf-8") for page in OURS)
    overlays = {path.name for path in (ROOT / "k8s" / "overlays").iterdir()}
    assert {name for name in overlays if f"`{name}`" not in text and f"overlays/{name}`" not in text} == set()
    components = {path.name for path in (ROOT / "k8s" / "components").iterdir()} - {"mlflow-host"}  # part of two others
    assert {name for name in components if f"`{name}`" not in text} == set()


@pytest.mark.slow
def test_the_overlay_of_ones_own_builds_and_nothing_is_wrong_with_it(tmp_path: Path):
    (page,) = [page for page in OURS if page.name == "kubernetes-clouds.md"]
    (text,) = [code for code in fenced(page.read_text(encoding="utf-8")) if "overlays/ours" in code]
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    ours = tmp_path / "k8s" / "overlays" / "ours"
    ours.mkdir()
    (ours / "kustomization.yaml").write_text(text.replace("REGISTRY", "registry.example.org"))
    assert yaml.safe_load(text)["resources"] == ["../gke"]
    result = built("ours", ours)
    assert [line for each in result.objects for line in findings(each, "ours")] == []
    assert whole_findings(result.objects, "ours") == []
    (puller,) = result.one("DaemonSet", "prepull")["spec"]["template"]["spec"]["containers"]
    assert puller["image"] == "registry.example.org/platform:0.1.0-ray2.60.0"
    assert {each["metadata"]["name"] for each in result.of("CronJob")} == {"backup", "restore"}, "upgrades.md uses them"
    assert result.one("ResourceQuota", "platform")["spec"]["hard"]["requests.nvidia.com/gpu"] == "16"
    server = result.one("Deployment", "mlflow")["spec"]["template"]["spec"]["containers"][0]
    assert server["image"].startswith("registry.example.org/platform-mlflow:")
    assert result.one("ConfigMap", "mlflow-site")["data"]["MLFLOW_ARTIFACTS_DESTINATION"] == "gs://ours/mlflow"
