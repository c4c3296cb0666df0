"""`make manifests`: writes k8s/jobs anew from the command lines that tests/kube/test_rayjob.py names."""

from platform.kubernetes import rendering
from tests.kube.rendered import on_kubernetes, render
from tests.kube.test_rayjob import COMMANDS, EXAMPLES

if __name__ == "__main__":
    for name, words in COMMANDS.items():
        text = rendering.text(render(*words), on_kubernetes(*words))
        (EXAMPLES / f"{name}.yaml").write_text(text)
