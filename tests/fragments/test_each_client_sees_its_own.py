"""Each of two clients sees the same as without a fragment, whatever the block reads."""

from __future__ import annotations

import os
import sys
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django import template
from django.contrib.auth.models import User
from django.contrib.contenttypes.prefetch import GenericPrefetch
from django.db.models import FileField, Prefetch, QuerySet
from django.db.models.fields.files import FieldFile
from django.http import HttpRequest
from django.template import Context, Template
from django.test import RequestFactory
from django.utils.translation import gettext_lazy

from cachelayers.fragments.canonical import Canonicalizer
from tests.fragments.conftest import NewRequest
from tests.fragments.engines import DjangoTemplates, Templates
from tests.library.models import Author, Book

register = template.Library()


@register.simple_tag(takes_context=True)
def handed_on(context: Context) -> str:
    """Render another template with all names, like many packages."""
    return Template("{{ discount }}").render(Context(context.flatten()))


class TranslatedBooks(QuerySet[Book]):
    """Sets a language in each row that is not in its SQL, like django-parler."""

    language = ""

    def translated(self, language: str) -> Any:
        query = self.all()
        query.language = language
        return query

    def _clone(self) -> Any:
        query = super()._clone()  # type: ignore[misc] # of Django
        query.language = self.language
        return query

    def _fetch_all(self) -> None:
        super()._fetch_all()
        for book in self._result_cache or ():
            book.shown_title = f"{book.title} ({self.language})"  # type: ignore[attr-defined]


class Greeting:
    """Its text shows more than is pickled."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getstate__(self) -> object:
        return {}

    def __str__(self) -> str:
        return f"Hello {self.name}"


class Cart(dict[str, int]):
    """It holds the request, and is not a request."""

    def __init__(self, request: HttpRequest, total: int) -> None:
        super().__init__(total=total)
        self._request = request


def price_class(currency: str) -> Any:
    """Return one of the classes that two modules have under one name."""
    module = ModuleType(f"prices_in_{currency}")
    sys.modules[module.__name__] = module
    base: Any = namedtuple("base", "amount")  # noqa: PYI024 - its class is made here
    module.Price = type(  # type: ignore[attr-defined]
        "Price",
        (base,),
        {
            "__module__": module.__name__,
            "__str__": lambda price: f"{price.amount} {currency}",
        },
    )
    return module.Price


PRICES = price_class("EUR"), price_class("USD")
FILES = sorted(os.scandir(Path(__file__).parent), key=lambda entry: entry.name)


def books_in(number: int) -> Any:
    return TranslatedBooks(Book).translated(["en", "de"][number])


def authors_with(number: int) -> Any:
    books = Book.objects.filter(title=["Maps", "Ports"][number])
    return Author.objects.prefetch_related(Prefetch("books", books, to_attr="chosen"))


def action(*arguments: object) -> str:
    """A function in a module, such as an admin action."""
    return "".join(map(str, arguments))


class Actions:
    """It has a method with a title."""

    def archive(self) -> str:
        return ""


class Partial(partial[str]):
    """It has a text of its own."""

    title, do_not_call_in_templates = "one", True


class OtherPartial(partial[str]):
    """It has another text of its own."""

    title, do_not_call_in_templates = "other", True


def titled(value: Any, number: int) -> dict[str, Any]:
    """Set a title on a value, like a view."""
    value.title = f"for {number}"
    value.do_not_call_in_templates = True
    return {"action": value}


def made_in_a_view() -> Any:
    def local() -> str:
        return ""

    return local


def titled_method(number: int) -> dict[str, Any]:
    titled(Actions.archive, number)
    return {"action": Actions().archive}


def titled_and_hung(number: int) -> dict[str, Any]:
    """Set a function on another one, with a title."""
    hung = made_in_a_view()
    titled(hung, number)
    outer = made_in_a_view()
    outer.do_not_call_in_templates, outer.inner = True, hung
    return {"action": outer}


def read_books() -> Any:
    books = Book.objects.all()
    list(books)
    return books


def cover() -> Any:
    return FieldFile(Book.objects.get(), FileField(name="title"), "maps.png")


Names = Callable[[int], dict[str, Any]]
HUNG: dict[str, Names] = {
    "a function": lambda number: titled(action, number),
    "a function without a name": lambda number: titled(made_in_a_view(), number),
    "a function that is hung on another": titled_and_hung,
    "a method": titled_method,
    "a partial": lambda number: titled(partial(action, 1), number),
    "a partial's own class": lambda number: {
        "action": [Partial, OtherPartial][number](action),
    },
    "a query that was run": lambda number: titled(read_books(), number),
    "a query by hand that was run": lambda number: titled(
        Book.objects.raw("SELECT * FROM library_book"), number
    ),
    "a manager of a row": lambda number: titled(Author.objects.get().books, number),
    "a file of a row": lambda number: titled(cover(), number),
    "a template": lambda number: titled(Template("same"), number),
    "a module that is made at run time": lambda number: titled(ModuleType("made"), number),
    "a lazy text": lambda number: titled(gettext_lazy("same"), number),
}
SHOWN: dict[str, tuple[str, Names]] = {
    **{
        f"a title of {what}": ("{{ action.title }}{{ action.inner.title }}", names)
        for what, names in HUNG.items()
    },
    "the row of a file": (
        "{{ file.instance.title }}",
        lambda number: {"file": FieldFile(Book(pk=1, title=f"{number}"), FileField(), "a.png")},
    ),
    "names that only one has, handed on": (
        "{% handed_on %}",
        lambda number: {"discount": "half"} if number else {},
    ),
    "a query's own attribute": (
        "{% for book in books %}{{ book.shown_title }}{% endfor %}",
        lambda number: {"books": books_in(number)},
    ),
    "a prefetched part": (
        "{% for one in authors %}{{ one.chosen }}{% endfor %}",
        lambda number: {"authors": authors_with(number)},
    ),
    "what is not pickled": ("{{ hello }}", lambda number: {"hello": Greeting(f"{number}")}),
    "a dictionary with the request": (
        "{{ cart.total }}",
        lambda number: {"cart": Cart(RequestFactory().get("/"), number)},
    ),
    "an object with the request": ("{{ holder.total }}", lambda number: {"holder": Holder(number)}),
    "a named tuple": ("{{ price }}", lambda number: {"price": PRICES[number](1)}),
    "an object that hides its contents": (
        "{{ file.name }}",
        lambda number: {"file": FILES[number]},
    ),
    "a short nonce": ("{{ nonce }}", lambda number: {"nonce": f"n{number}"}),
    "a number as a nonce": ("{{ nonce }}", lambda number: {"nonce": number}),
    "a nonce in other letters": (
        "{{ csp_nonce|upper }}",
        lambda number: {"csp_nonce": f"abcdefghijkl{number}"},
    ),
    "a nonce that only one has": (
        "{% if csp_nonce %}safe{% endif %}",
        lambda number: {"csp_nonce": "abcdefghijkl"} if number else {},
    ),
    "a token in other letters": (
        "{{ csrf_token|upper }}",
        lambda number: {"csrf_token": f"abcdefghijkl{number}"},
    ),
}


class Holder:
    """It holds the request, and passes no attributes on to it."""

    def __init__(self, total: int) -> None:
        self._request = RequestFactory().get("/")
        self.total = total


class WithTags(DjangoTemplates):
    """An engine with the tags of this module."""

    def write(self, **sources: str) -> None:
        super().write(**sources)
        self.engine.template_builtins.append(register)


@pytest.mark.parametrize("what", SHOWN)
def test_two_clients_see_what_they_see_without_a_fragment(book: Book, what: str) -> None:
    body, names = SHOWN[what]
    templates = WithTags()
    templates.write(page=templates.fragment(body, "card"), plain=body)

    def shown(page: str) -> list[str]:
        return [templates.render(page, **names(number)) for number in (0, 1, 0, 1)]

    plain = shown("plain")

    assert plain[0] != plain[1]
    assert shown("page") == plain


def test_what_hangs_the_same_has_the_same_canonical_form(book: Book) -> None:
    book.subjects.create(word="sea")

    def spelled() -> dict[str, str]:
        values = {what: names(0)["action"] for what, names in HUNG.items()}
        del values["a module that is made at run time"]
        values["a manager of many to many"] = Book.objects.get().subjects
        values["a manager of a model"] = Book.objects
        return {
            what: Canonicalizer(is_named=True).canonical_form(value)
            for what, value in values.items()
        }

    assert spelled() == spelled()


@pytest.mark.parametrize("field", ["is_staff", "first_name"])
def test_a_field_of_the_user_that_middleware_has_changed_selects_the_variant(
    templates: Templates, new_request: NewRequest, users: list[User], field: str
) -> None:
    templates.write(page=templates.fragment(f"{{{{ request.user.{field} }}}}", "card"))

    def new(value: Any) -> Any:
        request = new_request(users[0])
        setattr(request.user, field, value)
        return request

    values = [False, True] * 2

    assert [templates.render("page", new(value)) for value in values] == [*map(str, values)]


def test_prefetches_of_each_kind_are_identified_by_all_that_they_hold(author: Author) -> None:
    def spelled(title: str) -> str:
        lookup = GenericPrefetch("content_object", [Book.objects.filter(title=title)])
        return Canonicalizer(is_named=True).canonical_form(lookup_of(lookup))

    assert spelled("Maps") != spelled("Ports")


def lookup_of(lookup: Any) -> Any:
    """Return a queryset with a lookup, which is never run."""
    return Author.objects.prefetch_related(lookup)
