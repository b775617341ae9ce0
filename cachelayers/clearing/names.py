"""Find what an operator names; say what exists where nothing is called so."""

from __future__ import annotations

import re
from importlib import import_module

from django.apps import apps
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Model

from cachelayers.fragments import check_name, names_in_templates, tag_of_name
from cachelayers.invalidation.tags import USER_TAG, known_user_tags, user_tag
from cachelayers.invalidation.tracked import log_database, tracked_models
from cachelayers.models import Invalidation
from cachelayers.utils.text import unknown_name

# cache_key_prefix of Django's engines, without importing them.
HEADS = ("django.contrib.sessions.cache", "django.contrib.sessions.cached_db")


def session_heads() -> tuple[str, ...]:
    """Return what the keys of sessions begin with, as they are given to a cache."""
    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):  # Django's own affair
        return HEADS
    own = str(getattr(store, "cache_key_prefix", ""))
    return tuple(dict.fromkeys([*HEADS, own])) if own else HEADS


def session_keys() -> re.Pattern[str]:
    """Return what is found in the key of a session, whatever a cache puts in front of it."""
    return re.compile("|".join(re.escape(head) for head in session_heads()))


def goes_into_sessions(prefix: str) -> bool:
    """Tell whether a prefix is only some sessions'. To count those would give keys away."""
    heads = session_heads()
    return prefix not in heads and prefix.startswith(heads)


FRAGMENT = tag_of_name("")  # what the word of a fragment's name begins with


class UnknownName(ValueError):
    """Nothing is called so; the message names what is."""


def check_word(word: str, *, kind: str = "tag") -> None:
    """Raise UnknownName for what is no word, or one that nobody has ever heard of."""
    check_spelling(word)
    known = known_words()
    if word not in known:
        raise UnknownName(unknown_name(kind, word, sorted(known)))


def check_fragment(name: str) -> None:
    """Raise UnknownName for what is no name of a fragment, or one that no template has."""
    check_spelling_of_fragment(name)
    known = known_fragments()
    if name not in known:
        raise UnknownName(unknown_name("fragment", name, sorted(known)))


def check_spelling_of_fragment(name: str) -> None:
    """Raise UnknownName for what can be no fragment's name."""
    try:
        check_name(name)
    except ValueError as error:
        raise UnknownName(f"{name!r} is no name of a fragment: {error}") from None


def known_fragments() -> set[str]:
    """Return the names that stand in templates, and those in the log or in entries stored here."""
    words = (word for word in known_words() if word.startswith(FRAGMENT))
    return names_in_templates() | {word.removeprefix(FRAGMENT) for word in words}


def check_spelling(word: str) -> None:
    """Raise UnknownName for what can be nobody's word."""
    try:
        user_tag(word)
    except ValueError as error:
        raise UnknownName(str(error)) from None


def known_words() -> set[str]:
    """Return the words that code declares, those of entries stored here, and those in the log.

    Others may exist, in entries that other processes have stored: nobody lists those.
    """
    import_views()
    try:
        return known_user_tags() | logged_words()
    except DatabaseError:  # before the first migrate there is no log
        return known_user_tags()


def logged_words() -> set[str]:
    """Return the words in the log."""
    rows = Invalidation.objects.using(log_database()).filter(tag__startswith=USER_TAG)
    return {tag.removeprefix(USER_TAG) for tag in rows.values_list("tag", flat=True).distinct()}


def import_views() -> None:
    """Import what Django imports with the first request: decorators there declare words."""
    # A site that does not even import may well need its cache cleared; its log is still known.
    try:
        import_module(settings.ROOT_URLCONF)
    except Exception:  # noqa: BLE001 - it is the site's own code
        return


def model_named(label: str) -> type[Model]:
    """Return the tracked model that ``app.Model`` names."""
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
    """Return an alias of CACHES."""
    if alias not in settings.CACHES:
        raise UnknownName(unknown_name("alias in CACHES", alias, settings.CACHES))
    return alias
