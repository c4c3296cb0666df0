"""What an API server says to an object of Kubernetes' own kinds: the schemas of one version, unknown fields refused."""

from typing import Any

import kubernetes_validate

from tests.kube.names import field

KUBERNETES = "1.34"  # the namespace's Pod Security names the same


def errors(manifest: dict[str, Any]) -> list[str]:
    """Lines `field is VALUE; why`. KeyError for a kind that Kubernetes does not have."""
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError as error:
        raise KeyError(f"{manifest.get('apiVersion')} {manifest.get('kind')} is no kind of Kubernetes") from error
    except kubernetes_validate.ValidationError as error:
        return [f"{field(tuple(error.path)) or 'the object'} is wrong; {error.message}"]
    return []
