"""Find what an operator names; say what exists where nothing is called so."""

from __future__ import annotations

from importlib import import_module

from django.apps import apps
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Model

from cachelayers.fragments.keys import check_name, word_of
from cachelayers.fragments.known import names_in_templates
from cachelayers.invalidation.tags import WORD, word_tag
from cachelayers.invalidation.tracked import log_database, tracked_models
from cachelayers.invalidation.words import declared_words
from cachelayers.models import Invalidation
from cachelayers.suggestions import unknown_name

FRAGMENT = word_of("")  # what the word of a fragment's name begins with


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
        word_tag(word)
    except ValueError as error:
        raise UnknownName(str(error)) from None


def known_words() -> set[str]:
    """Return the words that code declares, those of entries stored here, and those in the log.

    Others may exist, in entries that other processes have stored: nobody lists those.
    """
    import_views()
    try:
        return declared_words() | logged_words()
    except DatabaseError:  # before the first migrate there is no log
        return declared_words()


def logged_words() -> set[str]:
    """Return the words in the log."""
    rows = Invalidation.objects.using(log_database()).filter(tag__startswith=WORD)
    return {tag.removeprefix(WORD) for tag in rows.values_list("tag", flat=True).distinct()}


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
