"""Cache what ``list`` and ``retrieve`` of a viewset of Django REST framework return.

Opt-in, by a mixin. Authentication, permissions, throttles and rendering run at each request; the
data is recalled, under a key of the request values that it may be made from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from types import NoneType
from typing import Any, ClassVar
from uuid import UUID

from django.db import DatabaseError
from rest_framework.renderers import (
    BrowsableAPIRenderer,
    HTMLFormRenderer,
    TemplateHTMLRenderer,
)
from rest_framework.response import Response

from cachelayers.canonical import Unstable, canonical_form
from cachelayers.conf import package_settings
from cachelayers.fragments import current_locale, identity_of
from cachelayers.invalidation import (
    Capture,
    add_all_dependencies,
    current_capture,
    current_unit,
    log_database,
    without_laziness,
)
from cachelayers.lookup import UNSET, Timeout, add_rows_of_argument, recall
from cachelayers.request_access import (
    current_observer,
    inner_requests,
    observing,
    observing_requests,
    reader_of,
)
from cachelayers.utils.switch import is_disabled

logger = logging.getLogger("cachelayers.rest_framework")

# Request values in each key: URLs in the data are built from them.
IN_EACH_KEY = (
    *("request:method", "request:path", "request:path_info", "request:_get_scheme"),
    *("request:accepted_media_type", "request:version", "get"),
    *("meta:HTTP_HOST", "meta:SERVER_NAME", "meta:SERVER_PORT", "meta:SCRIPT_NAME"),
    *("meta:HTTP_X_FORWARDED_HOST", "meta:HTTP_X_FORWARDED_PORT", "meta:HTTP_X_FORWARDED_PROTO"),
    "meta:QUERY_STRING",
)
# Values that follow from those in each key, and from the view's class.
FOLLOWING = frozenset(
    {
        *("request:accepted_renderer", "request:versioning_scheme", "request:resolver_match"),
        "request:_current_scheme_host",
        *("request:parsers", "request:authenticators", "request:negotiator"),
    }
)
FOLLOWING_KINDS = ("get:", "match:")
# Attributes of a view that the key has otherwise, or that are made again for each request.
OF_EACH_VIEW = frozenset({"request", "headers", "response", "_negotiator", "_paginator"})
# They show more than the data: forms, and what the user may do.
HTML_RENDERERS = (BrowsableAPIRenderer, HTMLFormRenderer, TemplateHTMLRenderer)

PLAIN = (NoneType, bool, int, float, str, bytes, Decimal, UUID, date, datetime, time, timedelta)


class Reads:
    """Observes which request values the data is made from, beside those that the key has."""

    def __init__(self, requests: list[Any], names: Iterable[str]) -> None:
        """``names``: the request values in the key."""
        self._requests, self._names = requests, frozenset(names) | FOLLOWING
        self._users = [getattr(one, "user", None) for one in requests]
        self._clean_ups: list[Callable[[], None]] = []
        self.unknown: set[str] = set()
        self.private: set[str] = set()

    def note_value(self, request: Any, variant: str) -> None:
        if not any(request is one for one in self._requests):
            self.note_private("another request")
        elif variant not in self._names and not variant.startswith(FOLLOWING_KINDS):
            self.unknown.add(variant)

    def note_private(self, what: str) -> None:
        self.private.add(what)

    def note_user(self, user: Any) -> None:
        if not any(is_same(user, one) for one in self._users):
            self.note_private("another user")

    def note_written(self, request: Any, name: str) -> None:
        """Do nothing: a later read of the attribute is reported, too."""

    def at_the_end(self, clean_up: Callable[[], None]) -> None:
        self._clean_ups.append(clean_up)

    def has_lazy_object(self, value: Any) -> bool:
        """Return False: a lazy object counts as read when it is got."""
        return False

    def of(self, compute: Callable[[], Any]) -> Any:
        """Return what the function returns, and observe it."""
        try:
            with observing_requests(self._requests, self), observing(self):
                return compute()
        finally:
            for clean_up in self._clean_ups:
                clean_up()


class CachedListRetrieveMixin:
    """Caches the data of ``list`` and ``retrieve``. It stands first among a viewset's bases.

    The attributes are recall()'s options.
    """

    cache_timeout: Timeout = UNSET
    cache_tags: Iterable[str] = ()
    cache_using: str | None = None

    # What the data of an action was made from so far, beside what is in each key. An entry is
    # stored only if its key has all that it was made from.
    _cachelayers_variants: ClassVar[dict[str, frozenset[str]]]
    _cachelayers_warned: ClassVar[set[str]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._cachelayers_variants, cls._cachelayers_warned = {}, set()

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """Read the log before authentication and permissions read the database.

        Otherwise their reads count as older than a write that this process has not yet seen, and
        the data is not stored.
        """
        unit = current_unit()
        if unit is not None and request.method in ("GET", "HEAD") and not is_disabled():
            with suppress(DatabaseError):  # the recall reports it
                unit.refresh(log_database())
        parent: Any = super()
        parent.initial(request, *args, **kwargs)

    def list(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the response of the class behind this one, or one with its recalled data."""
        parent: Any = super()
        return self._recall_response("list", lambda: parent.list(request, *args, **kwargs))

    def retrieve(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Do as list(). The object is read at each request: its permissions are checked there."""
        parent: Any = super()
        row = self.get_object()  # type: ignore[attr-defined] # of the viewset
        return self._recall_response(
            "retrieve", lambda: parent.retrieve(request, *args, **kwargs), row
        )

    def _recall_response(self, action: str, respond: Callable[[], Any], row: object = None) -> Any:
        request: Any = self.request  # type: ignore[attr-defined] # of the viewset
        if is_disabled() or current_observer() is not None or not is_for_data(request):
            return respond()
        variants = self._cachelayers_variants.get(action, frozenset())
        try:
            key, own = self._make_key(action, row, variants), [*self._own_attributes().values()]
        except (Unstable, RecursionError) as error:
            self._warn_once(action, str(error))
            return respond()
        computed: list[Any] = []

        def compute() -> Any:
            del computed[:]  # a failed refresh may be repeated
            capture = current_capture()
            reads = Reads(inner_requests(request), [*IN_EACH_KEY, *variants])
            computed.append(reads.of(respond))
            self._learn(action, reads)
            stored = data_of(computed[0])
            if stored is None and computed[0].status_code == 200:
                self._warn_once(action, "its response is more than plain data")
            if capture is not None:
                self._add_what_was_read_before(capture, variants, own)
                capture.is_unstorable |= bool(reads.private or reads.unknown or stored is None)
            return stored

        stored = recall(
            key,
            compute,
            timeout=self.cache_timeout,
            tags=self.cache_tags,
            using=self.cache_using,
        )
        return computed[0] if computed else Response(stored["data"], headers=stored["headers"])

    def _make_key(self, action: str, row: object, variants: frozenset[str]) -> str:
        """Return the key of the request's variant. Raises Unstable."""
        request: Any = self.request  # type: ignore[attr-defined] # of the viewset
        cls = type(self)
        where = f"{cls.__module__}.{cls.__qualname__}.{action}"
        values = {name: self._value_of(name) for name in (*IN_EACH_KEY, *sorted(variants))}
        renderer = type(request.accepted_renderer)
        form = canonical_form(
            [
                package_settings().DEPLOY_SALT,
                where,
                f"{renderer.__module__}.{renderer.__qualname__}",
                identity_of(request.user),
                current_locale(),
                values,
                self._own_attributes(),
                without_laziness(row),
            ]
        )
        digest = blake2b(form.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        shown = where[-150:].encode("ascii", "replace").decode()
        return f"rest_framework:{shown}:{digest}"

    def _value_of(self, variant: str) -> Sequence[str]:
        read = reader_of(variant)
        return [read(one, canonical_form) for one in inner_requests(self.request)]  # type: ignore[attr-defined]

    def _own_attributes(self) -> dict[str, Any]:
        """Return what was set on this view, such as by initial(), and is not of each view."""
        methods = self.http_method_names  # type: ignore[attr-defined] # of the viewset
        return {
            name: value
            for name, value in vars(self).items()
            if name not in OF_EACH_VIEW and name not in methods
        }

    def _learn(self, action: str, reads: Reads) -> None:
        known = self._cachelayers_variants.get(action, frozenset())
        self._cachelayers_variants[action] = known | reads.unknown
        for what in sorted(reads.private):
            self._warn_once(action, f"it reads {what}")

    def _add_what_was_read_before(
        self, capture: Capture, variants: frozenset[str], own: Sequence[object]
    ) -> None:
        """Add what permissions, the user and values in the key were made from."""
        request: Any = self.request  # type: ignore[attr-defined] # of the viewset
        add_all_dependencies(capture)
        add_rows_of_argument(capture, request.user)
        names = [name.partition(":")[2] for name in variants if name.startswith("request:")]
        values = [getattr(request, name, None) for name in names]
        for value in (*values, *own):
            capture.is_unstorable |= not add_rows_of_argument(capture, value)

    def _warn_once(self, action: str, reason: str) -> None:
        where = f"{type(self).__module__}.{type(self).__qualname__}.{action}"
        if (what := f"{where}: {reason}") not in self._cachelayers_warned:
            self._cachelayers_warned.add(what)
            logger.warning("%s is not cached: %s.", where, reason)


def is_same(one: Any, other: Any) -> bool:
    return one is other or without_laziness(one) is without_laziness(other)


def is_for_data(request: Any) -> bool:
    """Return whether a renderer was negotiated that shows the data alone."""
    renderer = getattr(request, "accepted_renderer", None)
    return renderer is not None and not isinstance(renderer, HTML_RENDERERS)


def data_of(response: Any) -> dict[str, Any] | None:
    """Return what is stored of a response, or None if that would not be all of it."""
    if type(response) is not Response or response.status_code != 200 or response.cookies:
        return None
    if response.template_name or response.content_type or response.exception:
        return None
    try:
        data = plain(response.data)
    except (TypeError, RecursionError):
        return None
    headers = {name: text for name, text in response.items() if name != "Content-Type"}
    return {"data": data, "headers": headers}


def plain(value: Any) -> Any:
    """Return the data without the classes of the framework. Raises TypeError for other objects."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, str):  # such as a link, or a safe text
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {plain(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__qualname__} is no plain data")
