"""Passwords and tokens in URLs: removed where a config is made, put back where a connection is made.

In: addresses as people give them, `https://me:PASSWORD@host/data?sig=TOKEN`. Out: what may be written, printed and
compared, `https://me:***@host/data`. The secrets stay in this process's memory and environment, for processes that it
starts, and in an experiment's mailbox, for workers on other machines.
"""

import json
import os
import re
from typing import Any, NamedTuple, TextIO
from urllib.parse import unquote_plus

MASK = "***"
VARIABLE = "PLATFORM_URL_SECRETS"
SHORTEST = 6  # characters of a secret that is masked outside of URLs: shorter ones are parts of ordinary words
# Names in queries that say nothing secret; the last is MLflow's, of a view of its runs.
HARMLESS = (
    "dl", "download", "raw", "ref", "rev", "version", "versionid", "generation", "alt", "format", "viewstatesharekey",
)  # fmt: skip
_SECRET = re.compile(r"pass|pwd|secret|token|sig|key|cred|auth|odbc_connect", re.IGNORECASE)  # in those of others
_USERINFO = re.compile(r"[^/?#\s]*@|[^:/?#@\s]*:(?!\d*(?:[/?#\s]|$))\S*@")  # the second: a password with a / in it
_URL = re.compile(  # its scheme is bounded: else a long text without a blank takes minutes. A password may have quotes
    r"[A-Za-z][A-Za-z0-9+.-]{0,30}://(?:[^\s/?#@:,]*:[^\s/?#@]*@)?[^\s'\"<>]*"
)
_CLOSING = ")]},.:;!"  # what a sentence has after an address
_OVERRIDE_URL = re.compile(  # in an override, where \ protects the next character and quotes all but themselves
    r"(?P<quote>['\"])?(?<![\w.+-])(?P<url>[A-Za-z][A-Za-z0-9+.:-]*://(?:\\.|[^\s'\"\\,\]}]|(?(quote)[\s,\]}]|(?!)))*)"
)


class _Parts(NamedTuple):
    """A URL: `base` and `query` make it up, `shown` stands for it."""

    shown: str
    base: str
    query: str  # "" where all of it may be seen: then it is in `base`
    secrets: list[str]
    telling: list[str]  # the secrets that are certainly secret: a query has ordinary words too


_originals: dict[str, tuple[str, str]] = {}  # sealed -> base and query of what was given
_folders: dict[str, tuple[str, str]] = {}  # the same of the folders they lie in: a list names files beside it
_shared: set[str] = set()  # of these, what other processes are told
_known: set[str] = set()  # the secrets themselves, to find them in other libraries' messages


def sealed(url: str, *, share: bool = True) -> str:
    """A URL (or fsspec's chain of URLs) with its secrets masked; any other text unchanged.

    Args:
        url: an address, sealed or not.
        share: give the secrets to processes that are started from here; addresses in an index they read themselves.

    Raises:
        ValueError: another secret of the same address is known.
    """
    parts = [_taken_apart(each) for each in url.split("::")]
    secrets = [secret for part in parts for secret in part.secrets]
    if not secrets:
        return url
    shown = "::".join(part.shown for part in parts)
    query = parts[-1].query
    original = url[: len(url) - len(query)], query
    if _originals.get(shown, original) != original:
        raise ValueError(f"{shown} is given with two passwords or tokens; give one address one")
    _remember(shown, original)
    if share:
        _shared.add(shown)
        _know([secret for part in parts for secret in part.telling], shown)
        os.environ[VARIABLE] = shared_secrets()
    return shown


def sealed_overrides(overrides: list[str]) -> list[str]:
    """Overrides with the secrets of their URLs masked; raises what `sealed` does."""

    def one(found: re.Match[str]) -> str:
        quote, text = found["quote"] or "", found["url"]
        given = re.sub(r"\\(['\"])" if quote else r"\\(.)", r"\1", text)
        shown = sealed(given)
        return found[0] if shown == given else quote + shown

    return [_OVERRIDE_URL.sub(one, override) for override in overrides]


def sealed_deeply(value: Any) -> Any:
    """Any value with the secrets masked in all its texts, URLs and overrides; raises what `sealed` does."""
    if isinstance(value, str):
        return sealed_overrides([value])[0] if re.match(r"[+~]*[\w.@/-]+=", value) else sealed(value)
    if isinstance(value, list):
        return [sealed_deeply(each) for each in value]
    return {key: sealed_deeply(each) for key, each in value.items()} if isinstance(value, dict) else value


def unsealed(url: str) -> str:
    """The address to connect to, with the secrets that were given for it or for a folder above it.

    Raises:
        ValueError: it is sealed, and its secrets are not known here.
    """
    if f"{MASK}@" not in url:
        return url
    for known in (_originals, _folders):
        folder = url
        while folder not in known and f"{folder}/" not in known and "/" in folder:
            folder = folder.rpartition("/")[0]
        if found := known.get(folder) or known.get(f"{folder}/"):
            base, query = found
            return (base if folder == url else base.rstrip("/") + url[len(folder) :]) + query
    raise ValueError(f"{url} stands for an address with a password or token, which is not kept; give it again")


def holds_secret(text: str) -> bool:
    """Whether a text has a URL with a secret, sealed or not."""
    return f"{MASK}@" in text or any(_taken_apart(url).secrets for url in _URL.findall(text))


def redacted(text: str) -> str:
    """A text of any origin (messages, tracebacks) with the secrets of URLs masked."""
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = _as_word(secret).sub(MASK, text)
    return _URL.sub(_redacted_url, text) if "://" in text else text


def shared_secrets() -> str:
    """The known secrets as text for another process's `trust`; must never be written to a file."""
    return json.dumps([{shown: _originals[shown] for shown in _shared}, sorted(_known)])


def trust(secrets: str) -> None:
    """Take over the secrets that another process knows, from its `shared_secrets`."""
    originals, known = json.loads(secrets)
    for shown, (base, query) in originals.items():
        _remember(shown, (base, query))
    _shared.update(originals)
    _known.update(known)


def without_secrets(error: BaseException) -> BaseException:
    """The error, to be named as a cause; a copy with a masked message if it or its own causes contain a secret."""
    each: BaseException | None = error
    while each is not None:
        if redacted(repr(each) + str(each)) != repr(each) + str(each):
            return OSError(getattr(error, "errno", None) or 0, f"{type(error).__name__}: {redacted(str(error))}")
        each = each.__cause__ or each.__context__
    return error


class Redacting:
    """A text stream that masks secrets in what is written, and otherwise is the stream it wraps."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, masked."""
        return self._stream.write(redacted(text))

    def writelines(self, lines: list[str]) -> None:
        """Write lines, masked."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _remember(shown: str, original: tuple[str, str]) -> None:
    _originals[shown] = original
    folder, _, name = shown.rpartition("/")
    if "." in name and f"{MASK}@" in folder:  # a file, and not the host
        _folders.setdefault(folder, (original[0].rpartition("/")[0], original[1]))


def _taken_apart(url: str) -> _Parts:
    scheme, found, rest = url.partition("://")
    if not found or scheme.startswith(("file", "local")):
        return _Parts(url, url, "", [], [])
    web = scheme.lower() in ("http", "https")
    info = userinfo[0] if (userinfo := _USERINFO.match(rest)) else ""
    user, secrets = _without_password(info, web=web)
    body, query = _without_query(rest[len(info) :], web=web)
    telling = secrets
    if query:
        telling = [*secrets, *_values(query, telling=True)]
        secrets = [*secrets, *_values(query)]
        user = user if MASK in user else f"{MASK}@"  # says so, where it is in nobody's way
    base = url[: len(url) - len(query)]
    return _Parts(f"{scheme}://{user}{body}", base, query, secrets, telling)


def _without_password(info: str, *, web: bool) -> tuple[str, list[str]]:
    """`me:secret@` -> `me:***@`; of a web address without a password the user is a token."""
    user, _, password = info.removesuffix("@").partition(":")
    if MASK in (user, password) or password.startswith("${"):  # sealed; Hydra has yet to look it up
        return info, []
    if password:
        return f"{user}:{MASK}@", [password]
    return (f"{MASK}@", [user]) if web and user and not user.startswith("${") else (info, [])


def _without_query(text: str, *, web: bool) -> tuple[str, str]:
    """What stands before a query and the query, if there is a secret in it. Of the web's that is anything unknown, but
    not in a fragment, which is a place on a page."""
    place = re.search(r"[?#]" if web else r"\?", text)
    if not place:
        return text, ""
    query = text[place.start() :]
    asked, _, fragment = query.partition("#")
    names = [each.partition("=")[0].lower() for each in re.split("[?&;]", asked) if "=" in each or web]
    hidden = any(name and (name not in HARMLESS if web else _SECRET.search(name)) for name in names)
    of_place = [each.partition("=")[0] for each in re.split("[?&;#]", fragment)]
    hidden = hidden or any(_SECRET.search(name) and name.lower() not in HARMLESS for name in of_place)
    return (text[: place.start()], query) if hidden and "${" not in query else (text, "")


def _values(query: str, *, telling: bool = False) -> list[str]:
    pairs = [each.partition("=") for each in re.split("[?&;#]", query)]
    if telling:
        pairs = [pair for pair in pairs if not pair[2] or _SECRET.search(pair[0])]
    return [value or name for name, _, value in pairs if name and name.lower() not in HARMLESS]


def _know(secrets: list[str], shown: str) -> None:
    """Mask these everywhere, but words of the address itself: `mlflow:mlflow@db/mlflow` would mask every `mlflow`."""
    forms = {form for each in secrets for form in (each, unquote_plus(each))}
    _known.update(form for form in forms if len(form) >= SHORTEST and not _as_word(form).search(shown))


def _as_word(secret: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])")


def _redacted_url(found: re.Match[str]) -> str:
    url = found[0].rstrip(_CLOSING)
    closing = found[0][len(url) :]
    return "::".join(_taken_apart(each).shown for each in url.split("::")) + closing


if VARIABLE in os.environ:
    trust(os.environ[VARIABLE])
