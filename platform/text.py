"""Text of others made fit for a line of ours: it stays one line, nothing in it moves a cursor, no secret is shown.

In: messages of libraries, names of files, output of programs. Out: text to print.
"""

import re
from collections.abc import Sequence

from platform.redaction import redacted

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
# Whole sequences, so that their letters do not stay behind: CSI; OSC and its kin up to their end; two characters.
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\[[0-9;:]*m)")  # all but tab and colours
_RESET = "\x1b[0m"
_POOL = re.compile(
    r"HTTPS?ConnectionPool\(host='(?P<host>[^']+)', port=(?P<port>\d+)\).*\[Errno -?\d+\] (?P<why>[^\"')]+)"
)


def printable(text: str) -> str:
    """One line, whatever is in a name: control characters and line ends escaped, `?` for bytes that are no UTF-8."""
    text = text.encode("utf-8", "replace").decode()
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def first_line(error: BaseException) -> str:
    """What another library says, short enough for a line: without the secrets of URLs and the addresses of objects."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    if pool := _POOL.search(line):  # urllib3 says the same three times over
        return f"{pool['host']}:{pool['port']}: {pool['why']}"
    return redacted(re.sub(r" ?<_io\.\w+[^<>]*>", "", line))  # Pillow names the buffer that it could not identify


def one_line(text: str, limit: int = 300) -> str:
    """The first line of a message that is not empty, of at most `limit` characters."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    line = as_on_terminal(first, colours=False).strip()
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def some(names: Sequence[str], most: int) -> str:
    """The first `most` names, and how many there are besides."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def as_on_terminal(text: str, *, colours: bool) -> str:
    """A line of a program's output, without its end. Of one that was written over and over (`\\r`), what it showed
    last."""
    text = text.rstrip("\r\n").rpartition("\r")[2]
    if "\x1b" in text:
        text = _SEQUENCE.sub(lambda found: found[0] if colours and _COLOUR.fullmatch(found[0]) else "", text)
        text += _RESET if colours and _COLOUR.search(text) and not text.endswith(_RESET) else ""
    return _CONTROL.sub("", text)
