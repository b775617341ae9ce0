"""Tell by a digest whether a template, or one that it uses, is still the same. Jinja2's templates.

What sources does for Django's; see there for what is followed and what is noted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import Environment, Template, TemplateNotFound, Undefined, meta
from jinja2.runtime import Context

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


# What an environment and a context tell the fragment that is rendered


class NotingLookups(Environment):
    """Mixed into an environment: notes which templates it is asked for.

    A class, not methods put into an object: an overlay is made of the class and the attributes.
    """

    def get_template(self, name: Any, parent: str | None = None, globals: Any = None) -> Template:  # noqa: A002 - Jinja2's name
        """Note it, and load it."""
        self._note([name], parent)
        return super().get_template(name, parent, globals)

    def select_template(
        self,
        names: Any,
        parent: str | None = None,
        globals: Any = None,  # noqa: A002 - Jinja2's name
    ) -> Template:
        """Note all names, those that are not there too, and load the first that is."""
        if not isinstance(names, Undefined):
            names = list(names)
            self._note(names, parent)
        return super().select_template(names, parent, globals)

    def _note(self, names: Iterable[Any], parent: str | None) -> None:
        rendering = current_rendering()
        if rendering is None:
            return
        for name in names:
            if isinstance(name, Template):
                name = name.name  # noqa: PLW2901 - it was given as an object
                if name is None:
                    rendering.obstacles.append("it includes a template that has no name")
            if isinstance(name, str):
                joined = name if parent is None else self.join_path(name, parent)
                rendering.templates[joined] = None


class NotingNames(Context):
    """Mixed into the contexts of an environment: notes the names that are asked for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Remember the fragment that it was made in."""
        super().__init__(*args, **kwargs)
        self.cachelayers_made_in = current_rendering()

    def resolve_or_missing(self, key: str) -> Any:
        """Note it, and look it up."""
        value = super().resolve_or_missing(key)
        rendering = current_rendering()
        if rendering is not None:
            rendering.note(key, value, self)
        return value


def note_all(environment: Environment) -> None:
    """Have an environment and its contexts tell what they are asked for."""
    cls, context_class = type(environment), environment.context_class
    if not issubclass(cls, NotingLookups):
        environment.__class__ = type(cls.__name__, (NotingLookups, cls), {})
    if not issubclass(context_class, NotingNames):
        environment.context_class = type(context_class.__name__, (NotingNames, context_class), {})
