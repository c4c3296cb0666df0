"""k8s/upgrades.md: its commands name what there is, with the versions of the other pages, in an order that ends."""

import re
import shlex
from pathlib import Path

import pytest

from platform.checkout import ROOT
from tests.kube.components import with_component
from tests.kube.overlays import FOLDERS, Build
from tests.kube.reach import selects

PAGE = (ROOT / "k8s" / "upgrades.md").read_text()
README = (ROOT / "k8s" / "README.md").read_text()


def commands(text: str = PAGE) -> list[list[str]]:
    blocks = re.findall(r"^```\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"`((?:kubectl|helm) [^`]+)`", text)
    return [shlex.split(line, comments=True) for line in lines if "install ..." not in line]


@pytest.fixture
def built(tmp_path: Path) -> Build:
    return with_component("gpu", "backup", tmp_path)


def test_what_commands_name_is_there(built: Build) -> None:
    there = {(each["kind"].lower(), each["metadata"]["name"]) for each in built.objects}
    made = {("job", words[words.index("job") + 1]) for words in commands() if "create" in words}
    named = [
        tuple(word.removeprefix("--from=").split("/"))
        for words in commands()
        for word in words
        if re.fullmatch(r"(--from=)?(deployment|cronjob|job|statefulset)/[\w-]+", word)
    ]
    assert len(named) > 10
    outside = {("deployment", "kuberay-operator")}
    assert {each for each in named if each not in there | made | outside} == set()


def test_overlays_of_commands_are_there() -> None:
    folders = [words[words.index("-k") + 1] for words in commands() if "-k" in words]
    assert {each for each in folders if not each.startswith("github.com/")} <= {
        "k8s/overlays/ours",  # the clouds' page writes it, with the component backup
        *(folder.relative_to(ROOT).as_posix() for folder in FOLDERS.values()),
    }
    assert (ROOT / "k8s" / "components" / "backup" / "kustomization.yaml").exists()


def test_the_servers_that_are_waited_for_are_those_of_the_deployment(built: Build) -> None:
    (words,) = [words for words in commands() if "--for=delete" in words]
    selector = {"matchLabels": dict(each.split("=") for each in words[words.index("-l") + 1].split(","))}
    server = built.one("Deployment", "mlflow")["spec"]["template"]["metadata"]["labels"]
    assert selects(selector, server)
    for each in built.of("CronJob"):  # or the wait would be for the backup itself
        assert not selects(selector, each["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"])


def test_a_wait_for_a_job_ends_when_it_fails_too_and_its_end_is_looked_at() -> None:
    made = {words[words.index("job") + 1] for words in commands() if "create" in words}
    assert len(made) == 4
    for name in made:
        about = [words for words in commands() if f"job/{name}" in words]
        assert [words[3] for words in about] == ["wait", "get"]
        assert "--for=jsonpath={.status.conditions[0].type}" in about[0]


def test_servers_stay_away_while_databases_are_restored() -> None:
    chapter = PAGE.partition("\n## Restore")[2].partition("\n## ")[0]
    order = ["--replicas=0", "--for=delete", "create job restore-now", "get job/restore-now", "apply -k"]
    places = [chapter.index(each) for each in order]
    assert places == sorted(places)
    assert "--replicas=2" not in PAGE, "the overlay says how many"


def test_an_older_backup_is_named_where_the_job_reads_it(built: Build) -> None:
    (words,) = [words for words in commands() if words[3:5] == ["set", "env"]]
    spec = built.one("CronJob", "restore")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = [each for each in spec["containers"] if each["name"] == words[words.index("-c") + 1]]
    assert {each["name"]: each["value"] for each in container["env"]}["OF"] == "newest"
    assert words[-1].startswith("OF=")


def test_there_is_one_version_of_kuberay() -> None:
    installed = set(re.findall(r"kuberay-operator --version ([\d.]+)", README))
    assert installed
    assert set(re.findall(r"kuberay-operator --version ([\d.]+)", PAGE)) == installed
    assert set(re.findall(r"config/crd\?ref=v([\d.]+)", PAGE)) == installed


def test_definitions_come_before_the_operator_and_are_never_applied_by_the_client() -> None:
    chapter = PAGE.partition("\n## KubeRay")[2].partition("\n## ")[0]
    assert chapter.index("config/crd?ref=") < chapter.index("helm upgrade")
    for words in commands():
        if "apply" in words and any("config/crd" in word for word in words):
            assert "--server-side" in words


def test_in_the_end_what_has_finalizers_goes_while_its_operator_is_there() -> None:
    chapter = PAGE.partition("\n## The end")[2]
    order = [
        "job/backup-last", "delete raycronjobs,rayjobs,rayclusters", "delete workloads", "delete -k k8s/overlays",
        "helm uninstall kuberay-operator", 'delete -k "github.com/ray-project/kuberay',
        "delete namespace kuberay-system",
    ]  # fmt: skip
    places = [chapter.index(each) for each in order]
    assert places == sorted(places)


def test_both_pages_end_jobs_by_the_same_line_and_say_what_an_unknown_kind_means() -> None:
    line = "kubectl -n platform delete raycronjobs,rayjobs,rayclusters --all --timeout=10m\n"
    for text in (PAGE.partition("\n## The end")[2], README.partition("\n## 11. End it")[2]):
        assert text.index(line) < text.index("kubectl delete -k k8s/overlays") < text.index("helm uninstall kuberay")
        assert text.count(" delete ray") == 1
        assert "Without a definition" in text
        assert "does not know the kind" in text


def test_every_link_of_the_page_leads_somewhere() -> None:
    for page in (ROOT / "k8s" / "upgrades.md", ROOT / "k8s" / "image" / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), target
        anchors = {
            re.sub(r"[^\w -]", "", each).lower().replace(" ", "-")
            for each in re.findall(r"^#+ (.*)$", page.read_text(), re.M)
        }
        assert set(re.findall(r"\]\(#([\w-]+)\)", page.read_text())) <= anchors
