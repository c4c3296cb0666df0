"""What an MLflow server answers to one small request, made as MLflow's client makes its own.

In: an address. Out: the status. MLflow itself takes seconds to import.
"""

import os
import warnings
from http.client import HTTPException
from typing import Any

from platform.config.checks import ConfigError
from platform.text import printable

TIMEOUT_S = 5.0
INSECURE, TRUSTED = "MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH"
OWN = "MLFLOW_TRACKING_CLIENT_CERT_PATH"


class NoAnswer(ConfigError):
    """MLflow does not answer: what it was asked for can be done later as well."""


def status_of(address: str, headers: dict[str, str] | None = None) -> int:
    """The status that a GET is answered with. A redirect is not followed: its target must not see the account.

    Args:
        address: http://... or https://..., without user and password.
        headers: with the account.

    Raises:
        OSError: nothing answers there, or no HTTP server.
    """
    import requests  # a tenth of a second

    asked = {"headers": headers, "timeout": TIMEOUT_S, "allow_redirects": False, "stream": True}
    try:
        with warnings.catch_warnings(action="ignore"), requests.get(address, **asked, **_tls()) as answer:
            return answer.status_code
    except (OSError, ValueError) as error:  # ValueError: no address at all
        raise OSError(_reason(error)) from None


def _tls() -> dict[str, Any]:
    """Whose certificates are trusted, and our own, by MLflow's variables; `requests` reads REQUESTS_CA_BUNDLE."""
    is_checked = os.environ.get(INSECURE, "").lower() not in ("true", "1")
    return {"verify": os.environ.get(TRUSTED) or is_checked, "cert": os.environ.get(OWN) or None}


def _reason(error: BaseException) -> str:
    """What the first of a chain of errors says: those of `requests` and `urllib3` repeat it with more words."""
    while below := error.__cause__ or error.__context__:
        error = below
    if isinstance(error, HTTPException):
        return f"what answers is no HTTP server: {printable(str(error))[:60]}"
    return printable(str(error))
