"""What became of one item. Made by the items and the plan, counted by ``warm_cache``."""

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
    """One item's end; ``reason`` and ``error`` belong to failures."""

    label: str
    state: State
    reason: str = ""
    error: BaseException | None = None


class WarmingError(Exception):
    """An item could not be warmed; the message is the reason as the operator reads it."""


class TookTooLong(BaseException):
    """Something did not end in time. Not an Exception: a view's own handlers are not to stop it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"did not end within {seconds:g} s, and was given up (--time-limit)")


def failure(label: str, error: BaseException) -> Outcome:
    """The outcome of an item that raised."""
    if isinstance(error, (WarmingError, TookTooLong)):
        # The reason is complete; only what lies behind it is worth a traceback.
        return Outcome(label=label, state=State.FAILED, reason=str(error), error=error.__cause__)
    return Outcome(label=label, state=State.FAILED, reason=describe_error(error), error=error)


def describe_error(error: BaseException) -> str:
    """One line: ``ValueError: no such country``."""
    message = " ".join(without_secrets(str(error)).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
