"""The Deployment of an operator, KubeRay's or Kueue's: what its pods are started with.

In: the Deployment as a plain dict. Out: version, flags, feature gates, variables; the settings of its file.
"""

import posixpath
import re
from dataclasses import dataclass
from typing import Any

import yaml

from platform.kubernetes.check.live import CONFIG_MAPS, Live
from platform.kubernetes.client import Object
from platform.text import first_line

_MAIN = ("kuberay-operator", "manager")  # the container's name, with Helm and with kustomize


class Unread(Exception):
    """Why a file of settings tells nothing; the message is one line."""


@dataclass(frozen=True)
class Controller:
    """A Deployment that watches the cluster."""

    deployment: Object

    @property
    def namespace(self) -> str:
        """Where it lives."""
        return self.deployment["metadata"]["namespace"]

    @property
    def where(self) -> str:
        """Namespace and name, as kubectl takes them."""
        return f"-n {self.namespace} deployment/{self.deployment['metadata']['name']}"

    @property
    def template(self) -> Object:
        """Of its pods."""
        return self.deployment["spec"]["template"]

    @property
    def version(self) -> str | None:
        """The tag of its image; None: it is named by its digest."""
        tag = self._container["image"].partition("@")[0].rpartition("/")[2].partition(":")[2]
        return tag or None

    @property
    def release(self) -> tuple[int, int] | None:
        """The first two numbers of its version; None: the tag has none."""
        found = re.match(r"v?(\d+)\.(\d+)", self.version or "")
        return (int(found[1]), int(found[2])) if found else None

    @property
    def is_ready(self) -> bool:
        """Whether a pod of it is."""
        return bool((self.deployment.get("status") or {}).get("readyReplicas"))

    def flag(self, name: str) -> str | None:
        """The value of a flag, given as `--NAME=VALUE` or `--NAME VALUE`; "": without one; None: it is not given."""
        words = [*(self._container.get("command") or []), *(self._container.get("args") or [])]
        for number, word in enumerate(words):
            key, equals, value = str(word).lstrip("-").partition("=")
            if key == name and str(word).startswith("-"):
                after = str(words[number + 1]) if number + 1 < len(words) else ""
                return value if equals else ("" if after.startswith("-") else after)
        return None

    @property
    def gates(self) -> dict[str, bool]:
        """The feature gates of its command line."""
        said = [each.partition("=") for each in (self.flag("feature-gates") or "").split(",")]
        return {name.strip(): value.strip().lower() in ("true", "1", "t") for name, _, value in said if name.strip()}

    def variable(self, name: str) -> Object | None:
        """A variable of its environment as the Deployment has it, with `value` or `valueFrom`; None: it is not set."""
        return next((each for each in self._container.get("env") or [] if each.get("name") == name), None)

    @property
    def _container(self) -> Object:
        containers = self.template["spec"]["containers"]
        return next((each for each in containers if each.get("name") in _MAIN), containers[0])


def settings_of(live: Live, found: Controller, path: str) -> dict[str, Any]:
    """What its file of settings holds, from the ConfigMaps that its pods mount.

    Args:
        live: the cluster.
        found: whose.
        path: as its `--config` says.

    Raises:
        Hidden: the rights do not show it.
        Unread: it is not found or not understood.
    """
    name, texts = posixpath.basename(path), _config_maps(live, found)
    if name not in texts:
        raise Unread(f"its --config {path} is in no ConfigMap that {found.where} mounts")
    try:
        read = yaml.safe_load(texts[name])
    except yaml.YAMLError as error:
        raise Unread(f"its --config {path} is no YAML ({first_line(error)})") from None
    if not isinstance(read, dict):
        raise Unread(f"its --config {path} holds no settings")
    return read


def _config_maps(live: Live, found: Controller) -> dict[str, str]:
    """What the ConfigMaps that its pods mount hold, by key."""
    volumes = found.template["spec"].get("volumes") or []
    named = [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]
    held = [live.get(CONFIG_MAPS, name, found.namespace) for name in named]
    return {key: text for each in held for key, text in ((each or {}).get("data") or {}).items()}
