"""What a fragment's tag in Jinja2 renders, and the digest of its templates."""

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
from cachelayers.fragments.variants import note_locale, requests_of, users_of
from cachelayers.invalidation.dependencies import without_laziness

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
    note_locale()
    cls, context_class = type(environment), environment.context_class
    if not issubclass(cls, NotingLookups):
        environment.__class__ = type(cls.__name__, (NotingLookups, cls), {})
    if not issubclass(context_class, NotingNames):
        environment.context_class = type(context_class.__name__, (NotingNames, context_class), {})


Call = Callable[..., str]
NO_NAMES: Mapping[str, Any] = {}
OF_ENVIRONMENT = CanonicalName("environment")


@dataclass(frozen=True, slots=True)
class Tag:
    """What is known of a tag when its template is compiled."""

    template: str | None
    line: int
    number: int  # of the tag in its template
    source: str  # a digest of the template's
    named: Sequence[str]  # the templates that stand between the tags
    told: AbstractSet[str]  # the names that are arguments
    memory: Memory = field(default_factory=Memory)

    @property
    def where(self) -> str:
        """Return its place for people."""
        return f"{self.template or 'a template without a name'}, line {self.line}"


class JinjaBlock:
    """What stands between the tags, as a function, with the names that it asks for."""

    def __init__(
        self,
        tag: Tag,
        context: Context,
        names: Mapping[str, Any],
        holes: Mapping[int, Call],
        caller: Call,
        item: Mapping[str, Any] = NO_NAMES,
    ) -> None:
        """Take them.

        ``names``: those that stand in the block, with their values. ``item``: those that only this
        block of a list has.
        """
        self.remembered: Mapping[str, str] = {}
        self.told = tag.told | item.keys()
        self._tag, self._context, self._caller = tag, context, caller
        self._shown, self._item = {**names, **item}, item
        self._holes = {hole_of(tag.source, number).name: hole for number, hole in holes.items()}
        self.known_templates: frozenset[str] = frozenset()
        self._around = current_rendering()
        self._names = Names(self._find)

    def of_item(self, item: Mapping[str, Any]) -> JinjaBlock:
        """Return the block of one item of a list, of which this is the place."""
        block = copy(self)
        block.told, block._item = self.told | item.keys(), item
        block._shown = {**self._shown, **item}
        return block

    def _find(self, name: str) -> Any:
        """Return what stands under a name around the block, or ABSENT."""
        value = self._shown.get(name, missing)
        if value is missing and not name.startswith(LOOP):
            value = self._look_up(name)
            if self._around is not None:
                self._around.note(name, value, self._context)
        return ABSENT if value is missing or is_undefined(value) else value

    def _look_up(self, name: str) -> Any:
        # Not by the context's own way, which notes what is asked for.
        vars_, parent = self._context.vars, self._context.parent
        return vars_[name] if name in vars_ else parent.get(name, missing)

    def named(self, name: str) -> CanonicalName:
        """Return the spelling of what stands under a name."""
        value = self._find(name)
        if value is not ABSENT and self._is_of_environment(name, value):
            return OF_ENVIRONMENT
        return self._names.spelled(name)

    def form_of(self, name: str) -> str:
        """Return the text of it."""
        return self.named(name).text

    def _is_of_environment(self, name: str, value: Any) -> bool:
        """Tell code that the environment gives to all; texts and the like may be set anew."""
        if self._context.environment.globals.get(name, missing) is not value:
            return False
        return callable(value) or type(value) not in encoders

    @property
    def own_holes(self) -> Container[tuple[str, int]]:
        """Return the holes between the tags."""
        return self._holes

    @property
    def request(self) -> Any:
        """Return the request that it is rendered for, if the template knows it."""
        return self._known("request")

    @property
    def names(self) -> Mapping[str, Any]:
        """Return what the template knows."""
        return {**self._context.get_all(), **self._shown}

    def users(self) -> list[Any]:
        """Return who may be meant by its user."""
        return users_of(self._known("user"), self.request, self._known("view"))

    def requests(self) -> list[Any]:
        """Return the requests that it is rendered for."""
        return requests_of(self.request, self._known("view"))

    def _known(self, name: str) -> Any:
        # Not by the context's own ways, which note what is asked for.
        for names in (self._shown, self._context.vars, self._context.parent):
            value = names.get(name)
            if value is not None and not is_undefined(value):
                return value
        return None

    def texts(self) -> tuple[str, ...]:
        """Return what tells what it is rendered from, as far as that stands in templates, and how.

        Sets ``known_templates``: names whose digests are in there.
        """
        context, tag = self._context, self._tag
        environment = context.environment
        digests = [tag.source, code_of(environment)]
        # Those that extend the tag's template may have blocks in it.
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
        """Render it."""
        rendering = current_rendering()
        for name in self._shown:
            self._note(name)
        if rendering is not None:
            rendering.note_name = self._note
        text = self.render_unwatched()
        shown = {name: ABSENT if is_undefined(one) else one for name, one in self._shown.items()}
        if rendering is not None:
            rendering.note_name = None
            for asked in rendering.asked:
                self._add_asked(shown, rendering, *asked)
        self._note_given_templates(shown)
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
        """Add a name that a template within has asked for, or a macro, to those that it shows.

        What a context that was made within it has of its own comes from the block. What one that
        was made before holds, and this one does not, cannot be found again.
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

    def _note_given_templates(self, shown: Mapping[str, Any]) -> None:
        rendering = current_rendering()
        for value in map(without_laziness, shown.values()):
            if rendering is not None and isinstance(value, Template):
                if value.name is None:
                    rendering.obstacles.append("it includes a template that has no name")
                else:
                    rendering.templates[value.name] = None

    def render_unwatched(self) -> str:
        """Render it as if there were no tag around it."""
        return str(self._caller(*self._item.values()))

    def fill(self, hole: Hole) -> str:
        """Render a hole."""
        if hole.name not in self._holes:
            raise HoleLost
        with rendering_of(None):
            return str(self._holes[hole.name](*self._item.values()))

    def digests_of(self, names: Sequence[str]) -> Templates:
        """Return the digests of those templates that the key does not cover."""
        unknown = sorted(set(names) - self.known_templates)
        return {name: digest_of_name(self._context.environment, name) for name in unknown}

    def are_unchanged(self, templates: Templates) -> bool:
        """Tell whether the digests are still the same."""
        return are_unchanged(self._context.environment, templates)


def is_made_in(context: Any, rendering: Rendering) -> bool:
    """Tell whether a context was made while a fragment was rendered, or one within it."""
    made_in = getattr(context, "cachelayers_made_in", None)
    while made_in is not None and made_in is not rendering:
        made_in = made_in.around
    return made_in is rendering


def canonical_macro(canonicalizer: Canonicalizer, macro: Macro) -> str:
    """Spell a macro: its code, and the variables of its template that it holds.

    What it looks up in a context is noted when it does.
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
    """Spell what a template has exported, and what it says."""
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
    """Tell what stands for a name that nobody gives; isinstance() would use a lazy object."""
    return issubclass(type(value), Undefined)


def show_fragment(
    tag: Tag,
    context: Context,
    given: Sequence[object],
    options: Mapping[str, Any],
    names: Mapping[str, Any],
    holes: Mapping[int, Call],
    caller: Call,
) -> str:
    """Return a fragment's text, from the cache or rendered."""
    name, *arguments = given
    checked = check_options(tag.where, name, options)
    note_missing(tag, arguments)
    block = JinjaBlock(tag, context, names, holes, caller)
    return serve(Fragment(tag.where, checked, arguments, block.texts(), block, tag.memory))


def note_missing(tag: Tag, arguments: Sequence[object]) -> None:
    """Say once of arguments that nothing is there under their names."""
    for argument in arguments:
        if is_undefined(argument):
            warn_of_missing(tag.where, argument._undefined_name, tag.memory.warned)  # type: ignore[attr-defined] # of Undefined


def show_fragments(
    tag: Tag,
    context: Context,
    given: Sequence[object],
    options: Mapping[str, Any],
    names: Mapping[str, Any],
    holes: Mapping[int, Call],
    caller: Call,
    item_names: Sequence[str],
    items: Sequence[Any],
) -> str:
    """Return the texts of a list's items, from the cache or rendered."""
    name, *others = given
    checked = check_options(tag.where, name, options)
    note_missing(tag, others)
    all_names = names_of_items(item_names, items)
    place = JinjaBlock(tag, context, names, holes, caller)

    def block_of(number: int) -> JinjaBlock:
        return place.of_item(all_names[number])

    return serve_list(
        Listing(
            tag.where,
            checked,
            place.texts(),
            tag.memory,
            place,
            [[*some.values(), *others] for some in all_names],
            block_of,
        )
    )


def hole_of(source: str, number: int) -> Hole:
    """Return one of the holes of a template, by the digest of its source."""
    return Hole(f"{NAMELESS}{source}", number)


def show_hole(hole: Hole, macro: Call, *item: Any) -> str:
    """Leave a hole in the fragment that is rendered; where there is none, fill it."""
    rendering = current_rendering()
    return str(macro(*item)) if rendering is None else rendering.leave_hole(hole)


def note_lone_hole(wrapper: str) -> str:
    """Note a hole that is rendered where it stands: there is no way to it from outside.

    ``wrapper``: a tag around it that may change it; empty for one in a template that is included.
    """
    rendering = current_rendering()
    if rendering is not None:
        rendering.obstacles.append(
            f"{{% {wrapper} %}} is around an {{% uncached %}}"
            if wrapper
            else "there is a hole in a template that it includes"
        )
    return ""
