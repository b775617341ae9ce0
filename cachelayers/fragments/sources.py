"""Tell by a digest whether a template, or one that it uses, is still the same. Django's templates.

Names that stand in a template are followed when its digest is made. Those that are worked out while
it is rendered are noted as they are looked for, and looked at again before what was made with them
is used.
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

LONGEST_TEMPLATE = 2**20  # bytes; what is larger is no template
NAMED = re.compile(r"{%[-+]?\s*fragments?\s+(?:\"([^\"]+)\"|'([^']+)')")


def names_in_templates() -> set[str]:
    """Return the names that stand in the files of every template engine's folders.

    Not those that are worked out while a template is rendered.
    """
    return {double or single for text in template_texts() for double, single in NAMED.findall(text)}


def template_texts() -> Iterator[str]:
    """Yield the text of every file in the folders of templates."""
    folders = {Path(folder) for engine in engines.all() for folder in engine.template_dirs}
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                if path.is_file() and path.stat().st_size <= LONGEST_TEMPLATE:
                    yield path.read_text(errors="replace")
            except OSError:  # it went, or is nobody's to read
                continue


MISSING = "there is no such template"
OF_DJANGO = "django.template.loaders."
_digests: WeakKeyDictionary[Template, str] = WeakKeyDictionary()


class FoundTemplate(NamedTuple):
    """What an engine has given for a name."""

    name: str
    skip: list[Origin] | None
    template: Template | None

    def is_given_by(self, engine: Engine) -> bool:
        """Tell whether the engine gives the same now."""
        try:
            found: Template = engine.find_template(self.name, skip=self.skip)[0]
        except TemplateDoesNotExist:
            return self.template is None
        return found is self.template


class Followed:
    """Templates that were followed from one to the next."""

    def __init__(self) -> None:
        """None yet."""
        self.sources: dict[str, str] = {}
        self.given: list[FoundTemplate] = []
        self.are_lasting = True  # each loader on the way goes on to give the same template

    def digest(self) -> str:
        """Return a digest of all."""
        return digest_of(*(text for name in sorted(self.sources) for text in (name, self[name])))

    def __getitem__(self, name: str) -> str:
        return self.sources[name]


def follow_nodes(engine: Engine, origin: Origin, nodes: NodeList) -> Followed:
    """Return the templates that nodes name, and those that these name."""
    found = Followed()
    with rendering_of(None):
        _follow(engine, nodes, [origin], found)
    return found


def digest_of_name(engine: Engine, name: str) -> str | None:
    """Return a digest of a template and of those that it names, or None where there is none."""
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
    """Tell whether a template of a name may be another one by tenant, theme or device."""
    return not all(type(one).__module__.startswith(OF_DJANGO) for one in engine.template_loaders)


def are_still_given(engine: Engine, given: Iterable[FoundTemplate]) -> bool:
    """Tell whether an engine gives the templates that were followed."""
    with rendering_of(None):
        return all(one.is_given_by(engine) for one in given)


def are_unchanged(engine: Engine, templates: Templates) -> bool:
    """Tell whether the templates of names are those that they were, and none has come to be."""
    return all(digest_of_name(engine, name) == digest for name, digest in templates.items())


# Names that stand in a template


def _follow(engine: Engine, nodes: NodeList, origins: list[Origin], found: Followed) -> None:
    """Add the sources of the templates that nodes name. ``origins``: which lie on the way there."""
    for name in names_in(origins[-1].template_name, nodes):
        # A template may extend the one of its own name that it stands in front of.
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
            found.given.append(FoundTemplate(base, skipped, None))
        else:
            found.given.append(FoundTemplate(base, skipped, template))
            found.are_lasting &= found.given[-1].is_given_by(engine)
            found.sources[key] = str(template.source)
            _follow(engine, template.nodelist, [*(skipped or ()), origin], found)


def names_in(own_name: Any, nodes: NodeList, seen: tuple[NodeList, ...] = ()) -> Iterator[str]:
    """Yield the names of templates that stand in nodes. ``own_name``: what "./" is relative to."""
    for node in nodes.get_nodes_by_type(Node):
        if isinstance(node, IncludeNode):
            yield from _constant(own_name, node.template)
        elif isinstance(node, ExtendsNode):
            yield from _constant(own_name, node.parent_name)
        elif isinstance(node, InclusionNode):
            yield from _file_names(node.filename)
        elif hasattr(node, "partial_mapping"):
            nodes_of_partial = nodes_used_by(node)
            if not any(nodes_of_partial is one for one in seen):
                yield from names_in(own_name, nodes_of_partial, (*seen, nodes_of_partial))


def nodes_used_by(node: Any) -> NodeList:
    """Return the nodes of the partial that a tag of Django 6 uses; none where it is not defined."""
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


# Names that are worked out while a fragment is rendered


def note_lookups(engine: Engine) -> None:
    """Have an engine tell the fragment that is rendered which templates it is asked for."""
    wrap_find_template(engine, find_and_note)


def find_and_note(find: Callable[..., Any], name: str, dirs: Any = None, skip: Any = None) -> Any:
    """Find a template for an engine."""
    rendering = current_rendering()
    if rendering is not None:
        rendering.templates[name] = None
    found = find(name, dirs, skip)
    if rendering is not None:
        rendering.templates[name] = ""  # its digest is made when the fragment is finished
    return found


# The template that a tag stands in


def source_around(parser: Parser) -> str:
    """Return the source of the template that is being parsed, or what is left of it.

    A template that was made from a string is not to be read again.
    """
    origin = origin_of(parser)
    if origin.loader is None:
        tokens: list[Any] = list(parser.tokens)
        return "".join(f"{token.token_type}{token.contents}" for token in tokens)
    loader: Any = origin.loader
    return str(loader.get_contents(origin))


def origin_of(parser: Parser) -> Origin:
    """Return where the template that is parsed comes from."""
    return parser.origin or Origin(UNKNOWN_SOURCE)


def source_of_libraries(parser: Parser) -> str:
    """Return a digest of the code of the tags and filters that are loaded so far, but Django's."""
    return digest_of_code([*parser.tags.values(), *parser.filters.values()])
