"""What the check's pod runs in the job's image, by its source: standard library only, as the image may be older.

In: a JSON of questions as the argument. Out: a JSON of answers on one line; of environment variables only names.
"""

import base64
import contextlib
import json
import os
import socket
import ssl
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT_S = 5.0
_MLFLOW = "MLFLOW_TRACKING_"  # of its client's variables, which the job's launcher reads as well


def main() -> None:
    """Answer the questions."""
    asked = json.loads(sys.argv[1])
    answers: dict[str, Any] = {"variables": [name for name in asked["variables"] if os.environ.get(name)]}
    if asked["folder"]:
        answers["folder"] = _not_writable(asked["folder"])
    if asked["mlflow"]:
        answers["mlflow"] = _mlflow(asked["mlflow"])
    if asked["closed"]:
        answers["closed"] = _is_closed(
            os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
        )
    print(json.dumps(answers), flush=True)


def _not_writable(folder: str) -> str:
    """Why no file can be made there; "": one can."""
    try:
        path = Path(folder) / f".check-{os.urandom(4).hex()}"
        path.touch()
        path.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return ""


class _NotFollowed(urllib.request.HTTPRedirectHandler):
    """A redirect is the answer: its target must not see the account, and a page to log in at is no MLflow."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """Make no request of it."""


def _mlflow(address: str) -> dict[str, Any]:
    """What a GET is answered with: `status`, `account` if one was given, `to` of a redirect; or `why` there is none."""
    header, account = _account()
    if not (header.isascii() and header.isprintable()):  # the library's own error would show it
        return {"why": f"the {account} has a line end or another character that no header may have"}
    request = urllib.request.Request(address, headers={"Authorization": header} if header else {})
    try:
        handlers = [
            _NotFollowed(),
            *([urllib.request.HTTPSHandler(context=_tls())] if address.startswith("https://") else []),
        ]
        with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT_S) as answer:
            return {"status": answer.status, "account": account}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "account": account, "to": _server(error.headers.get("Location") or "")}
    except HTTPException as error:
        return {"why": f"what answers is no HTTP server: {str(error)[:60]!r}"}
    except (OSError, ValueError) as error:
        return {"why": str(getattr(error, "reason", error))}


def _account() -> tuple[str, str]:
    """The header that MLflow's client makes of its variables, and what of; both "": none is given."""
    login = [os.environ.get(_MLFLOW + each, "") for each in ("USERNAME", "PASSWORD")]
    if all(login):
        return "Basic " + base64.b64encode(":".join(login).encode()).decode(), "account"
    bearer = os.environ.get(_MLFLOW + "TOKEN")
    return (f"Bearer {bearer}", "token") if bearer else ("", "")


def _tls() -> ssl.SSLContext:
    """Whose certificates are trusted, and our own, by the variables of MLflow's client and of `requests` below it."""
    at = trusted = os.environ.get(_MLFLOW + "SERVER_CERT_PATH")
    is_checked = bool(trusted) or os.environ.get(_MLFLOW + "INSECURE_TLS", "").lower() not in ("true", "1")
    if is_checked and not trusted:
        at = trusted = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or _usual()
    try:
        is_folder = trusted is not None and Path(trusted).is_dir()
        context = ssl.create_default_context(
            cafile=None if is_folder else trusted, capath=trusted if is_folder else None
        )
        if at := os.environ.get(_MLFLOW + "CLIENT_CERT_PATH"):
            context.load_cert_chain(at)
    except OSError as error:
        raise OSError(f"certificate {at}: {error.strerror or error}") from None
    if not is_checked:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _usual() -> str | None:
    """The certificates that `requests` trusts, where it is installed."""
    with contextlib.suppress(ImportError):
        import certifi

        return certifi.where()
    return None


def _server(address: str) -> str:
    """An address without its path and query, which may hold a secret; "": it names no server."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""


def _is_closed(host: str | None, port: str | None) -> bool | None:
    """Whether a connection that the policies do not allow is stopped; None: there is nothing to connect to."""
    if not host or not port:
        return None
    try:
        socket.create_connection((host, int(port)), _TIMEOUT_S).close()
    except OSError:
        return True
    return False


if __name__ == "__main__":
    main()
