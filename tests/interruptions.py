"""Raise an exception at each place where a signal's handler could, one after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """What is raised."""


def interrupted_everywhere(
    prepare: Callable[[], Callable[[], Any]], function: str = ""
) -> Iterator[str]:
    """Do anew what ``prepare`` returns, until it was interrupted at each call within it.

    Yield where, each time. Python looks for signals when a function of its own begins.
    ``function``: only where one of this name does.
    """
    number = 1
    while place := interrupt(prepare(), number, function):
        yield place
        number += 1


def interrupt(work: Callable[[], Any], number: int, function: str = "") -> str:
    """Do something, and raise at the call of this number; return where that was, or nothing."""
    calls, place = -1 if not function else 0, ""  # the first one is of what is done itself

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls, place
        if event == "call" and function in {"", frame.f_code.co_name}:
            calls += 1
            if calls == number:
                sys.setprofile(None)
                place = f"{frame.f_code.co_qualname}, called at line {frame.f_back.f_lineno}"  # type: ignore[union-attr]
                raise Interrupted

    def ignore(unraisable: Any) -> None:
        # Python before 3.13 resumes a generator to end it, and goes on if that raises.
        if unraisable.exc_type is not Interrupted:
            usual_hook(unraisable)

    usual, usual_hook = sys.getprofile(), sys.unraisablehook
    sys.setprofile(profile)
    sys.unraisablehook = ignore
    try:
        work()
    except Interrupted:
        pass
    finally:
        sys.setprofile(usual)
        sys.unraisablehook = usual_hook
    return place
