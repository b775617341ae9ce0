"""Render and digest fragments of Jinja2 templates.

`cachelayers.jinja` compiles the tags to calls of these functions; `serving` and `lists` do the
rest.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import Environment, Template, TemplateNotFound, Undefined, meta
from jinja2.environment import TemplateModule
from jinja2.runtime import BlockReference, Context, Macro, TemplateReference
from jinja2.utils import Cycler, Joiner, Namespace, missing

from cachelayers.fragments.canonical import (
    Canonicalizer,
    add_kinds,
    code_parts,
    contents_of,
    encoders,
)
from cachelayers.fragments.keys import digest_of, digest_of_code
from cachelayers.fragments.lists import Listing, serve_list
from cachelayers.fragments.lookups import ABSENT, LOOP, CanonicalName, Names
from cachelayers.fragments.markup import (
    NAMELESS,
    Hole,
    HoleLost,
    Rendering,
    Templates,
    current_rendering,
    rendering_of,
)
from cachelayers.fragments.serving import Fragment, Memory, serve
from cachelayers.fragments.tag_options import check_options, names_of_items, warn_of_missing
from cachelayers.fragments.variants import requests_of, track_locale, users_of
from cachelayers.invalidation import without_laziness

MISSING = "there is no such template"
_codes: WeakKeyDictionary[Environment, str] = WeakKeyDictionary()
_found: WeakKeyDictionary[Template, tuple[str, frozenset[str]]] = WeakKeyDictionary()


def digest_of_name(environment: Environment, name: str) -> str | None:
    """Return a digest of a template and of those that it names, or None if it does not exist."""
    found = follow_name(environment, name)
    return None if found is None else found[0]


def follow_name(environment: Environment, name: str) -> tuple[str, frozenset[str]] | None:
    """Return the digest, and the names of the templates in it."""
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
        # with auto_reload, a template that it names may change on its own
        if not environment.auto_reload:
            _found[template] = found
    return found


def code_of(environment: Environment) -> str:
    found = _codes.get(environment)
    if found is None:
        called = (environment.filters, environment.tests, environment.globals)
        functions = [function for some in called for function in some.values()]
        found = _codes[environment] = digest_of_code(functions)
    return found


def are_unchanged(environment: Environment, templates: Templates) -> bool:
    """Tell whether the templates have the same digests, and the missing ones are still missing."""
    return all(digest_of_name(environment, name) == known for name, known in templates.items())


def digest(sources: Mapping[str, str]) -> str:
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
        if referred is not None:  # None: computed during rendering
            _follow(environment, environment.join_path(referred, name), sources)


# Recording what an environment and a context are asked for


class TrackingEnvironment(Environment):
    """Mixin for an environment that records which templates it is asked for.

    Methods set on the object would be lost: Jinja2 makes an overlay from the class.
    """

    def get_template(self, name: Any, parent: str | None = None, globals: Any = None) -> Template:  # noqa: A002 - Jinja2's name
        self._note([name], parent)
        return super().get_template(name, parent, globals)

    def select_template(
        self,
        names: Any,
        parent: str | None = None,
        globals: Any = None,  # noqa: A002 - Jinja2's name
    ) -> Template:
        """Record all names, also missing ones, and load the first that exists."""
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


class TrackingContext(Context):
    """Mixin for the contexts of an environment that records the names looked up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cachelayers_made_in = current_rendering()

    def resolve_or_missing(self, key: str) -> Any:
        value = super().resolve_or_missing(key)
        rendering = current_rendering()
        if rendering is not None:
            rendering.note(key, value, self)
        return value


def track_environment(environment: Environment) -> None:
    """Make an environment and its contexts record what they are asked for."""
    track_locale()
    cls, context_class = type(environment), environment.context_class
    if not issubclass(cls, TrackingEnvironment):
        environment.__class__ = type(cls.__name__, (TrackingEnvironment, cls), {})
    if not issubclass(context_class, TrackingContext):
        environment.context_class = type(
            context_class.__name__, (TrackingContext, context_class), {}
        )


JinjaCall = Callable[..., str]
NO_NAMES: Mapping[str, Any] = {}
OF_ENVIRONMENT = CanonicalName("environment")


@dataclass(frozen=True, slots=True)
class JinjaTag:
    """A tag, as compiled."""

    template: str | None
    line: int
    number: int  # index of the tag in its template
    source: str  # digest of the template's source
    named: Sequence[str]  # templates named between the tags
    argument_names: AbstractSet[str]  # names that are arguments
    memory: Memory = field(default_factory=Memory)

    @property
    def where(self) -> str:
        return f"{self.template or 'a template without a name'}, line {self.line}"


class JinjaBlock:
    """The body of a tag, as a function, with the names that it looks up."""

    def __init__(
        self,
        tag: JinjaTag,
        context: Context,
        names: Mapping[str, Any],
        holes: Mapping[int, JinjaCall],
        caller: JinjaCall,
        item: Mapping[str, Any] = NO_NAMES,
    ) -> None:
        """``names``: the names written in the block. ``item``: the variables of one item."""
        self.remembered: Mapping[str, str] = {}
        self.argument_names = tag.argument_names | item.keys()
        self._tag, self._context, self._caller = tag, context, caller
        self._shown, self._item = {**names, **item}, item
        self._holes = {hole_of(tag.source, number).name: hole for number, hole in holes.items()}
        self.known_templates: frozenset[str] = frozenset()
        self._around = current_rendering()
        self._names = Names(self._find)

    def of_item(self, item: Mapping[str, Any]) -> JinjaBlock:
        """Return the block of one item; ``self`` is the block of the whole list."""
        block = copy(self)
        block.argument_names, block._item = self.argument_names | item.keys(), item
        block._shown = {**self._shown, **item}
        return block

    def _find(self, name: str) -> Any:
        """Return the value of a name around the block, or ABSENT."""
        value = self._shown.get(name, missing)
        if value is missing and not name.startswith(LOOP):
            value = self._look_up(name)
            if self._around is not None:
                self._around.note(name, value, self._context)
        return ABSENT if value is missing or is_undefined(value) else value

    def _look_up(self, name: str) -> Any:
        # Not through the context's methods, which record lookups.
        vars_, parent = self._context.vars, self._context.parent
        return vars_[name] if name in vars_ else parent.get(name, missing)

    def named(self, name: str) -> CanonicalName:
        value = self._find(name)
        if value is not ABSENT and self._is_of_environment(name, value):
            return OF_ENVIRONMENT
        return self._names.canonical(name)

    def form_of(self, name: str) -> str:
        return self.named(name).text

    def _is_of_environment(self, name: str, value: Any) -> bool:
        """Tell whether a value comes from the environment and is code; data may be replaced."""
        if self._context.environment.globals.get(name, missing) is not value:
            return False
        return callable(value) or type(value) not in encoders

    @property
    def own_holes(self) -> Container[tuple[str, int]]:
        return self._holes

    @property
    def request(self) -> Any:
        return self._context_value("request")

    @property
    def names(self) -> Mapping[str, Any]:
        return {**self._context.get_all(), **self._shown}

    def users(self) -> list[Any]:
        return users_of(self._context_value("user"), self.request, self._context_value("view"))

    def requests(self) -> list[Any]:
        return requests_of(self.request, self._context_value("view"))

    def _context_value(self, name: str) -> Any:
        # Not through the context's methods, which record lookups.
        for names in (self._shown, self._context.vars, self._context.parent):
            value = names.get(name)
            if value is not None and not is_undefined(value):
                return value
        return None

    def texts(self) -> tuple[str, ...]:
        """Return what identifies the templates and the autoescaping. Sets ``known_templates``."""
        context, tag = self._context, self._tag
        environment = context.environment
        digests = [tag.source, code_of(environment)]
        # Templates that extend this one may have blocks in it.
        extending = {
            name
            for blocks in context.blocks.values()
            for block in blocks
            if (name := getattr(block, "__globals__", {}).get("name"))
        }
        names = [tag.template, context.name, *sorted(extending), *tag.named]
        for name in dict.fromkeys(names):
            found = None if name is None else follow_name(environment, name)
            if found is not None:
                digests.append(found[0])
                self.known_templates |= found[1]
        return digest_of(*digests, str(tag.number)), f"jinja2,{context.eval_ctx.autoescape}"

    def render(self) -> tuple[str, Mapping[str, Any]]:
        rendering = current_rendering()
        for name in self._shown:
            self._note(name)
        if rendering is not None:
            rendering.note_name = self._note
        text = self.render_without_tag()
        shown = {name: ABSENT if is_undefined(one) else one for name, one in self._shown.items()}
        if rendering is not None:
            rendering.note_name = None
            for asked in rendering.asked:
                self._add_asked(shown, rendering, *asked)
        self._note_template_objects(shown)
        return text, shown

    def _note(self, name: str) -> None:
        value = self._shown.get(name, missing)
        if value is missing:
            value = self._look_up(name)
        if value is missing or not self._is_of_environment(name, value):
            self._names.note(name)

    def _add_asked(
        self, shown: dict[str, Any], rendering: Rendering, name: str, value: Any, context: Context
    ) -> None:
        """Add a name that an included template or a macro has looked up.

        A context made during the rendering gets its names from the block. A name in an older
        context that this context does not have cannot be looked up for the next key.
        """
        if value is missing:
            value = ABSENT
        around = self._shown.get(name, missing)
        if around is missing or around is not value:
            around = self._look_up(name)
        around = ABSENT if around is missing or is_undefined(around) else around
        if around is value:
            shown.setdefault(name, value)
        elif not is_made_in(context, rendering) and not self._is_of_environment(name, value):
            rendering.obstacles.append(
                f"a macro in it looks up {name!r} where it comes from. Give it as an argument of"
                " the macro"
            )

    def _note_template_objects(self, shown: Mapping[str, Any]) -> None:
        rendering = current_rendering()
        for value in map(without_laziness, shown.values()):
            if rendering is not None and isinstance(value, Template):
                if value.name is None:
                    rendering.obstacles.append("it includes a template that has no name")
                else:
                    rendering.templates[value.name] = None

    def render_without_tag(self) -> str:
        return str(self._caller(*self._item.values()))

    def fill(self, hole: Hole) -> str:
        if hole.name not in self._holes:
            raise HoleLost
        with rendering_of(None):
            return str(self._holes[hole.name](*self._item.values()))

    def digests_of(self, names: Sequence[str]) -> Templates:
        """Return the digests of the templates that the key does not cover."""
        unknown = sorted(set(names) - self.known_templates)
        return {name: digest_of_name(self._context.environment, name) for name in unknown}

    def are_unchanged(self, templates: Templates) -> bool:
        return are_unchanged(self._context.environment, templates)


def is_made_in(context: Any, rendering: Rendering) -> bool:
    """Tell whether a context was made during the rendering of a fragment, or of one within it."""
    made_in = getattr(context, "cachelayers_made_in", None)
    while made_in is not None and made_in is not rendering:
        made_in = made_in.around
    return made_in is rendering


def canonical_macro(canonicalizer: Canonicalizer, macro: Macro) -> str:
    """Return the form of a macro: its code, and the variables of its template.

    Lookups in a context are recorded when it runs.
    """
    function: Any = macro._func
    held = [
        [name, contents_of(cell)]
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        )
        if name.startswith("l_")
    ]
    return canonicalizer.canonical_all("J", [macro.name, code_parts(function.__code__), held])


def canonical_module(canonicalizer: Canonicalizer, module: TemplateModule) -> str:
    """Return the form of a template's exports, and of its text."""
    exported = {name: value for name, value in vars(module).items() if name != "_body_stream"}
    return canonicalizer.canonical_all("I", [exported, list(module._body_stream)])


add_kinds(
    [
        (Macro, canonical_macro),
        (TemplateModule, canonical_module),
        (BlockReference, lambda canonicalizer, value: f"super{value.name!r},{value._depth};"),
        (TemplateReference, lambda canonicalizer, value: "self;"),
        (Undefined, lambda canonicalizer, value: "-"),
        (
            Template,
            lambda canonicalizer, value: canonicalizer.canonical_all(
                "h", [value.name, value.filename]
            ),
        ),
        ((Cycler, Joiner, Namespace), Canonicalizer.refuse),
        (type(missing), lambda canonicalizer, value: "-"),
    ]
)


def is_undefined(value: Any) -> bool:
    """Tell whether a name is undefined; isinstance() would evaluate a lazy object."""
    return issubclass(type(value), Undefined)


def show_fragment(
    tag: JinjaTag,
    context: Context,
    name_and_arguments: Sequence[object],
    options: Mapping[str, Any],
    names: Mapping[str, Any],
    holes: Mapping[int, JinjaCall],
    caller: JinjaCall,
) -> str:
    """Return a fragment's text, from the cache or rendered."""
    name, *arguments = name_and_arguments
    checked = check_options(tag.where, name, options)
    note_missing(tag, arguments)
    block = JinjaBlock(tag, context, names, holes, caller)
    return serve(Fragment(tag.where, checked, arguments, block.texts(), block, tag.memory))


def note_missing(tag: JinjaTag, arguments: Sequence[object]) -> None:
    """Warn once about each argument whose name does not exist."""
    for argument in arguments:
        if is_undefined(argument):
            warn_of_missing(tag.where, argument._undefined_name, tag.memory.warned)  # type: ignore[attr-defined] # of Undefined


def show_fragments(
    tag: JinjaTag,
    context: Context,
    name_and_arguments: Sequence[object],
    options: Mapping[str, Any],
    names: Mapping[str, Any],
    holes: Mapping[int, JinjaCall],
    caller: JinjaCall,
    item_names: Sequence[str],
    items: Sequence[Any],
) -> str:
    """Return the texts of a list's items, from the cache or rendered."""
    name, *others = name_and_arguments
    checked = check_options(tag.where, name, options)
    note_missing(tag, others)
    all_names = names_of_items(item_names, items)
    block = JinjaBlock(tag, context, names, holes, caller)

    def block_of(number: int) -> JinjaBlock:
        return block.of_item(all_names[number])

    return serve_list(
        Listing(
            tag.where,
            checked,
            block.texts(),
            tag.memory,
            block,
            [[*some.values(), *others] for some in all_names],
            block_of,
        )
    )


def hole_of(source: str, number: int) -> Hole:
    """Return a hole of the template whose source has this digest."""
    return Hole(f"{NAMELESS}{source}", number)


def show_hole(hole: Hole, macro: JinjaCall, *item: Any) -> str:
    """Return a mark for the hole, or its text if no fragment is being rendered."""
    rendering = current_rendering()
    return str(macro(*item)) if rendering is None else rendering.leave_hole(hole)


def note_lone_hole(wrapper: str) -> str:
    """Record a hole that is rendered in place, because it cannot be called from outside.

    ``wrapper``: a tag around it that may change its text; empty in an included template.
    """
    rendering = current_rendering()
    if rendering is not None:
        rendering.obstacles.append(
            f"{{% {wrapper} %}} is around an {{% uncached %}}"
            if wrapper
            else "there is a hole in a template that it includes"
        )
    return ""
