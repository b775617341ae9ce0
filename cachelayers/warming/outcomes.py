"""The outcome of one item. Items and plan create it, and ``warm_cache`` counts it."""

from dataclasses import dataclass
from enum import Enum

from cachelayers.utils.text import without_secrets


class State(Enum):
    """How an item ended."""

    WARMED = "warmed"
    ALREADY_WARM = "already warm"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of one item; ``reason`` and ``error`` are for failures."""

    label: str
    state: State
    reason: str = ""
    error: BaseException | None = None


class WarmingError(Exception):
    """An item could not be warmed. The message is the reason for the operator."""


class TookTooLong(BaseException):
    """A time limit was reached. Not an Exception, so that a view's handlers do not catch it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"did not end within {seconds:g} s, and was given up (--time-limit)")


def failure(label: str, error: BaseException) -> Outcome:
    """Return the outcome of an item that raised."""
    if isinstance(error, (WarmingError, TookTooLong)):
        # The reason is complete; only its cause needs a traceback.
        return Outcome(label=label, state=State.FAILED, reason=str(error), error=error.__cause__)
    return Outcome(label=label, state=State.FAILED, reason=describe_error(error), error=error)


def describe_error(error: BaseException) -> str:
    """Return one line such as ``ValueError: no such country``."""
    message = " ".join(without_secrets(str(error)).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
