"""What goes wrong with a file at a path or URL: as an error that names it, and whether trying again could help.

In: what a file system raises. Out: StorageError or one of its kinds, in one line with the reason and the remedy.
"""

import contextlib
from collections.abc import Iterator

from platform.redaction import redacted, without_secrets
from platform.text import first_line


class StorageError(OSError):
    """A file cannot be read or written. The message names it, the reason and the remedy."""


class WrongChecksum(ValueError):
    """A fetched file has another checksum than its index says."""


class NoSuchFile(StorageError):
    """The store answers that there is no such file."""


class Refused(StorageError):
    """The store answers that it does not give the file: no rights, gone for good."""


def is_refusal(error: BaseException) -> bool:
    """Whether the store has answered that it will not."""
    status = getattr(error, "status", None)  # of an HTTP answer
    if isinstance(status, int):
        return 400 <= status < 500 and status not in (408, 425, 429)
    return isinstance(error, PermissionError)


def is_retryable(error: BaseException) -> bool:
    """Whether another attempt could succeed, which it cannot after the store's refusal."""
    if is_refusal(error):
        return False
    refused = (FileNotFoundError, NotImplementedError, IsADirectoryError, NotADirectoryError, StorageError)
    lacking = "Credentials" in type(error).__name__  # of botocore or google.auth, not imported here
    return isinstance(error, Exception) and not isinstance(error, refused) and not lacking


def reason(error: BaseException) -> str:
    """In a few words, without secrets of a URL."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and status:  # 0: of no answer, e.g. after too many redirections
        return redacted(f"HTTP {status} {getattr(error, 'message', '')}".strip())
    return f"{type(error).__name__}: {first_line(error)}" if str(error) else type(error).__name__


@contextlib.contextmanager
def unknown_of(url: str) -> Iterator[None]:
    """Name the URL where nothing here speaks its protocol.

    Raises:
        StorageError: there is no such protocol, or its library is not installed.
    """
    try:
        yield
    except (ValueError, ImportError) as error:
        raise StorageError(f"{redacted(url)} cannot be opened: {first_line(error)}") from without_secrets(error)


@contextlib.contextmanager
def errors_of(path: str) -> Iterator[None]:
    """Name a file of this machine.

    Raises:
        NoSuchFile: it is not there.
        StorageError: the operating system refuses.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise NoSuchFile(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
