"""Checks the names that an operator types, and suggests existing ones for wrong names.

``clear_cache`` and the admin's forms use it.
"""

from __future__ import annotations

import re
from importlib import import_module

from django.apps import apps
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Model

from cachelayers.fragments import check_name, names_in_templates, tag_of_name
from cachelayers.invalidation import (
    USER_TAG,
    known_user_tags,
    log_database,
    tracked_models,
    user_tag,
)
from cachelayers.models import Invalidation
from cachelayers.utils.suggestions import unknown_name

# cache_key_prefix of Django's session engines, without importing them.
HEADS = ("django.contrib.sessions.cache", "django.contrib.sessions.cached_db")


def session_heads() -> tuple[str, ...]:
    """Return the key prefixes of sessions."""
    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):  # Django may change this module
        return HEADS
    own = str(getattr(store, "cache_key_prefix", ""))
    return tuple(dict.fromkeys([*HEADS, own])) if own else HEADS


def session_keys() -> re.Pattern[str]:
    """Return a pattern that finds session keys, also with a cache's own prefix."""
    return re.compile("|".join(re.escape(head) for head in session_heads()))


def goes_into_sessions(prefix: str) -> bool:
    """Tell whether a prefix matches only some sessions: counting these would reveal their keys."""
    heads = session_heads()
    return prefix not in heads and prefix.startswith(heads)


FRAGMENT = tag_of_name("")  # prefix of the tags of fragments


class UnknownName(ValueError):
    """The name does not exist. The message lists similar names."""


def check_known_tag(tag: str, *, kind: str = "tag") -> None:
    """Raise UnknownName for an invalid or unknown tag."""
    check_tag_syntax(tag)
    known = known_tags()
    if tag not in known:
        raise UnknownName(unknown_name(kind, tag, sorted(known)))


def check_fragment(name: str) -> None:
    """Raise UnknownName for an invalid name, or one in no template."""
    check_fragment_syntax(name)
    known = known_fragments()
    if name not in known:
        raise UnknownName(unknown_name("fragment", name, sorted(known)))


def check_fragment_syntax(name: str) -> None:
    """Raise UnknownName for an invalid fragment name."""
    try:
        check_name(name)
    except ValueError as error:
        raise UnknownName(f"{name!r} is no name of a fragment: {error}") from None


def known_fragments() -> set[str]:
    """Return the names in templates, in the log, and of entries that this process has stored."""
    tags = (tag for tag in known_tags() if tag.startswith(FRAGMENT))
    return names_in_templates() | {tag.removeprefix(FRAGMENT) for tag in tags}


def check_tag_syntax(tag: str) -> None:
    """Raise UnknownName for an invalid tag."""
    try:
        user_tag(tag)
    except ValueError as error:
        raise UnknownName(str(error)) from None


def known_tags() -> set[str]:
    """Return the tags in code, in the log, and of entries that this process has stored.

    Entries of other processes may have more tags; there is no list of them.
    """
    import_views()
    try:
        return known_user_tags() | logged_tags()
    except DatabaseError:  # before the first migrate there is no log
        return known_user_tags()


def logged_tags() -> set[str]:
    """Return the tags in the log."""
    rows = Invalidation.objects.using(log_database()).filter(tag__startswith=USER_TAG)
    return {tag.removeprefix(USER_TAG) for tag in rows.values_list("tag", flat=True).distinct()}


def import_views() -> None:
    """Import the views, like Django at the first request: their decorators declare tags."""
    # A site whose import fails may need its cache cleared; its log is still readable.
    try:
        import_module(settings.ROOT_URLCONF)
    except Exception:  # noqa: BLE001 - it is the site's own code
        return


def model_named(label: str) -> type[Model]:
    """Return the tracked model ``app.Model``. Raises UnknownName."""
    known = sorted(model._meta.label for model in tracked_models())
    try:
        model: type[Model] = apps.get_model(label)
    except (LookupError, ValueError):
        raise UnknownName(unknown_name("tracked model", label, known)) from None
    if model not in tracked_models():
        raise UnknownName(
            f"{model._meta.label} is not tracked, so no entry depends on it. Add"
            f" {model._meta.label!r} to CACHELAYERS['TRACK']; now tracked are:"
            f" {', '.join(known) or 'none'}."
        )
    return model


def alias_named(alias: str) -> str:
    """Return the alias if it is in CACHES. Raises UnknownName."""
    if alias not in settings.CACHES:
        raise UnknownName(unknown_name("alias in CACHES", alias, settings.CACHES))
    return alias
