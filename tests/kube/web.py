"""What an HTTP server answers."""

import urllib.error
import urllib.request


def status(
    url: str, user: str | None = None, password: str = "", body: bytes | None = None, **headers: str
) -> int | None:
    """HTTP status of a GET, or of a POST with this JSON; None where nobody listens."""
    if body is not None:
        headers["Content-Type"] = "application/json"
    passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
    if user:
        passwords.add_password(None, url, user, password, is_authenticated=True)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
    try:
        with opener.open(urllib.request.Request(url, body, headers), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
