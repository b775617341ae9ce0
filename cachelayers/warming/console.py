"""Keep the site's log of warmed pages off the operator's screen. Used by ``warm_cache``."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from django.http.request import HttpRequest

from cachelayers.warming.site import VISIT


@contextmanager
def without_logged_pages() -> Iterator[None]:
    """Withhold records about pages that are warmed from handlers that write to the screen.

    The command reports each failure itself; a traceback of a hundred lines for each would bury
    that, and tear the progress bar. Files, mail and other handlers get their records as always.
    """
    handlers = list(_screen_handlers(logging.getLogger("django.request")))
    for handler in handlers:
        handler.addFilter(_is_of_no_warmed_page)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_of_no_warmed_page)


def _screen_handlers(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    while logger is not None:
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream in _screens():
                yield handler
        logger = logger.parent if logger.propagate else None
    # Where no handler is set up at all, logging writes to the screen through this one.
    if logging.lastResort is not None:
        yield logging.lastResort


def _screens() -> tuple[object, ...]:
    return sys.stdout, sys.stderr


def _is_of_no_warmed_page(record: logging.LogRecord) -> bool:
    request = getattr(record, "request", None)
    return not (isinstance(request, HttpRequest) and VISIT in request.META)
