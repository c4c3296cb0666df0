"""Text of others made fit for a terminal: a line stays a line, and nothing in it moves the cursor or sets a title."""

import re

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
# Whole sequences, so that their letters do not stay behind: CSI; OSC and its kin up to their end; two characters.
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\[[0-9;:]*m)")  # all but tab and colours
_RESET = "\x1b[0m"


def printable(text: str, *, colours: bool) -> str:
    """A line without its end. Of one that was written over and over (`\\r`), what it showed last."""
    text = text.rstrip("\r\n").rpartition("\r")[2]
    if "\x1b" in text:
        text = _SEQUENCE.sub(lambda found: found[0] if colours and _COLOUR.fullmatch(found[0]) else "", text)
        text += _RESET if colours and _COLOUR.search(text) and not text.endswith(_RESET) else ""
    return _CONTROL.sub("", text)


def one_line(text: str, limit: int = 300) -> str:
    """The first line of a message that was not written by us, short enough for a line of ours."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    line = printable(first, colours=False).strip()
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def elapsed(seconds: float) -> str:
    """03:07, or 1:03:07."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
