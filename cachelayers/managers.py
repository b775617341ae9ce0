"""Recall the rows of a model's queries: ``objects.recalled()``, ``fetch()`` and ``fetch_many()``.

Opt-in, by a manager or queryset of this module. It is built on recall() and recall_many().
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, Self, TypeVar

from asgiref.sync import sync_to_async
from django.core.exceptions import EmptyResultSet, ValidationError
from django.db import connections
from django.db.models import Manager, Model, Prefetch, QuerySet
from django.db.models.query import NamedValuesListIterable

from cachelayers.canonical import Unstable, canonical_form
from cachelayers.durations import Duration
from cachelayers.invalidation import warn_of_unstable_query_once
from cachelayers.lookup import UNSET, Options, Timeout, recall, recall_many

Row = TypeVar("Row", bound=Model)
Result = TypeVar("Result")

# What every queryset has; a subclass may add attributes, such as the language of its rows.
OF_EACH_QUERYSET = frozenset({*vars(QuerySet()), "_recall_options"})


class RecalledQuerySet(QuerySet[Row]):
    """A queryset with ``recalled()``, ``fetch()`` and ``fetch_many()``."""

    _recall_options: Options | None = None

    def recalled(
        self,
        *,
        timeout: Timeout = UNSET,
        stale: Duration = 0,
        tags: Sequence[str] = (),
        cache: str | None = None,
    ) -> Self:
        """Return a queryset whose rows, count() and exists() are recalled, by its SQL.

        The options are recall()'s; ``cache`` is an alias of CACHES. iterator(), aggregate() and
        select_for_update() go to the database, as do all writes.
        """
        clone: Self = self._chain()  # type: ignore[attr-defined] # Django's own
        clone._recall_options = {"timeout": timeout, "stale": stale, "tags": tags, "using": cache}
        return clone

    def fetch(self, pk: Any) -> Row:
        """Return the row with a primary key, recalled. Raise the model's DoesNotExist."""
        for row in self.fetch_many([pk]).values():
            return row
        model: Any = self.model
        raise model.DoesNotExist(f"{model._meta.object_name} matching query does not exist.")

    async def afetch(self, pk: Any) -> Row:
        """Do fetch() in async code."""
        return await sync_to_async(self.fetch)(pk)

    def fetch_many(self, pks: Iterable[Any]) -> dict[Any, Row]:
        """Return the rows with primary keys, by these, as in_bulk() does. All are read at once."""
        wanted = list(dict.fromkeys(map(self._primary_key, pks)))
        head = None if self._must_query() else self._key_of("fetch")
        if head is None:
            return self._queried().in_bulk(wanted)
        by_key = {f"{head}:{digest_of(canonical_form(pk))}": pk for pk in wanted}

        def compute(keys: list[str]) -> dict[str, Row | None]:
            return self._find_rows({key: by_key[key] for key in keys})

        found = recall_many(by_key, compute, **(self._recall_options or {}))
        return {by_key[key]: row for key, row in found.items() if row is not None}

    async def afetch_many(self, pks: Iterable[Any]) -> dict[Any, Row]:
        """Do fetch_many() in async code."""
        return await sync_to_async(self.fetch_many)(list(pks))

    def count(self) -> int:
        """Return the number of rows; if the queryset is recalled, from the cache."""
        if not self._is_recalled():
            return super().count()
        return self._recall("count", self._queried().count)

    def exists(self) -> bool:
        """Return whether there are rows; if the queryset is recalled, from the cache."""
        if not self._is_recalled():
            return super().exists()
        return self._recall("exists", self._queried().exists)

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc] # Django's own
        if self._recall_options is not None:
            clone._recall_options = self._recall_options
        return clone

    def _fetch_all(self) -> None:
        if self._is_recalled():
            self._result_cache = self._recall("rows", lambda: list(self._queried()))
            self._prefetch_done = True
        super()._fetch_all()

    def _is_recalled(self) -> bool:
        is_read = self._result_cache is not None
        return self._recall_options is not None and not is_read and not self._must_query()

    def _must_query(self) -> bool:
        """Return whether only the database can answer.

        That is so for rows that are locked, or read in order to be written. A related manager's
        rows get the caller's own instance, and named tuples have no class that could be stored.
        """
        own: Any = self
        return bool(
            own._for_write
            or own.query.select_for_update
            or own._known_related_objects
            or issubclass(own._iterable_class, NamedValuesListIterable)
        )

    def _queried(self) -> Self:
        """Return this queryset, but of the database."""
        clone: Self = self._chain()  # type: ignore[attr-defined] # Django's own
        clone._recall_options = None
        return clone

    def _recall(self, what: str, compute: Callable[[], Result]) -> Result:
        key = self._key_of(what)
        return compute() if key is None else recall(key, compute, **(self._recall_options or {}))

    def _key_of(self, what: str) -> str | None:
        """Return a key, or None if only the database can answer; it is logged once then."""
        try:
            form = canonical_form([what, *parts_of_query(self)])
        except EmptyResultSet:  # no statement is necessary
            return None
        except (Unstable, RecursionError) as error:
            warn_of_unstable_query_once(self.model._meta.label, error)
            return None
        return f"rows:{self.model._meta.label}:{digest_of(form)}"

    def _primary_key(self, pk: Any) -> Any:
        """Return a primary key as the model's rows have it. Raise ValueError if none can be so."""
        try:
            return self.model._meta.pk.to_python(pk)
        except ValidationError:
            label = self.model._meta.label
            raise ValueError(f"{pk!r} cannot be the primary key of a {label}.") from None

    def _find_rows(self, by_key: dict[str, Any]) -> dict[str, Row | None]:
        """Return rows by the keys of the cache; None for those that do not exist."""
        rows = self._queried().in_bulk(list(by_key.values()))
        found = {key: rows.get(pk) for key, pk in by_key.items()}
        if rows.keys() - set(
            by_key.values()
        ):  # the database compares keys otherwise, as in any case
            for key, pk in by_key.items():
                found[key] = found[key] or self._queried().filter(pk=pk).first()
        return found


class RecalledManager(Manager.from_queryset(RecalledQuerySet)[Row]):  # type: ignore[misc] # made by Django
    """A manager with ``recalled()``, ``fetch()`` and ``fetch_many()``."""


def parts_of_query(rows: QuerySet[Any]) -> list[Any]:
    """Return what identifies a queryset's result. Raise Unstable or EmptyResultSet."""
    query: Any = rows
    connection: Any = connections[query.db]
    text, parameters = query.query.chain().get_compiler(connection=connection).as_sql()
    settings = connection.settings_dict
    return [
        query.model._meta.label,
        # Tenants may share an alias of DATABASES.
        [query.db, str(settings.get("NAME")), str(settings.get("HOST"))],
        getattr(connection, "schema_name", None),
        text,
        list(parameters),
        [path_of_class(type(query)), path_of_class(query._iterable_class)],
        query._fields,
        path_of_class(type(getattr(query, "_fetch_mode", None))),  # from Django 6.1 on
        query._sticky_filter,
        [parts_of_lookup(one) for one in query._prefetch_related_lookups],
        {name: one for name, one in vars(query).items() if name not in OF_EACH_QUERYSET},
    ]


def parts_of_lookup(lookup: Any) -> Any:
    """Return what identifies an argument of prefetch_related()."""
    if not isinstance(lookup, Prefetch):
        return lookup
    queryset = lookup.queryset
    parts = None if queryset is None else parts_of_query(queryset)
    return [path_of_class(type(lookup)), lookup.prefetch_through, lookup.prefetch_to, parts]


def path_of_class(kind: type) -> str:
    """Return a class's module and name."""
    return f"{kind.__module__}:{kind.__qualname__}"


def digest_of(form: str) -> str:
    """Return a digest for a key."""
    return blake2b(form.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
