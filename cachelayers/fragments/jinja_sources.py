"""Tell by a digest whether a template, or one that it uses, is still the same. Jinja2's templates.

What sources does for Django's; see there for what is followed and what is noted.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import Environment, Template, TemplateNotFound, meta

from cachelayers.fragments.code import digest_of_code
from cachelayers.fragments.keys import digest_of
from cachelayers.fragments.markup import Templates, current_rendering, rendering_of

MISSING = "there is no such template"
_codes: WeakKeyDictionary[Environment, str] = WeakKeyDictionary()
_found: WeakKeyDictionary[Template, tuple[str, frozenset[str]]] = WeakKeyDictionary()


def digest_of_name(environment: Environment, name: str) -> str | None:
    """Return a digest of a template and of those that it names, or None where there is none."""
    found = follow_name(environment, name)
    return None if found is None else found[0]


def follow_name(environment: Environment, name: str) -> tuple[str, frozenset[str]] | None:
    """Return the digest, and the names that were followed for it."""
    try:
        with rendering_of(None):
            template = environment.get_template(name)
    except TemplateNotFound:
        return None
    found = _found.get(template)
    if found is None:
        sources: dict[str, str] = {}
        _follow(environment, name, sources)
        found = digest(sources), frozenset(sources)
        if not environment.auto_reload:  # with that, one that it names may change alone
            _found[template] = found
    return found


def code_of(environment: Environment) -> str:
    """Return a digest of the code of an environment's filters, tests and functions."""
    found = _codes.get(environment)
    if found is None:
        called = (environment.filters, environment.tests, environment.globals)
        functions = [function for some in called for function in some.values()]
        found = _codes[environment] = digest_of_code(functions)
    return found


def are_unchanged(environment: Environment, templates: Templates) -> bool:
    """Tell whether the templates of names are those that they were, and none has come to be."""
    return all(digest_of_name(environment, name) == known for name, known in templates.items())


def digest(sources: Mapping[str, str]) -> str:
    """Return the digest of sources by name."""
    return digest_of(*(text for name in sorted(sources) for text in (name, sources[name])))


def _follow(environment: Environment, name: str, sources: dict[str, str]) -> None:
    if name in sources or environment.loader is None:
        return
    try:
        source, *_ = environment.loader.get_source(environment, name)
    except TemplateNotFound:
        sources[name] = MISSING
        return
    sources[name] = source
    for referred in meta.find_referenced_templates(environment.parse(source, name)):
        if referred is not None:  # None: worked out while it is rendered
            _follow(environment, environment.join_path(referred, name), sources)


def note_lookups(environment: Environment) -> None:
    """Have an environment tell the fragment that is rendered which templates it is asked for."""
    get, select = environment.get_template, environment.select_template
    if hasattr(get, "__wrapped__"):
        return

    @functools.wraps(get)
    def get_and_note(name: Any, parent: str | None = None, *others: Any, **options: Any) -> Any:
        note(environment, [name], parent)
        return get(name, parent, *others, **options)

    @functools.wraps(select)
    def select_and_note(
        names: Iterable[Any], parent: str | None = None, *others: Any, **options: Any
    ) -> Any:
        names = list(names)
        note(environment, names, parent)
        return select(names, parent, *others, **options)

    environment.get_template = get_and_note  # type: ignore[method-assign]
    environment.select_template = select_and_note  # type: ignore[method-assign]


def note(environment: Environment, names: Iterable[Any], parent: str | None) -> None:
    """Note names that were asked for, those of them that are not there too."""
    rendering = current_rendering()
    if rendering is None:
        return
    for name in names:
        if isinstance(name, str):
            joined = name if parent is None else environment.join_path(name, parent)
            rendering.templates[joined] = None
