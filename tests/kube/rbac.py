"""Role-based access as an API server decides it: which rights a request takes, and whether a Role's rules give it.

In: rules of a Role, a request. Out: allowed or not, with the server's own message.
"""

from dataclasses import dataclass
from typing import Any

import yaml

from platform.checkout import ROOT

COMPONENTS = ROOT / "k8s" / "components"
Rules = list[dict[str, Any]]


@dataclass(frozen=True, order=True)
class Right:
    """What a request takes."""

    group: str  # of the API; "" is Kubernetes' own
    resource: str  # with its subresource: pods/log
    verb: str

    def refusal(self, user: str, namespace: str, name: str | None) -> str:
        """The message of a 403."""
        what = f"{self.resource.partition('/')[0]}{f'.{self.group}' if self.group else ''}"
        return (
            f'{what}{f" {name!r}".replace(chr(39), chr(34)) if name else ""} is forbidden: User "{user}" cannot '
            f'{self.verb} resource "{self.resource}" in API group "{self.group}" in the namespace "{namespace}"'
        )


def role(component: str = "submitters") -> dict[str, Any]:
    """The Role for people who submit, or another component's."""
    return yaml.safe_load((COMPONENTS / component / "role.yaml").read_text())


def queue_role() -> dict[str, Any]:
    """The same where there is a queue: with what components/submitters-queue adds."""
    (patch,) = yaml.safe_load((COMPONENTS / "submitters-queue" / "kustomization.yaml").read_text())["patches"]
    (added,) = yaml.safe_load(patch["patch"])
    assert (added["op"], added["path"]) == ("add", "/rules/-")
    return (given := role()) | {"rules": [*given["rules"], added["value"]]}


def rights(rules: Rules) -> set[Right]:
    """All that the rules give, one by one."""
    return {
        Right(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
