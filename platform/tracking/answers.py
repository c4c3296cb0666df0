"""What an MLflow server answers to one small request, made as MLflow's client makes its own.

In: an address. Out: the status. MLflow itself takes seconds to import.
"""

from http.client import HTTPException

from platform.text import printable

TIMEOUT_S = 5.0


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
        with requests.get(address, **asked) as answer:
            return answer.status_code
    except (OSError, ValueError) as error:  # ValueError: no address at all
        raise OSError(_reason(error)) from None


def _reason(error: BaseException) -> str:
    """What the first of a chain of errors says: those of `requests` and `urllib3` repeat it with more words."""
    while below := error.__cause__ or error.__context__:
        error = below
    if isinstance(error, HTTPException):
        return f"what answers is no HTTP server: {printable(str(error))[:60]}"
    return printable(str(error))
