"""Calls to a store that are tried again: how often, after which pauses, and after which errors.

In: a call. Out: what it returns, or a StorageError with the file, the reason and the remedy.
"""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from platform.config.data import StorageConfig
from platform.data.store_errors import NoSuchFile, Refused, StorageError, is_refusal, is_retryable, reason
from platform.redaction import redacted, without_secrets

if TYPE_CHECKING:
    from tenacity import RetryCallState

log = logging.getLogger("platform.data")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
T = TypeVar("T")


class Attempts:
    """`storage.attempts` of each call, until somebody gives up. Thread-safe.

    Args:
        config: says how many.
        retried: called before each further attempt.
    """

    def __init__(self, config: StorageConfig, retried: Callable[[], None]) -> None:
        self._config, self._retried = config, retried
        self.given_up = threading.Event()  # set: nothing is tried again

    def make(
        self,
        url: str,
        call: Callable[[], T],
        retryable: Callable[[BaseException], bool] = is_retryable,
        doing: str = "read",
    ) -> T:
        """Call until it succeeds.

        Args:
            url: of the file, for messages.
            call: the attempt.
            retryable: whether another attempt could succeed after an error.
            doing: read, written or removed, for messages.

        Raises:
            NoSuchFile: the store says so.
            Refused: the store refuses.
            StorageError: every attempt failed.
        """
        from tenacity import (  # for stores: whoever reads files of this machine need not have it
            Retrying,
            retry_if_exception,
            sleep_using_event,
            stop_after_attempt,
            stop_when_event_set,
            wait_random_exponential,
        )

        shown = redacted(url)  # addresses in a list may be signed
        retrying = Retrying(
            stop=stop_after_attempt(self._config.attempts) | stop_when_event_set(self.given_up),
            sleep=sleep_using_event(self.given_up),
            wait=wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
            retry=retry_if_exception(retryable),
            before_sleep=lambda state: self._before_the_next(shown, state),
            reraise=True,
        )
        try:
            return retrying(call)
        except FileNotFoundError as error:
            raise NoSuchFile(f"{shown} does not exist; check the address") from without_secrets(error)
        except StorageError:
            raise  # from a piece, which had its own attempts
        except Exception as error:
            tried = f" after {self._config.attempts} attempts" if retryable(error) else ""
            kind = Refused if is_refusal(error) else StorageError
            raise kind(
                f"{shown} cannot be {doing}{tried} ({reason(error)}); check the store and its credentials"
            ) from without_secrets(error)

    def _before_the_next(self, shown: str, state: "RetryCallState") -> None:
        self._retried()
        error = state.outcome.exception() if state.outcome else None
        if state.attempt_number == 2:  # single failures are common
            log.warning("%s: %s; trying again", shown, reason(error) if error else "failed")
