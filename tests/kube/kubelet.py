"""What a node does with the pod of `job=check`: it runs the command here, with this interpreter and a folder as volume.

In: a pod as the API server has it. Out: its phase and its log in the store.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.kube.apistore import ApiStore, Object, Pod


class Kubelet:
    """`volumes` are folders by claim, `services` addresses by HOST:PORT, `secrets` entries by name."""

    def __init__(
        self,
        store: ApiStore,
        *,
        volumes: Mapping[str, Path],
        services: Mapping[str, str],
        secrets: Mapping[str, Mapping[str, str]],
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._store, self._volumes, self.services = store, volumes, services
        self.secrets, self.variables = secrets, variables or {}

    def __call__(self, pod: Pod) -> None:
        spec, meta = pod.object["spec"], pod.object["metadata"]
        (container,) = spec["containers"]
        words = [sys.executable, *self._words(spec, container)[1:]]
        environment = {"PATH": os.environ["PATH"], **self._environment(container)}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
        for line in [*done.stderr.splitlines(), *done.stdout.splitlines()]:
            self._store.append_log(meta["name"], line, meta["namespace"])
        phase = "Succeeded" if done.returncode == 0 else "Failed"
        self._store.set_pod(meta["name"], meta["namespace"], phase=phase)

    def _words(self, spec: Object, container: Object) -> list[str]:
        """The command, with the paths and addresses of this machine in its questions."""
        *words, questions = container["command"]
        assert words[0] == "python"
        asked = json.loads(questions)
        claims = {volume["name"]: volume.get("persistentVolumeClaim") for volume in spec["volumes"]}
        for mount in container["volumeMounts"]:
            if (claim := claims[mount["name"]]) and asked["folder"] == mount["mountPath"]:
                asked["folder"] = str(self._volumes[claim["claimName"]])
        for name, address in self.services.items():
            asked["mlflow"] = asked["mlflow"].replace(f"://{name}", f"://{address}")
        return [*words, json.dumps(asked)]

    def _environment(self, container: Object) -> dict[str, str]:
        """`env` wins over `envFrom`, as in Kubernetes."""
        environment: dict[str, str] = {}
        for source in container["envFrom"]:
            environment |= self.secrets.get(source["secretRef"]["name"], {})
        return environment | {each["name"]: each["value"] for each in container["env"]} | dict(self.variables)
