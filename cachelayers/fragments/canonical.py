"""Canonical forms of the arguments of a fragment and of the names that it looks up.

`keys` and `variants` use them. A row given as an argument is identified by its primary key, because
changes to it are tracked, and by attributes added to the instance, which another request may have
set. A name that the block looks up is identified by everything in its value. Values that differ
between processes have no canonical form.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import marshal
import struct
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    NoneType,
    SimpleNamespace,
)
from typing import Any, cast

from django.conf import LazySettings
from django.core.exceptions import EmptyResultSet
from django.core.paginator import Page, Paginator
from django.db import connections
from django.db.models import DEFERRED, Model, Prefetch, QuerySet
from django.db.models.fields.files import FieldFile
from django.db.models.manager import BaseManager
from django.db.models.query import RawQuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template import Template
from django.template.base import Node
from django.template.loader_tags import BlockNode
from django.utils.functional import LazyObject, Promise
from django.utils.translation import gettext_lazy

from cachelayers.canonical import (
    ENCODERS,
    PLAIN_VALUE,
    STATIC_C_TYPE,
    Unstable,
    canonical_all,
    canonical_form,
    canonical_instance,
    canonical_lazy_text,
    canonical_member,
    canonical_row_prefix,
    canonical_str,
    find_by_name,
    path_of,
    path_of_class,
    unwrap_lazy_object,
)
from cachelayers.invalidation import attributes_of_row, foreign_keys_of, reads_only_tracked

PREFETCHED = "_prefetched_objects_cache"  # rows read by prefetch_related(), by name
DEEPEST_RELATION = 5  # instances linked by foreign keys; deeper ones take the slow way
MOST_PARTS = 20_000  # in one value: a walk through a whole registry makes no key
CONTAINERS = (tuple, list, set, frozenset, dict)
# computed from the other attributes
MEMOS_OF_PAGES = frozenset({"count", "num_pages", "page_range"})
POINTER = struct.calcsize("P")
# The attributes that each value of a kind has, and that its canonical form covers. Code has added
# all others.
OF_EACH_QUERY = frozenset(vars(QuerySet()))
OF_EACH_RAW_QUERY = frozenset({*vars(RawQuerySet("", using="-")), "columns", "model_fields"})
OF_EACH_LAZY_TEXT = frozenset(vars(gettext_lazy("")))
OF_EACH_TEMPLATE = frozenset({"name", "origin", "engine", "source", "nodelist"})
OF_EACH_FUNCTION = frozenset({"__wrapped__"})  # the code that was decorated
# Not "instance": it may have rows.
OF_EACH_MANAGER = frozenset(
    [
        "_constructor_args",
        "_db",
        "_hints",
        "content_type",
        "content_type_field_name",
        "core_filters",
        "creation_counter",
        "field",
        "get_content_type",
        "model",
        "name",
        "object_id_field_name",
        "pk_field_names",
        "pk_val",
        "prefetch_cache_name",
        "query_field_name",
        "related_val",
        "reverse",
        "source_field",
        "source_field_name",
        "symmetrical",
        "target_field",
        "target_field_name",
        "through",
    ]
)
OF_EACH_FILE = frozenset(
    ["_committed", "_dimensions_cache", "_file", "field", "instance", "mode", "name", "storage"]
)
SCALARS = {kind: encoder for kind, encoder in ENCODERS.items() if kind not in CONTAINERS}
NO_ATTRIBUTES: Mapping[str, Any] = {}


def canonical_arguments(arguments: Sequence[object]) -> str:
    """Return the canonical form of all arguments."""
    try:
        # The usual types: strings, numbers, rows.
        return "".join([encoders[type(argument)](argument) for argument in arguments])
    except (KeyError, Unstable, RecursionError):
        models: set[Any] = {type(one) for one in arguments if issubclass(type(one), Model)}
        encoders.update({model: canonicalizer_of_rows(model) for model in models})
        try:
            return "".join([encoders.get(type(one), canonical_alone)(one) for one in arguments])
        except RecursionError:
            raise Unstable("it is nested too deeply") from None


class Canonicalizer:
    """Makes the canonical form of one value with everything in it."""

    def __init__(self, *, is_named: bool = False) -> None:
        """``is_named``: include all fields of a row, and the SQL of a lazy queryset."""
        self._is_named = is_named
        # The values so far, with a number each, by id. It holds the values, because Python reuses
        # ids.
        self._met: dict[int, tuple[int, object]] = {}
        self._count = 0
        self.rows: list[Model] = []
        # False if code or another object may hold more data than the form shows.
        self.is_all = True

    def canonical_form(self, value: Any) -> str:
        """Return the canonical form. Raises Unstable."""
        self._count += 1
        if self._count > MOST_PARTS:
            raise Unstable("it holds too much")
        cls = type(value)
        if cls in SCALARS:
            return SCALARS[cls](value)
        if issubclass(cls, LazySettings):
            return "settings;"
        if issubclass(cls, LazyObject):
            return self.canonical_form(unwrap_lazy_object(value))
        met = self._met.get(id(value))
        if met is not None:
            return f"@{met[0]};"
        self.meet(value)
        if cls in EXACT_KINDS:
            return EXACT_KINDS[cls](self, value)
        for kinds, canonical_kind in KINDS:
            if issubclass(cls, kinds):
                return canonical_kind(self, value)
        return self._canonical_by_class(value)

    def meet(self, value: object) -> None:
        """Give a value a number, which stands for it when it comes again."""
        self._met[id(value)] = len(self._met), value

    def canonical_all(self, kind: str, values: Iterable[object]) -> str:
        return canonical_all(kind, [self.canonical_form(value) for value in values])

    def canonical_items(self, kind: str, values: Mapping[Any, Any]) -> str:
        """Return the form of a mapping in its own order, because a loop shows it."""
        return self.canonical_all(kind, [part for item in values.items() for part in item])

    def canonical_set(self, kind: str, values: Iterable[object]) -> str:
        """Return the form of a set, sorted, because its order differs between processes."""
        return canonical_all(kind, sorted(self.canonical_form(value) for value in values))

    def canonical_attributes(self, values: Mapping[str, Any]) -> str:
        parts = []
        for name, value in sorted(values.items()):
            try:
                parts.append(canonical_str(name) + self.canonical_form(value))
            except Unstable as error:
                raise Unstable(f"of its {name!r}, {error}") from None
        return canonical_all("+", parts)

    def canonical_extras(self, value: object, own: frozenset[str]) -> str:
        """Return the form of the attributes that code has added to a value."""
        attributes = vars(value)
        if own.issuperset(attributes):
            return ""
        return self.canonical_attributes(
            {name: one for name, one in attributes.items() if name not in own}
        )

    # Rows and queries

    def canonical_row(self, row: Model) -> str:
        """Return the form of a row and of the attributes added to it."""
        self.rows.append(row)
        form = canonical_instance(row)
        if self._is_named:
            form += self.canonical_fields(row)
        return form + self.canonical_added(row)

    def canonical_added(self, row: Model) -> str:
        """Return the form of attributes added to a row and to its related rows, or "".

        `annotate()`, `Prefetch` or code adds them: for example whether this user likes the book.
        """
        if not self._is_named and is_bare(row, DEEPEST_RELATION):
            return ""
        own, model = attributes_of_row(type(row)), type(row)
        if not row._state.fields_cache and own.issuperset(vars(row)):
            return ""
        parts = [
            canonical_str(name) + text
            for name, value in sorted(vars(row).items())
            if name not in own and (text := self._canonical_attribute(model, name, value))
        ]
        for name, related in sorted(row._state.fields_cache.items()):
            if text := self._canonical_related(model, name, related):
                parts.append(canonical_str(name) + text)
        return canonical_all("+", parts) if parts else ""

    def _canonical_related(self, model: type[Model], name: str, found: object) -> str:
        """Return the form of a related row; for an argument, only of what was added to it.

        A foreign key already shows that there is no row. A reverse relation does not.
        """
        related = unwrap_lazy_object(found)
        if related is None:
            is_in_key = not self._is_named or name in foreign_keys_of(model)
            return "" if is_in_key else self.canonical_form(None)
        if self._is_named or not isinstance(related, Model):
            return self.canonical_form(related)
        if id(related) in self._met:
            return ""
        self.meet(related)
        return self.canonical_added(related)

    def canonical_fields(self, row: Model) -> str:
        names, beginning = fields_of(type(row))
        values = vars(row)
        parts = [beginning]
        for name in names:
            value = values.get(name, DEFERRED)
            encoder = SCALARS.get(type(value))
            parts.append(
                self._canonical_field(row, name, value) if encoder is None else encoder(value)
            )
        return "".join(parts)

    def _canonical_field(self, row: Model, name: str, value: Any) -> str:
        if value is DEFERRED:
            return "~"  # if the block reads it, it runs a query itself
        if isinstance(value, FieldFile):
            # The same as the field's value before its first use.
            return canonical_form(value.name) + self.canonical_extras(value, names_of_file(value))
        field = type(row), name
        if field in wrapping_fields and (stored := canonical_stored(row, name, value)):
            return stored
        met, is_all = len(self._met), self.is_all
        try:
            return self.canonical_form(value)
        except Unstable as error:
            if not (stored := canonical_stored(row, name, value)):
                raise Unstable(f"of its {name!r}, {error}") from None
            wrapping_fields.add(field)
            # otherwise later forms would refer to numbers that do not exist
            for key in [*self._met][met:]:
                del self._met[key]
            self.is_all = is_all
            return stored

    def _canonical_attribute(self, model: type[Model], name: str, value: object) -> str:
        """Return the form of an added attribute; "" for a helper that each instance has."""
        if name == PREFETCHED:
            value = {of: list(rows) for of, rows in cast("Any", value).items()}
        try:
            return self.canonical_form(value)
        except Unstable as error:
            # A helper that the model's own code gives to each instance does not tell instances
            # apart.
            if type(value) is initial_types(model).get(name, Model):
                return ""
            raise Unstable(f"of its {name!r}, {error}") from None

    def canonical_query(self, rows: QuerySet[Any]) -> str:
        """Return the form of a queryset: its SQL if it is lazy, else its rows.

        An argument stands for its rows also where their changes are not tracked.
        """
        is_lazy = rows._result_cache is None and (self._is_named or is_tracked_query(rows))
        if not is_lazy:
            kind = "" if type(rows) is QuerySet else canonical_str(path_of_class(type(rows)))
            return (
                self.canonical_all("lq", list(rows))
                + kind
                + self.canonical_extras(rows, OF_EACH_QUERY)
            )
        return self._canonical_lazy_query(rows)

    def _canonical_lazy_query(self, rows: QuerySet[Any]) -> str:
        query: Any = rows
        text, parameters = sql_of(query)
        return self.canonical_all(
            "Q",
            [
                query.model._meta.label,
                query.db,
                text,
                list(parameters),
                path_of_class(type(query)),
                path_of_class(query._iterable_class),
                [self._lookup(one) for one in query._prefetch_related_lookups],
                query._sticky_filter,
                # Attributes of a subclass, such as the language that it gives to its rows.
                {name: one for name, one in vars(query).items() if name not in OF_EACH_QUERY},
                [
                    [field.name, list(known.values())]
                    for field, known in query._known_related_objects.items()
                ],
            ],
        )

    @staticmethod
    def _lookup(lookup: Any) -> Any:
        if not isinstance(lookup, Prefetch):
            return lookup
        return [path_of_class(type(lookup)), vars(lookup)]

    def canonical_raw(self, rows: RawQuerySet[Any]) -> str:
        query: Any = rows
        if not self._is_named or query._result_cache is not None:
            return self.canonical_all("l", list(query)) + self.canonical_extras(
                rows, OF_EACH_RAW_QUERY
            )
        parts = [query.model, query.db, query.raw_query, query.params, query.translations]
        return self.canonical_all("R", parts) + self.canonical_extras(rows, OF_EACH_RAW_QUERY)

    def canonical_manager(self, manager: Any) -> str:
        return self.canonical_form(manager.all()) + self.canonical_extras(manager, OF_EACH_MANAGER)

    def canonical_page(self, page: Page[Any]) -> str:
        """Return the form of a page, and of its paginator."""
        rest = {
            name: value
            for name, value in vars(page).items()
            if name not in {"object_list", "paginator"}
        }
        parts = [type(page), rest, page.object_list]
        return self.canonical_all("G", parts) + self.canonical_paginator(page.paginator)

    def canonical_paginator(self, paginator: Paginator[Any]) -> str:
        """Return the form of a paginator, without reading all rows of a lazy queryset."""
        values = {**vars(paginator)}
        listed = values.pop("object_list", None)
        for name in MEMOS_OF_PAGES & values.keys():
            del values[name]
        form = self.canonical_all("V", [type(paginator), values])
        if isinstance(listed, QuerySet) and listed._result_cache is None:
            return form + self._canonical_lazy_query(listed)
        return form + self.canonical_form(listed)

    # Code

    def canonical_function(self, function: FunctionType) -> str:
        """Return the name of a function; without one, the form of its code and closure."""
        return self._spell_code(function) + self.canonical_extras(function, OF_EACH_FUNCTION)

    def _spell_code(self, function: FunctionType) -> str:
        self.is_all = self.is_all and holds_nothing(function)
        if find_by_name(function.__module__, function.__qualname__) is function:
            return f"U{canonical_str(path_of(function))}"
        cells = function.__closure__ or ()
        held = [contents_of(cell) for cell in cells]
        return self.canonical_all(
            "U",
            [
                f"{function.__module__}:{function.__qualname__}",
                code_parts(function.__code__),
                held,
                function.__defaults__,
                function.__kwdefaults__,
            ],
        )

    def canonical_method(self, method: MethodType) -> str:
        return self.canonical_all("B", [method.__func__, method.__self__])

    def canonical_builtin(self, function: BuiltinFunctionType) -> str:
        of = function.__self__
        if of is None or isinstance(of, ModuleType):
            return f"b{canonical_str(f'{function.__module__}:{function.__qualname__}')}"
        return self.canonical_all("B", [function.__name__, of])

    def canonical_partial(self, partial: functools.partial[Any]) -> str:
        parts = [partial.func, partial.args, partial.keywords]
        if type(partial) is not functools.partial:
            self.is_all = False
            parts.append(type(partial))
        return self.canonical_all("A", parts) + self._canonical_state(object.__getstate__(partial))

    def canonical_module(self, module: ModuleType) -> str:
        if sys.modules.get(module.__name__) is not module:
            raise Unstable(f"the module {module.__name__} cannot be found under its name")
        self.is_all = False
        return f"Y{canonical_str(module.__name__)}"

    def canonical_template(self, template: Template) -> str:
        parts = [canonical_form(str(template.origin.name)), canonical_form(str(template.source))]
        return canonical_all("H", parts) + self.canonical_extras(template, OF_EACH_TEMPLATE)

    def canonical_block(self, block: BlockNode) -> str:
        """Return the name of a block; its templates are in the key already."""
        return f"K{canonical_str(str(block.name))}"

    def canonical_file(self, file: FieldFile) -> str:
        """Return the form of a field's file: name, storage and row."""
        name: Any = file.name
        parts = [type(file), name, type(file.storage), file.instance]
        return self.canonical_all("L", parts) + self.canonical_extras(file, names_of_file(file))

    def canonical_lazy_text(self, text: Promise) -> str:
        """Return the form of the text in the active language."""
        return canonical_lazy_text(text) + self.canonical_extras(text, OF_EACH_LAZY_TEXT)

    # Everything else

    def refuse(self, value: object) -> str:
        """Refuse a value that belongs to this response, or whose state continues between uses."""
        raise Unstable(f"a {type(value).__qualname__} has no stable key")

    def _canonical_by_class(self, value: Any) -> str:
        cls: Any = type(value)
        plain, state = "", None
        for base in cls.__mro__:
            if base in PLAIN_VALUE:
                plain = self._canonical_plain(base, PLAIN_VALUE[base](value))
                state = object.__getstate__(value)  # its attributes
                break
            if base is not object and base.__flags__ & STATIC_C_TYPE:
                raise Unstable(f"a {cls.__qualname__} has no stable key")
        else:
            if cls is object:
                raise Unstable("an object has no stable key")
            self.is_all = False
            if not is_laid_out_by_python(cls):
                raise Unstable(f"a {cls.__qualname__} hides its contents")
            # Not its own __getstate__(), which may leave out attributes.
            state = object.__getstate__(value)
        return f"c{self._canonical_class(cls)}{plain}{self._canonical_state(state)}"

    def _canonical_plain(self, base: type, plain: Any) -> str:
        if base is dict:
            return self.canonical_items("m", plain)
        if base in (set, frozenset):
            return self.canonical_set("e", plain)
        return self.canonical_all("l", plain) if base in (tuple, list) else ENCODERS[base](plain)

    def _canonical_class(self, cls: Any) -> str:
        is_made_in_use = find_by_name(cls.__module__, cls.__qualname__) is None
        if is_made_in_use and issubclass(cls, tuple) and hasattr(cls, "_fields"):
            # A class made at run time, such as that of values_list(named=True).
            return self.canonical_all("T", [cls.__qualname__, cls._fields])
        return canonical_str(path_of_class(cls))

    def _canonical_state(self, state: Any) -> str:
        if isinstance(state, tuple) and len(state) == 2:
            attributes, slots = state
            if isinstance(slots, dict) and isinstance(attributes, (dict, type(None))):
                state = {**(attributes or {}), **slots}
        if isinstance(state, dict) and all(isinstance(name, str) for name in state):
            return self.canonical_attributes(state)
        return self.canonical_form(state)


@lru_cache(maxsize=1024)
def is_laid_out_by_python(cls: Any) -> bool:
    """Tell whether instances have only attributes: code in C or Rust may hide more."""
    names = copyreg._slotnames(cls)  # type: ignore[attr-defined] # as pickle asks for them
    pointers: int = (cls.__dictoffset__ > 0) + (cls.__weakrefoffset__ > 0) + len(names)
    found: int = cls.__basicsize__
    return found <= object.__basicsize__ + pointers * POINTER


def is_tracked_query(rows: QuerySet[Any]) -> bool:
    """Return whether every change of a queryset's rows is tracked. It is not run."""
    query: Any = rows
    if query._prefetch_related_lookups:  # the statements of which are not known
        return False
    try:
        text, _ = sql_of(query)
    except Unstable:
        return False
    return reads_only_tracked(query.db, text)


def sql_of(query: Any) -> tuple[str, Sequence[Any]]:
    """Return the SQL and the parameters of a query, without running it."""
    try:
        compiler = query.query.chain().get_compiler(connection=connections[query.db])
        text, parameters = compiler.as_sql()
    except EmptyResultSet:
        return "", ()
    except Exception as error:
        raise Unstable(f"the SQL of a query cannot be made ({error})") from error
    return str(text), parameters


def code_parts(code: Any) -> list[Any]:
    """Return the parts of a function's code that identify it."""
    constants = [code_parts(one) if hasattr(one, "co_code") else one for one in code.co_consts]
    return [code.co_filename, code.co_firstlineno, code.co_code, constants, code.co_names]


def contents_of(cell: Any) -> Any:
    """Return the value of a closure's variable."""
    try:
        return cell.cell_contents
    except ValueError:
        return Ellipsis  # not set yet


def holds_nothing(function: FunctionType) -> bool:
    """Tell whether a function is code only. A closure or a default may hold data."""
    return not (function.__closure__ or function.__defaults__ or function.__kwdefaults__)


def names_of_file(file: FieldFile) -> frozenset[str]:
    """Return the attributes that the class of a field's file sets in each instance."""
    cls = type(file)
    if cls not in initial_names:
        try:
            initial_names[cls] = (
                OF_EACH_FILE | vars(cls(file.instance, file.field, file.name)).keys()
            )
        except Exception:  # noqa: BLE001 - whatever a class does when an instance is made
            initial_names[cls] = OF_EACH_FILE
    return initial_names[cls]


def add_kinds(kinds: Iterable[Kind]) -> None:
    """Register more kinds of values, such as those of another template engine."""
    KINDS[:0] = kinds


Kind = tuple[Any, Callable[[Any, Any], str]]
KINDS: list[Kind] = [
    (Model, Canonicalizer.canonical_row),
    (enum.Enum, lambda canonicalizer, value: canonical_member(value)),
    (Promise, Canonicalizer.canonical_lazy_text),
    (QuerySet, Canonicalizer.canonical_query),
    (RawQuerySet, Canonicalizer.canonical_raw),
    (BaseManager, Canonicalizer.canonical_manager),
    (Page, Canonicalizer.canonical_page),
    (Paginator, Canonicalizer.canonical_paginator),
    (type, lambda canonicalizer, value: f"C{canonical_str(path_of_class(value))}"),
    (FunctionType, Canonicalizer.canonical_function),
    (MethodType, Canonicalizer.canonical_method),
    (BuiltinFunctionType, Canonicalizer.canonical_builtin),
    (functools.partial, Canonicalizer.canonical_partial),
    (ModuleType, Canonicalizer.canonical_module),
    (Template, Canonicalizer.canonical_template),
    (BlockNode, Canonicalizer.canonical_block),
    (FieldFile, Canonicalizer.canonical_file),
    ((HttpRequest, HttpResponseBase, Node, Iterator), Canonicalizer.refuse),
]
EXACT_KINDS: Mapping[type, Callable[[Canonicalizer, Any], str]] = {
    list: lambda canonicalizer, value: canonicalizer.canonical_all("l", value),
    tuple: lambda canonicalizer, value: canonicalizer.canonical_all("t", value),
    set: lambda canonicalizer, value: canonicalizer.canonical_set("e", value),
    frozenset: lambda canonicalizer, value: canonicalizer.canonical_set("E", value),
    dict: lambda canonicalizer, value: canonicalizer.canonical_items("m", value),
    OrderedDict: lambda canonicalizer, value: canonicalizer.canonical_items("mo", value),
    MappingProxyType: lambda canonicalizer, value: canonicalizer.canonical_items("mp", value),
    defaultdict: lambda canonicalizer, value: (
        canonicalizer.canonical_items("md", value)
        + canonicalizer.canonical_form(value.default_factory)
    ),
    deque: lambda canonicalizer, value: canonicalizer.canonical_all("ld", [value.maxlen, *value]),
    SimpleNamespace: lambda canonicalizer, value: (
        f"n{canonicalizer.canonical_attributes(vars(value))}"
    ),
    type({}.keys()): lambda canonicalizer, value: canonicalizer.canonical_all("lk", value),
    type({}.values()): lambda canonicalizer, value: canonicalizer.canonical_all("lv", value),
    type({}.items()): lambda canonicalizer, value: canonicalizer.canonical_all("li", value),
}


def canonical_alone(value: object) -> str:
    """Return the canonical form of an argument of any kind; it may contain rows."""
    return Canonicalizer().canonical_form(value)


def canonical_added(row: Model, met: Mapping[int, object]) -> str:
    """Return the form of attributes added to a row. ``met``: values covered elsewhere, by id."""
    canonicalizer = Canonicalizer()
    canonicalizer._met.update({key: (number, one) for number, (key, one) in enumerate(met.items())})
    return canonicalizer.canonical_added(row)


def canonicalizer_of_rows(model: type[Model]) -> Callable[[Model], str]:
    """Return a faster canonical_alone() for the rows of one model."""
    own, key_name = attributes_of_row(model), model._meta.pk.attname
    beginnings: dict[str | None, str] = {}

    def canonical_row(instance: Model) -> str:
        # Inlined: this runs for each row of a shown list.
        values, state = instance.__dict__, instance._state
        if own.issuperset(values) and not state.adding:
            for one in state.fields_cache.values():
                if one is not None and not is_bare(one, DEEPEST_RELATION):
                    break
            else:
                if (key := values.get(key_name)) is not None:
                    beginning = beginnings.get(state.db)
                    if beginning is None:
                        beginning = beginnings[state.db] = canonical_row_prefix(model, state.db)
                    return beginning + ENCODERS.get(type(key), canonical_form)(key)
        return canonical_alone(instance)

    return canonical_row


def parts_by(encode: Callable[[Any], str]) -> Callable[[Any], tuple[str]]:
    return lambda value: (encode(value),)


def parts_of_datetime(value: datetime) -> tuple[object, ...]:
    """Return the parts of a date and time: as pickle has them, in C, for the usual time zones."""
    if value.tzinfo is UTC or value.tzinfo is None:
        return value.__reduce_ex__(4)[1][0], value.tzinfo is None
    return (SCALARS[datetime](value),)


PLAIN_ROW = "\1"  # begins no canonical form
MARSHALLED = frozenset({str, int, bool, float, bytes, NoneType})
# How other plain values become tuples of marshalled ones.
PARTS: Mapping[type, Callable[[Any], tuple[object, ...]]] = {
    **{kind: parts_by(encode) for kind, encode in SCALARS.items()},
    datetime: parts_of_datetime,
}


@lru_cache(maxsize=1024)
def encoder_of_plain_rows(model: type[Model]) -> Callable[[Model], str | None]:
    """Return a function that identifies a row and all its fields by one text.

    It returns None for a row that holds more than plain values in its fields. Each hit of a
    fragment that shows a row without an argument runs it, so it is in C where it can be: marshal
    writes equal values of these types to equal bytes, different ones to different bytes, in each
    process. Its version 0 knows neither interned texts nor references.
    """
    own, key_name = attributes_of_row(model), model._meta.pk.attname
    names, beginning_of_fields = fields_of(model)
    read = itemgetter(*names, key_name)  # a tuple, as there are at least two names
    beginnings: dict[str, str] = {}

    def canonical_plain_row(row: Model) -> str | None:
        values, state = row.__dict__, row._state
        database = state.db
        if state.adding or database is None or state.fields_cache or not own.issuperset(values):
            return None
        try:
            found = read(values)
            if found[-1] is None:  # the key
                return None
            if not MARSHALLED.issuperset(map(type, found)):
                found = tuple(
                    [one if type(one) in MARSHALLED else PARTS[type(one)](one) for one in found]
                )
        except KeyError:  # a deferred field, a file, a list
            return None
        beginning = beginnings.get(database)
        if beginning is None:
            beginning = beginnings[database] = (
                canonical_row_prefix(model, database) + beginning_of_fields
            )
        return f"{beginning}{PLAIN_ROW}{marshal.dumps(found, 0).decode('latin-1')}"

    return canonical_plain_row


def is_bare(instance: Any, depth: int) -> bool:
    """Tell whether nothing was added to an instance or to its related rows."""
    # the canonical form of a lazy object is that of its value
    if not issubclass(type(instance), Model):
        return False
    model: Any = type(instance)
    if not attributes_of_row(model).issuperset(instance.__dict__):
        return False
    for one in instance._state.fields_cache.values():
        if one is not None and not (depth and is_bare(one, depth - 1)):
            return False
    return True


def canonical_stored(row: Model, name: str, value: object) -> str:
    """Return the form of the value that a field would store, or "" if it is not plain.

    For fields that wrap their value in objects, such as Wagtail's StreamField.
    """
    try:
        stored = cast("Any", row._meta.get_field(name)).get_prep_value(value)
        return "" if stored is None else f"S{canonical_form(stored)}"
    except Exception:  # noqa: BLE001 - whatever a field does with a value
        return ""


@lru_cache(maxsize=1024)
def fields_of(model: type[Model]) -> tuple[list[str], str]:
    """Return the field names of a model, and their canonical form."""
    names = sorted(attributes_of_row(model) - {"_state"})
    return names, canonical_form(names)


@lru_cache(maxsize=1024)
def initial_types(model: type[Model]) -> Mapping[str, type]:
    """Return the types of the attributes that a model's own code sets in each instance."""
    try:
        fresh = model.from_db(
            None,
            [field.attname for field in model._meta.concrete_fields],
            [None] * len(model._meta.concrete_fields),
        )
    except Exception:  # noqa: BLE001 - whatever a model does when it is made
        return NO_ATTRIBUTES
    return {name: type(value) for name, value in vars(fresh).items()}


initial_names: dict[type, frozenset[str]] = {}  # the initial attributes of files, by class
wrapping_fields: set[tuple[type[Model], str]] = set()  # fields whose values have no canonical form

# By exact type; canonical_form() checks the bases of other classes one by one.
encoders: dict[type, Callable[[Any], str]] = {
    **ENCODERS,
    **dict.fromkeys(CONTAINERS, canonical_alone),
}
