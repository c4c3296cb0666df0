"""What Kubernetes takes as names, labels, images and time zones: so that a slip is named here and not by a server.

In: a text. Out: whether it is one. Sources: Kubernetes' "Object Names and IDs", "Labels and Selectors", distribution's
reference grammar.
"""

import re
import zoneinfo

LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"  # RFC 1123
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
WORD = r"[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?"
IMAGE = (
    r"([A-Za-z0-9.-]+(:\d+)?/)?[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*"
    r"(:\w[\w.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,})?"
)


def is_name(text: str) -> bool:
    """Whether it can name an object of any kind: at most 63 characters of RFC 1123."""
    return re.fullmatch(LABEL, text) is not None


def is_subdomain(text: str) -> bool:
    """Whether it is names with dots between them, at most 253 characters, as of a StorageClass."""
    return len(text) <= 253 and re.fullmatch(SUBDOMAIN, text) is not None


def is_label_value(text: str) -> bool:
    """Whether it is empty, or at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at each end."""
    return re.fullmatch(rf"({WORD})?", text, re.ASCII) is not None


def is_label_key(text: str) -> bool:
    """Whether it can be the key of a label, an annotation or a resource: NAME, or DOMAIN/NAME."""
    prefix, slash, name = text.rpartition("/")
    return (not slash or is_subdomain(prefix)) and re.fullmatch(WORD, name, re.ASCII) is not None


def is_image(text: str) -> bool:
    """Whether it is an image's reference: [HOST/]REPOSITORY[:TAG][@DIGEST]."""
    return re.fullmatch(IMAGE, text, re.ASCII) is not None


def is_address(text: str) -> bool:
    """Whether it is HOST:PORT, also behind redis:// or rediss://."""
    return re.fullmatch(r"(rediss?://)?[A-Za-z0-9.-]+:\d{1,5}", text, re.ASCII) is not None


def is_time_zone(text: str) -> bool:
    """Whether the time zone database has it. Go's `Local`, the operator's own, is none: nobody knows which it is."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", text):
        return False
    known = zoneinfo.available_timezones()
    return text in known if known else text != "Local"  # a machine without the database: the operator has it
