"""The component that brings the image to GPU nodes before the first job."""

from pathlib import Path

from platform.config.kubernetes import KubeConfig
from tests.kube import builtin
from tests.kube.components import brought
from tests.kube.lint import findings

MORE = "images: [{name: platform, newName: registry.test/platform, newTag: 0.1.0-abc}]\n"


def test_it_is_valid_and_holds_the_image_that_jobs_use(tmp_path: Path) -> None:
    plain, named = tmp_path / "plain", tmp_path / "named"
    plain.mkdir()
    named.mkdir()
    found = brought("gpu", "prepull", plain)
    assert [each["kind"] for each in found.objects] == ["ServiceAccount", "DaemonSet"]
    for each in found.objects:
        assert builtin.errors(each) == []
        assert findings(each, "prepull") == []
    pod = found.one("DaemonSet", "prepull")["spec"]["template"]
    assert [each["image"] for each in pod["spec"]["containers"]] == [KubeConfig().image]
    assert pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "platform"
    (container,) = brought("gpu", "prepull", named, MORE).one("DaemonSet", "prepull")["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["image"] == "registry.test/platform:0.1.0-abc"


def test_its_process_ends_at_once_with_the_pod(tmp_path: Path) -> None:
    """`command` would take the place of the image's init, and a sleep that is process 1 does not hear SIGTERM."""
    spec = brought("gpu", "prepull", tmp_path).one("DaemonSet", "prepull")["spec"]["template"]["spec"]
    assert all("command" not in container for container in spec["containers"])
