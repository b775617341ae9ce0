"""Digests of Django templates, to notice that a template, or one that it uses, has changed.

Template names that are written in a template are followed when its digest is made. Names computed
during rendering are recorded then, and compared again before the fragment is served.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from django.template import Engine, Node, NodeList, Origin, Template, TemplateDoesNotExist, engines
from django.template.base import UNKNOWN_SOURCE, Parser
from django.template.library import InclusionNode
from django.template.loader_tags import ExtendsNode, IncludeNode, construct_relative_path

from cachelayers.compat import wrap_find_template
from cachelayers.fragments.keys import digest_of, digest_of_code
from cachelayers.fragments.markup import Templates, current_rendering, rendering_of

LONGEST_TEMPLATE = 2**20  # bytes; larger files are not templates
NAMED = re.compile(r"{%[-+]?\s*fragments?\s+(?:\"([^\"]+)\"|'([^']+)')")


def names_in_templates() -> set[str]:
    """Return the fragment names that are written in the templates of every engine's folders.

    Names computed during rendering are not included.
    """
    return {double or single for text in template_texts() for double, single in NAMED.findall(text)}


def template_texts() -> Iterator[str]:
    """Yield the text of every file in the template folders."""
    folders = {Path(folder) for engine in engines.all() for folder in engine.template_dirs}
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                if path.is_file() and path.stat().st_size <= LONGEST_TEMPLATE:
                    yield path.read_text(errors="replace")
            except OSError:  # it was deleted, or cannot be read
                continue


MISSING = "there is no such template"
OF_DJANGO = "django.template.loaders."
_digests: WeakKeyDictionary[Template, str] = WeakKeyDictionary()


class FoundTemplate(NamedTuple):
    """The template that an engine found for a name."""

    name: str
    skip: list[Origin] | None
    template: Template | None

    def is_still_found_by(self, engine: Engine) -> bool:
        """Tell whether the engine still finds the same template."""
        try:
            found: Template = engine.find_template(self.name, skip=self.skip)[0]
        except TemplateDoesNotExist:
            return self.template is None
        return found is self.template


class Followed:
    """The templates that a fragment uses, followed from one to the next."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self.templates: list[FoundTemplate] = []
        self.are_lasting = True  # every loader involved always finds the same template

    def digest(self) -> str:
        return digest_of(*(text for name in sorted(self.sources) for text in (name, self[name])))

    def __getitem__(self, name: str) -> str:
        return self.sources[name]


def follow_nodes(engine: Engine, origin: Origin, nodes: NodeList) -> Followed:
    """Return the templates that the nodes name, and those that these templates name."""
    found = Followed()
    with rendering_of(None):
        _follow(engine, nodes, [origin], found)
    return found


def digest_of_name(engine: Engine, name: str) -> str | None:
    """Return a digest of a template and of those that it names, or None if it does not exist."""
    try:
        with rendering_of(None):
            template = engine.get_template(name.partition("#")[0])
    except TemplateDoesNotExist:
        return None
    digest = _digests.get(template)
    if digest is None:
        found = Followed()
        found.sources[name] = str(template.source)
        with rendering_of(None):
            _follow(engine, template.nodelist, [template.origin], found)
        digest = found.digest()
        if found.are_lasting and not has_loaders_of_others(engine):
            _digests[template] = digest
    return digest


def has_loaders_of_others(engine: Engine) -> bool:
    """Tell whether a template name may mean different templates, by tenant, theme or device."""
    return not all(type(one).__module__.startswith(OF_DJANGO) for one in engine.template_loaders)


def are_still_found(engine: Engine, templates: Iterable[FoundTemplate]) -> bool:
    """Tell whether an engine still finds the templates that were followed."""
    with rendering_of(None):
        return all(one.is_still_found_by(engine) for one in templates)


def are_unchanged(engine: Engine, templates: Templates) -> bool:
    """Tell whether the templates have the same digests, and the missing ones are still missing."""
    return all(digest_of_name(engine, name) == digest for name, digest in templates.items())


# Names that are written in a template


def _follow(engine: Engine, nodes: NodeList, origins: list[Origin], found: Followed) -> None:
    """Add the sources of the templates that the nodes name. ``origins``: the chain so far."""
    for name in names_in(origins[-1].template_name, nodes):
        # A template may extend another template with its own name, from a later loader.
        extends_itself = name == origins[-1].template_name
        skipped = origins if extends_itself else None
        key = f"{name}, {len(origins)} levels below" if extends_itself else name
        if key in found.sources:
            continue
        base = name.partition("#")[0]
        try:
            template, origin = engine.find_template(base, skip=skipped)
        except TemplateDoesNotExist:
            found.sources[key] = MISSING
            found.templates.append(FoundTemplate(base, skipped, None))
        else:
            found.templates.append(FoundTemplate(base, skipped, template))
            found.are_lasting &= found.templates[-1].is_still_found_by(engine)
            found.sources[key] = str(template.source)
            _follow(engine, template.nodelist, [*(skipped or ()), origin], found)


def names_in(own_name: Any, nodes: NodeList, visited: tuple[NodeList, ...] = ()) -> Iterator[str]:
    """Yield the template names written in the nodes. ``own_name``: what "./" is relative to."""
    for node in nodes.get_nodes_by_type(Node):
        if isinstance(node, IncludeNode):
            yield from _constant(own_name, node.template)
        elif isinstance(node, ExtendsNode):
            yield from _constant(own_name, node.parent_name)
        elif isinstance(node, InclusionNode):
            yield from _file_names(node.filename)
        elif hasattr(node, "partial_mapping"):
            nodes_of_partial = nodes_used_by(node)
            if not any(nodes_of_partial is one for one in visited):
                yield from names_in(own_name, nodes_of_partial, (*visited, nodes_of_partial))


def nodes_used_by(node: Any) -> NodeList:
    """Return the nodes of a partial that Django 6's tag uses; empty if it is not defined."""
    try:
        nodes: NodeList = node.partial_mapping[node.partial_name].nodelist
    except KeyError:
        return NodeList()
    return nodes


def _constant(own_name: Any, expression: Any) -> Iterator[str]:
    if isinstance(expression.var, str) and not expression.filters:
        yield construct_relative_path(own_name, expression.var)


def _file_names(filename: Any) -> Iterator[str]:
    if isinstance(filename, str):
        yield filename
    elif isinstance(filename, Iterable):
        yield from filename


# Names computed while a fragment is rendered


def track_lookups(engine: Engine) -> None:
    """Make an engine record the templates that it is asked for in the current rendering."""
    wrap_find_template(engine, recording)


def recording(find: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that finds templates, and records their names."""

    def find_and_record(name: str, dirs: Any = None, skip: Any = None) -> Any:
        rendering = current_rendering()
        if rendering is not None:
            rendering.templates[name] = None
        found = find(name, dirs, skip)
        if rendering is not None:
            rendering.templates[name] = ""  # the digest is made when the fragment is finished
        return found

    return find_and_record


# The template that contains a tag


def source_around(parser: Parser) -> str:
    """Return the source of the template being parsed, or the rest of it.

    A template made from a string cannot be read again.
    """
    origin = origin_of(parser)
    if origin.loader is None:
        tokens: list[Any] = list(parser.tokens)
        return "".join(f"{token.token_type}{token.contents}" for token in tokens)
    loader: Any = origin.loader
    return str(loader.get_contents(origin))


def origin_of(parser: Parser) -> Origin:
    """Return the origin of the template being parsed."""
    return parser.origin or Origin(UNKNOWN_SOURCE)


def source_of_libraries(parser: Parser) -> str:
    """Return a digest of the code of the tag libraries loaded so far, except Django's own."""
    return digest_of_code([*parser.tags.values(), *parser.filters.values()])
