"""Secrets of this process's environment, to be left out of logs.

In: texts of any origin. Out: the same without the secrets of URLs and without the values of variables that are called
a secret.
"""

import os
import re

from platform.redaction import MASK, redacted

_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|ACCESS_KEY|API_KEY|PRIVATE_KEY|CREDENTIAL|CONNECTION_STRING|KEY$|_PASS$"
    r"|_PWD$",  # MYSQL_PWD; PWD itself is the folder that a shell is in
    re.IGNORECASE,
)
_PLACE = re.compile(r"_(PATH|FILE|DIR|NAME|MODE)$", re.IGNORECASE)  # where it is, not what
SHORTEST = 8  # characters of a value that is masked: shorter ones are parts of ordinary words


class Mask:
    """Takes the secrets out of texts that are whole lines. It knows the environment of when it was made: to look at
    every variable for every line would take longer than to write it."""

    def __init__(self) -> None:
        values = set[str]()
        for name in list(os.environ):
            if _SECRET_NAME.search(name) and not _PLACE.search(name):
                values.update(os.environ.get(name, "").splitlines())  # another thread may take it away; keys have lines
        self._values = sorted((value for value in values if len(value) >= SHORTEST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text, masked."""
        for value in self._values:
            text = text.replace(value, MASK)
        return redacted(text)
