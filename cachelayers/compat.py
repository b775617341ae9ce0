"""Patches of Django's and other packages' internals, each with its reason and its test.

Packages above this module call its functions when a project uses their feature, never at import.
Patches that cannot be taken apart from their feature stay there and are listed here. A new version
of Django or of a driver breaks the package here first: run the tests that are named.

A patch ends with the process unless its entry says otherwise. The page docs/what_it_changes.md
names each of them for users.

Patches: ``HttpRequest.__class__``, ``QueryDict.__class__``, ``ResolverMatch.__class__``
In: cachelayers.request_access, until the fragment is rendered
Reason: what a block reads of the request selects its variant, and anybody may hold the request.
If it fails: a fragment would be served to requests that it was not rendered for.
Test: tests/fragments/test_request_variants.py
Avoidable: no. Views and middleware have the request before the template gets it.

Patches: ``LazyObject._setupfunc``, ``LazyObject._wrapped``, ``SessionBase.accessed``
In: cachelayers.fragments.lookups, until the fragment is rendered
Reason: the first use of ``request.user``, or of the session, by the block has to be noticed.
If it fails: a fragment would show one visitor's data to another.
Test: tests/fragments/test_lazy_users.py
Avoidable: no. The context holds the lazy object itself.

Patches: ``jinja2.Environment.__class__``, ``jinja2.Environment.context_class``
In: cachelayers.fragments.jinja, where the project has installed the extension
Reason: a fragment has to know which templates and names are asked for while it is rendered.
If it fails: a fragment stays when a template that it includes has changed.
Test: tests/fragments/test_templates_of_each_engine.py
Avoidable: with an ``Environment`` of our own, which each project would have to derive from.

Patches: ``psycopg.Connection.wait``, ``MySQLdb.Connection.query``
In: cachelayers.utils.answers, around a statement of the cache, or until its late answer has come
Reason: a server that is frozen ends no statement by its own time limit.
If it fails: a call waits for the server for as long as the driver does.
Test: tests/faults/test_bounded_waits.py
Avoidable: with a connection of its own for the cache, which sees no transaction of the caller.

Patches: ``connection.settings_dict``, ``connection._connection_pools``
In: cachelayers.utils.answers, while the cache connects
Reason: a connection that the cache has to open is waited for no longer than its time limit.
If it fails: a call waits for ``connect_timeout``, or for the pool's 30 seconds.
Test: tests/faults/test_waits_for_a_connection.py
Avoidable: no. Django has no argument for it.

Patches: ``connection.needs_rollback``
In: cachelayers.backends.database.django_session, around a write in a transaction on MySQL
Reason: Django takes a transaction for broken in which only a statement of the cache has failed.
If it fails: the caller's transaction is lost.
Test: tests/faults/test_bounded_waits.py
Avoidable: no.

Patches: ``connection.force_debug_cursor``
In: cachelayers.test_runs, around a statement of the cache in a test run
Reason: ``assertNumQueries`` counts the project's queries only.
If it fails: tests of the project count statements of the cache.
Test: tests/docs/test_short_pages.py
Avoidable: no.

Patches: ``connections[alias]``, ``connection.ensure_connection``
In: cachelayers.backends.database.sqlite_file, while a lost SQLite file is made anew
Reason: Django's migrations ask for the alias, and the new file has another name until it is ready.
If it fails: the file is made by ``migrate`` only; until then reads are misses.
Test: tests/faults/test_sqlite_files.py
Avoidable: with SQL of our own instead of the migrations.

Patches: ``response.streaming_content``, ``response._resource_closers``
In: cachelayers.middleware, for a streaming response
Reason: its parts are made after the middleware has returned, in the same unit of work.
If it fails: cached values in the parts are looked up as outside of a unit.
Test: tests/invalidation/test_streaming.py
Avoidable: the first is public. Django has no signal for a response that was closed.

Patches: ``request.user``, ``WSGIHandler._get_response``, ``close_old_connections``
In: cachelayers.warming.clients, while ``warm_cache`` renders a page; a handler of its own
Reason: a page that is made for a user must not be stored, and the caller keeps its transaction.
If it fails: a page is stored that shows one user's data.
Test: tests/commands/test_variants.py
Avoidable: by warming through a server (``--server``) only.

Frames. ``sys._getframe`` is read, and nothing is changed, in cachelayers.utils.tracing (the line of
the project that a log record names), cachelayers.invalidation.execute_wrapper (who has called a
cache) and cachelayers.backends.base (the alias of a cache that is being made).
Avoidable: the last with an argument that Django does not give.

Private names that are read only. Where a version lacks one, its feature raises AttributeError in
the tests of its module:

- Django: ``_result_cache``, ``_iterable_class``, ``_prefetch_related_lookups``, ``_sticky_filter``,
  ``_known_related_objects``, ``_setup``, ``_registry``, ``_func_path``, ``_missing_key``,
  ``_cache_update_cache``, ``_TestState``, ``_cache``, ``_servers``, ``_serializer``, ``_storage``,
  ``_chain``, ``_for_write``, ``_fetch_mode``
- Jinja2: ``_tag_stack``, ``_func``, ``_body_stream``, ``_depth``, ``_undefined_name``
- diskcache: ``_shards``, ``_hash``, ``_count`` of a ``FanoutCache``
- Python: ``_slotnames``, ``_at_fork_reinit``, ``_is_owned``, ``_name_``, ``_value_``
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db.backends.base.base import BaseDatabaseWrapper
from django.template import Engine
from django.urls import base as urls
from django.utils import timezone
from django.utils.translation import trans_real

from cachelayers.utils.execute_wrappers import is_own

# Not `__wrapped__`, which every wrapper has. A wrapper around ours takes this over, and rightly.
OURS = "_cachelayers_wrapped"


Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


def wrap_once(owner: Any, name: str, wrap: Wrap) -> None:
    """Replace a method by ``wrap(method)``, unless that was done before."""
    method = getattr(owner, name)
    if not hasattr(method, OURS):
        wrapper = functools.wraps(method)(wrap(method))
        setattr(wrapper, OURS, True)
        setattr(owner, name, wrapper)


def wrap_commands(wrap: Wrap) -> None:
    """Have each management command run by ``wrap(execute)``.

    Patches: ``BaseCommand.execute``
    Reason: each command is one unit of work, and Django sends no signal for commands.
    If it fails: commands look up cached values as outside of a unit: slower, never older.
    Test: tests/invalidation/test_auto_units_with_others.py
    Avoidable: no.
    """
    wrap_once(BaseCommand, "execute", wrap)


def put_first_in_middleware(path: str) -> None:
    """Put a middleware in front, unless the project has given it a place of its own.

    Patches: ``settings.MIDDLEWARE``
    Reason: each request is one unit of work. Django sends its request signals in tasks of their own
        under ASGI, from where no context variable comes back.
    If it fails: requests look up cached values as outside of a unit: slower, never older.
    Test: tests/invalidation/test_auto_units.py
    Avoidable: by listing the middleware in the project's settings.
    """
    given: Any = settings.MIDDLEWARE  # a list, or a tuple, as the project has it
    if path not in given:
        others = (path, *given)
        settings.MIDDLEWARE = others if isinstance(given, tuple) else list(others)


def call_after_transactions(connection: BaseDatabaseWrapper, end: Callable[[], None]) -> None:
    """Have ``end`` called after each transaction of a connection, also where its end raises.

    Patches: ``connection.commit``, ``connection.rollback``, ``connection.close``
    Reason: in a transaction that has written, nothing is read from the cache or stored.
        ``on_commit`` has no twin for a rollback, and tests count its callbacks.
    If it fails: after a write, the connection's thread goes on to compute everything.
    Test: tests/invalidation/test_own_writes.py
    Avoidable: no. Django sends no signal for it.
    """

    def followed(method: Callable[..., Any]) -> Callable[..., Any]:
        def perform(*arguments: Any, **keywords: Any) -> Any:
            try:
                return method(*arguments, **keywords)
            finally:
                end()

        return perform

    for name in ("commit", "rollback", "close"):
        setattr(connection, name, followed(getattr(connection, name)))


def add_execute_wrapper(connection: BaseDatabaseWrapper, wrapper: Callable[..., Any]) -> None:
    """Have all statements of a connection pass through a wrapper.

    Patches: ``connection.execute_wrappers``
    Reason: which tables a statement reads or writes. Django's own way,
        ``with connection.execute_wrapper(...)``, is for a block.
    If it fails: nothing is known to be made from a table, so nothing is stored.
    Test: tests/invalidation/test_first_statement.py
    Avoidable: no.
    """
    if wrapper not in connection.execute_wrappers:
        # First: `with connection.execute_wrapper(...)` takes the last one away at its end.
        connection.execute_wrappers.insert(0, wrapper)


@contextmanager
def without_execute_wrapper(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Leave that wrapper out for the statements of the block, to which they mean nothing."""
    # First: a connection that is made within the block would get the wrapper for that block only.
    if connection.connection is None and not connection.in_atomic_block:
        connection.ensure_connection()
    usual = connection.execute_wrappers
    connection.execute_wrappers = [one for one in usual if not is_own(one)]
    try:
        yield
    finally:
        connection.execute_wrappers = usual


def wrap_find_template(engine: Engine, wrap: Wrap) -> None:
    """Have an engine look for templates by ``wrap(find_template)``.

    Patches: ``Engine.find_template``
    Reason: the templates that a fragment is rendered from select its entry. All ways to a template,
        from includes to ``render_to_string()`` in a tag, go through this method.
    If it fails: a fragment stays when a template that it includes has changed.
    Test: tests/fragments/test_stale_templates.py
    Avoidable: no. Django sends no signal for it.
    """
    wrap_once(engine, "find_template", wrap)


LANGUAGE = "language"
TIME_ZONE = "time zone"
# What URLs are made by: the URLconf, the prefix of the script, and what the {% url %} tag asks the
# request for.
URLS = "urls"


def stand_in_front_of_active(stand_in: type) -> None:
    """Put ``stand_in(holder, dimension)`` where Django keeps what is active in a thread.

    Called for each fragment that is compiled or rendered: overridden settings renew the holders.

    Patches: ``trans_real._active``, ``timezone._active``, ``urls.base._urlconfs``,
        ``urls.base._prefixes``
    Reason: a fragment that asks for the language, the time zone or a URL is stored for each value.
    If it fails: a fragment would be served in another language.
    Test: tests/fragments/test_locale.py
    Avoidable: with the language in each key, at the price of one entry for each language.
    """
    holders: tuple[tuple[Any, str, str], ...] = (
        (trans_real, "_active", LANGUAGE),
        (timezone, "_active", TIME_ZONE),
        (urls, "_urlconfs", URLS),
        (urls, "_prefixes", URLS),
    )
    for module, name, dimension in holders:
        holder = getattr(module, name)
        if not isinstance(holder, stand_in):
            setattr(module, name, stand_in(holder, dimension))


def add_admin_action(model_admin: Any, action: Any, permission: str, may: Any) -> None:
    """Add an action to a model's list in the admin, unless it has none or one of that name.

    Patches: ``ModelAdmin.actions``, ``ModelAdmin.has_invalidate_cached_entries_permission``
    Reason: the lists of tracked models alone get it; ``AdminSite.add_action`` gives it to all.
        Django asks the ModelAdmin whether the user may, by a method of the permission's name.
    If it fails: the action is missing.
    Test: tests/admin/test_changelists.py
    Avoidable: with a mixin that each project would have to list.
    """
    actions = model_admin.actions
    names = {one if isinstance(one, str) else one.__name__ for one in actions or ()}
    if actions is not None and action.__name__ not in names:
        setattr(model_admin, f"has_{permission}_permission", may)
        model_admin.actions = [*actions, action]


def sort_section(site: Any, label: str, names: Sequence[str]) -> None:
    """Have an app's section of the admin's menu list its models in an order.

    Patches: ``AdminSite.get_app_list``
    Reason: Django sorts models by their names, which would put the overview last.
    If it fails: the section is sorted by name.
    Test: tests/admin/test_screens.py
    Avoidable: no. Django has no option for it.
    """
    order = {name: number for number, name in enumerate(names)}

    def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
        def get_app_list(*given: Any, **options: Any) -> Any:
            found = method(*given, **options)
            for app in found:
                if app.get("app_label") == label:
                    app["models"].sort(key=lambda one: order.get(one["object_name"], len(order)))
            return found

        return get_app_list

    wrap_once(site, "get_app_list", wrap)


def wrap_change_form(model_admin: Any, wrap: Wrap) -> None:
    """Have the pages of a model's rows in the admin rendered by ``wrap(render)``.

    Patches: ``ModelAdmin.render_change_form``
    Reason: a button to invalidate the row, whichever template its page has.
    If it fails: the button is missing.
    Test: tests/admin/test_changelists.py
    Avoidable: with a template that each project's own would have to extend.
    """
    wrap_once(model_admin, "render_change_form", wrap)
