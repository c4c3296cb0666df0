"""Whether an MLflow server takes the user and password that are given, asked before anything is trained.

In: the tracking settings. Out: nothing, or an error in one line. A server that is away is another matter: the journal
waits for it.
"""

import base64
import contextlib
import os
from urllib.parse import quote, unquote, urlsplit

from platform.config.checks import ConfigError
from platform.config.tracking import TrackingConfig
from platform.redaction import unsealed
from platform.tracking.answers import status_of
from platform.tracking.links import server_of

NO_USER, NO_PERMISSION = 401, 403
USER, PASSWORD, TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"


def require_account(tracking: TrackingConfig) -> None:
    """Ask the server of `tracking.uri` for its experiment.

    Raises:
        ConfigError: it refuses the user and password, or the user may not read.
    """
    status = _status(tracking)
    if status == NO_USER and not _is_given(tracking):
        from platform.tracking.mlflow_connection import takes_account  # it knows of more places to keep an account in

        status = None if takes_account(tracking) else status
    if status == NO_USER:
        raise ConfigError(
            f"MLflow at {tracking.uri} {'refuses user and password' if _is_given(tracking) else 'wants an account'} "
            f"(status {status}); give user and password in {USER} and {PASSWORD}"
        )
    if status == NO_PERMISSION:
        raise ConfigError(
            f"MLflow at {tracking.uri} does not let this user read its experiment {tracking.experiment} (status "
            f"{status}); ask who runs it for the permission EDIT, or give another tracking.experiment"
        )


def _status(tracking: TrackingConfig) -> int | None:
    """What the server answers; None: nothing, or it is no server."""
    if not (server := server_of(tracking.uri)):
        return None
    asked = f"{server}/api/2.0/mlflow/experiments/get-by-name?experiment_name={quote(tracking.experiment, safe='')}"
    with contextlib.suppress(OSError):
        return status_of(asked, _headers(tracking))
    return None


def _is_given(tracking: TrackingConfig) -> bool:
    return bool(_headers(tracking))


def _headers(tracking: TrackingConfig) -> dict[str, str]:
    """As MLflow sends them: the account in the address, of which `requests` makes a header, else the variables'."""
    parts = urlsplit(unsealed(tracking.uri))
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user:
        user, password = os.environ.get(USER, ""), os.environ.get(PASSWORD, "")
    if user and password:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    token = os.environ.get(TOKEN)
    return {"Authorization": f"Bearer {token}"} if token else {}
