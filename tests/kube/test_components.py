"""What an overlay of one's own adds: every component goes onto a cloud's, and nothing is wrong with the result."""

from pathlib import Path

import pytest

from platform.checkout import ROOT
from tests.kube.lint import WITHOUT_NAMESPACE, findings, whole_findings
from tests.kube.overlays import ADDRESS, build, on_top

COMPONENTS = sorted(path.name for path in (ROOT / "k8s" / "components").iterdir())
NAME = {"name": "mlflow-address", "namespace": "platform", "literals": [f"{key}={ADDRESS[key]}" for key in ADDRESS]}
BELOW = {"files-on-volume": "gpu", "backup-files-on-volume": "aks", "queue-aks": "aks"}  # the others: eks
IMAGES = {"prepull": [{"name": "platform", "newName": "registry.test/platform"}]}  # as their heads say
AFTER = {"topology": ["queue", "topology"]}  # it patches what the other brings


@pytest.mark.slow
@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_goes_onto_an_overlay_that_sets_no_namespace(component: str, tmp_path: Path):
    below = BELOW.get(component, "eks")
    more = {"configMapGenerator": [NAME], "images": IMAGES.get(component, [])}
    result = on_top(below, tmp_path, components=AFTER.get(component, [component]), **more)
    assert [line for each in result.objects for line in findings(each, component)] == []
    assert whole_findings(result.objects, component) == []
    before = {(each["kind"], each["metadata"]["name"]) for each in build(below).objects}
    new = [each for each in result.objects if (each["kind"], each["metadata"]["name"]) not in before]
    assert len(new) > 1, "the address, and what the component brings"
    for each in new:
        inside = each["kind"] not in WITHOUT_NAMESPACE
        assert each["metadata"].get("namespace") == ("platform" if inside else None), each["metadata"]["name"]
