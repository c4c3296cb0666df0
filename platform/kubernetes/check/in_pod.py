"""What the check's pod runs in the job's image, by its source: standard library only, as the image may be older.

In: a JSON of questions as the argument. Out: a JSON of answers on one line; of environment variables only names.
"""

import base64
import json
import os
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_TIMEOUT_S = 5.0


def main() -> None:
    """Answer the questions."""
    asked = json.loads(sys.argv[1])
    answers: dict[str, Any] = {"variables": [name for name in asked["variables"] if os.environ.get(name)]}
    if asked["folder"]:
        answers["folder"] = _not_writable(asked["folder"])
    if asked["mlflow"]:
        answers["mlflow"] = _status(asked["mlflow"])
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


def _status(address: str) -> int | str:
    """What a GET is answered with, or why there is no answer."""
    account = [os.environ.get("MLFLOW_TRACKING_" + each, "") for each in ("USERNAME", "PASSWORD")]
    request = urllib.request.Request(address)
    if all(account):
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(account).encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


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
