"""Which API server is meant, and how to log in to it.

In: a kubeconfig's context, or the pod this runs in. Out: a `Cluster`.
"""

import os
from pathlib import Path

import yaml
from kubernetes import config as kubeconfig
from kubernetes.client import ApiClient, Configuration
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME

from platform.config.checks import ConfigError
from platform.kubernetes.client import Cluster, Patience
from platform.text import first_line


def connect(context: str | None, patience: Patience) -> Cluster:
    """Read the kubeconfig; no request is sent yet.

    Args:
        context: of the kubeconfig; None: its current one, or the cluster of the pod this runs in.
        patience: time limits.

    Raises:
        ConfigError: there is no kubeconfig, or it cannot be used.
    """
    configuration = Configuration()
    path = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    there = any(Path(part).expanduser().is_file() for part in path.split(os.pathsep) if part)
    try:
        if there:
            kubeconfig.load_kube_config(path, context, configuration, persist_config=False)
        elif os.environ.get(SERVICE_HOST_ENV_NAME) and not context:
            kubeconfig.load_incluster_config(configuration)
        else:
            remedy = "set KUBECONFIG to the cluster's (cluster.render_to=FILE needs none)"
            raise ConfigError(f"there is no kubeconfig at {path}; {remedy}")
    except (ConfigException, yaml.YAMLError, OSError, TypeError, KeyError) as error:
        remedy = f"kubectl config get-contexts lists {'its contexts' if context else 'what is there'}"
        raise ConfigError(f"kubeconfig {path}: {first_line(error)}; {remedy}") from error
    configuration.retries = False  # pyright: ignore[reportAttributeAccessIssue]  # ours take minutes and say so
    configuration.connection_pool_maxsize = 4
    return Cluster(ApiClient(configuration), context, patience)
