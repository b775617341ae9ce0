"""The request values that a block reads select its variant, or the block is not cached."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, QueryDict
from django.test import RequestFactory
from django.urls import ResolverMatch, get_script_prefix, set_script_prefix, set_urlconf
from django.utils.functional import SimpleLazyObject
from django.views.generic import TemplateView
from rest_framework.request import Request

from cachelayers import unit_of_work
from tests.fragments.conftest import Counter, NewRequest
from tests.fragments.engines import DjangoTemplates, JinjaTemplates, Templates
from tests.fragments.views import counted
from tests.library.models import Author

Visit = Callable[[int], Any]


def visit(path: str = "/", **extra: Any) -> HttpRequest:
    """Return a request to a page without sessions."""
    request = RequestFactory().get(path, **extra)
    return with_attributes(request, _messages=[])


def with_attributes(request: HttpRequest, **attributes: Any) -> HttpRequest:
    for name, value in attributes.items():
        setattr(request, name, value)
    return request


def matched(number: int) -> HttpRequest:
    match = ResolverMatch(visit, (), {"pk": number}, url_name=f"view{number}")
    return with_attributes(visit(), resolver_match=match)


class Basket:
    """What a shop's middleware puts on the request."""

    def __init__(self, total: int) -> None:
        self.total = total

    def __str__(self) -> str:
        return "a basket"


class Helper(Basket):
    """It holds an object without a canonical form, such as a lock or a connection."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lock = object()


def used(value: Any) -> Any:
    """Return a lazy object that is evaluated already."""
    lazy: Any = SimpleLazyObject(lambda: value)
    bool(lazy)
    return lazy


PUBLIC: dict[str, Visit] = {
    "request.path": lambda number: visit(f"/{number}/"),
    "request.get_full_path()": lambda number: visit(f"/?page={number}"),
    "request.GET.page": lambda number: visit(f"/?page={number}"),
    "request.GET.urlencode()": lambda number: visit(f"/?page={number}"),
    "request.META.REMOTE_ADDR": lambda number: visit(REMOTE_ADDR=f"127.0.0.{number}"),
    "request.META.REMOTE_USER": lambda number: visit(REMOTE_USER=f"user{number}"),
    "request.environ.HTTP_REFERER": lambda number: visit(HTTP_REFERER=f"/{number}"),
    "request.headers.Referer": lambda number: visit(HTTP_REFERER=f"/{number}"),
    "request.headers['X-Forwarded-For']": lambda number: visit(HTTP_X_FORWARDED_FOR=f"1.{number}"),
    "request.get_host()": lambda number: visit(HTTP_HOST=["localhost", "testserver"][number]),
    "request.build_absolute_uri('/x')": lambda number: visit(
        HTTP_HOST=["localhost", "testserver"][number]
    ),
    "request.is_secure()": lambda number: visit(secure=bool(number)),
    "request.scheme": lambda number: visit(secure=bool(number)),
    "request.resolver_match.url_name": matched,
    "request.resolver_match.kwargs.pk": matched,
    "request.theme": lambda number: with_attributes(visit(), theme=["dark", "light"][number]),
    "request.urlconf": lambda number: with_attributes(visit(), urlconf=f"site{number}.urls"),
    "request.flags": lambda number: with_attributes(visit(), flags={"beta": bool(number)}),
    "request.basket.total": lambda number: with_attributes(visit(), basket=Basket(number)),
    "request.lazy_basket.total": lambda number: with_attributes(
        visit(), lazy_basket=SimpleLazyObject(partial(Basket, number))
    ),
    "request.used_basket.total": lambda number: with_attributes(
        visit(), used_basket=used(Basket(number))
    ),
    "request.LANGUAGE_CODE": lambda number: with_attributes(visit(), LANGUAGE_CODE=f"x{number}"),
    "request.accepts('text/html')": lambda number: visit(
        HTTP_ACCEPT=["text/html", "image/*"][number]
    ),
}


def write(templates: Templates, expression: str) -> None:
    """Write a page whose block shows an expression."""
    if isinstance(templates, DjangoTemplates):
        expression = expression.removesuffix("()")
    templates.write(page=counted(templates, f"{{{{ {expression} }}}}"))


def ask(templates: Templates, name: str) -> str:
    """Return an expression that calls the value of a name with the request."""
    is_django = isinstance(templates, DjangoTemplates)
    return f"{{% ask '{name}' %}}" if is_django else f"{{{{ {name}(request) }}}}"


def shown_to_two(templates: Templates, new: Visit, **names: Any) -> list[str]:
    """Return what two clients see, twice each."""
    shown = []
    for number in (0, 1, 0, 1):
        request = new(number)
        with unit_of_work(request):
            shown.append(templates.render("page", request, **names))
    return shown


def only_in_jinja(templates: Templates, expression: str) -> bool:
    """Tell whether Django's templates lack such an expression."""
    is_django = isinstance(templates, DjangoTemplates)
    return is_django and any(sign in expression.removesuffix("()") for sign in "([")


@pytest.mark.parametrize("expression", PUBLIC)
def test_a_public_value_of_the_request_selects_the_variant(
    templates: Templates, tick: Counter, expression: str
) -> None:
    if only_in_jinja(templates, expression):
        return
    write(templates, expression)

    shown = shown_to_two(templates, PUBLIC[expression], tick=tick)

    assert shown[0] != shown[1]
    assert shown[:2] == shown[2:]
    assert tick.since() == 2


PRIVATE: dict[str, Visit] = {
    "request.helper.number": lambda number: with_attributes(visit(), helper=Helper(number)),
    "request.COOKIES.theme": lambda number: visit(HTTP_COOKIE=f"theme={number}"),
    "request.META.HTTP_X_API_KEY": lambda number: visit(HTTP_X_API_KEY=str(number)),
    "request.headers.Authorization": lambda number: visit(HTTP_AUTHORIZATION=str(number)),
    "request.environ.HTTP_COOKIE": lambda number: visit(HTTP_COOKIE=f"theme={number}"),
    "request.headers.items()": lambda number: visit(HTTP_REFERER=str(number)),
    "request.csp_nonce": lambda number: with_attributes(visit(), csp_nonce=f"nonce{number}"),
    "request.serial": lambda number: with_attributes(
        visit(), serial=SimpleLazyObject(partial("text-{}".format, number))
    ),
    "request.session.basket": lambda number: with_attributes(visit(), session={"basket": number}),
    "request.customer_token": lambda number: with_attributes(visit(), customer_token=str(number)),
}


@pytest.mark.parametrize("expression", PRIVATE)
def test_a_private_value_of_the_request_is_never_kept(
    templates: Templates, tick: Counter, caplog: pytest.LogCaptureFixture, expression: str
) -> None:
    write(templates, expression)

    shown = shown_to_two(templates, PRIVATE[expression], tick=tick)

    assert shown[0] != shown[1]
    assert shown[:2] == shown[2:]
    assert tick.since() == 4
    assert "page.html, line 1: the fragment 'card' is not cached" in caplog.text


def test_a_row_on_the_request_selects_the_variant_and_is_a_dependency(
    templates: Templates, tick: Counter
) -> None:
    """As Django's middleware sets the current site."""
    sites = [Author.objects.create(name=name) for name in ("ann", "bob")]
    write(templates, "request.site.name")

    def new(number: int) -> HttpRequest:
        return with_attributes(visit(), site=Author.objects.get(pk=sites[number].pk))

    shown_to_two(templates, new, tick=tick)
    tick.since()
    assert shown_to_two(templates, new, tick=tick) == ["ann", "bob"] * 2
    assert tick.since() == 0

    Author.objects.filter(name="ann").update(name="anne")

    assert shown_to_two(templates, new, tick=tick) == ["anne", "bob"] * 2


def test_an_attribute_that_the_block_itself_sets_is_no_obstacle(
    templates: Templates, tick: Counter
) -> None:
    """Tags may store computed values on the request."""
    templates.write(page=counted(templates, ask(templates, "remember")))

    shown = shown_to_two(templates, lambda number: visit(), tick=tick, remember=remember)

    assert shown == ["menu"] * 4
    assert tick.since() == 1


def test_what_was_remembered_on_the_request_above_is_not_kept_for_others(
    templates: Templates,
) -> None:
    templates.write(page=templates.fragment("{{ request.memo.total }}", "card"))

    def new(number: int) -> HttpRequest:
        return with_attributes(visit(), memo=SimpleNamespace(total=number))

    assert shown_to_two(templates, new) == ["0", "1"] * 2


def remember(request: Any) -> str:
    """Store an object on a request, unless it is there."""
    if not hasattr(request, "_menu"):
        request._menu = SimpleNamespace(text="menu")
    text: str = request._menu.text
    return text


# Other ways to the request


def page_of_copy(request: HttpRequest) -> str:
    return str(copy.copy(request).GET["page"])


def page_of_wrapper(request: HttpRequest) -> str:
    return str(Request(request).query_params["page"])


def page_of_copied_query(request: HttpRequest) -> str:
    return str(request.GET.copy()["page"])


@pytest.mark.parametrize("page_of", [page_of_copy, page_of_wrapper, page_of_copied_query])
def test_the_query_is_tracked_through_copies_and_wrappers(
    templates: Templates, tick: Counter, page_of: Callable[[Any], Any]
) -> None:
    templates.write(page=counted(templates, ask(templates, "page_of")))
    new = PUBLIC["request.GET.page"]

    assert shown_to_two(templates, new, tick=tick, page_of=page_of) == ["0", "1"] * 2


def test_a_copy_of_the_query_is_an_ordinary_one(templates: Templates) -> None:
    templates.write(page=templates.fragment("{{ request.GET.copy }}", "card"))
    request: Any = visit("/?page=1")
    templates.render("page", request)

    assert type(request.GET) is QueryDict
    assert type(request) is type(visit())


def test_a_request_of_rest_framework_tells_its_user_and_query(
    templates: Templates, users: list[User]
) -> None:
    body = "{{ request.user.username }}{{ request.query_params.page }}"
    templates.write(page=templates.fragment(body, "card"))

    def new(number: int) -> Any:
        request: Any = Request(visit(f"/?page={number}"))
        request.user = users[number]
        return request

    assert shown_to_two(templates, new) == ["ann0", "bob1"] * 2


def test_a_thread_that_a_block_starts_is_tracked(templates: Templates, tick: Counter) -> None:
    """The thread does not have the context of the rendering."""
    templates.write(page=counted(templates, ask(templates, "in_thread")))
    new = PRIVATE["request.COOKIES.theme"]

    assert shown_to_two(templates, new, tick=tick, in_thread=in_thread) == ["0", "1"] * 2


def test_the_user_of_async_code_is_in_the_key(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    templates.write(page=templates.fragment(ask(templates, "async_name"), "card"))

    def new(number: int) -> Any:
        return new_request(users[number])

    assert shown_to_two(templates, new, async_name=async_name) == ["ann", "bob"] * 2


def async_name(request: Any) -> str:
    """Get the user like async code."""
    return str(async_to_sync(request.auser)())


def in_thread(request: Any) -> str:
    """Read a cookie in a thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: str(request.COOKIES["theme"])).result()


def test_a_link_belongs_to_the_prefix_and_the_urls_that_it_was_made_by(
    templates: Templates, tick: Counter
) -> None:
    templates.write(page=counted(templates, "{% prefix %}"))
    if isinstance(templates, JinjaTemplates):
        templates.write(page=counted(templates, "{{ prefix() }}"))
    before = get_script_prefix()

    try:
        shown = []
        for prefix in ("/one/", "/two/") * 2:
            set_script_prefix(prefix)
            shown.append(templates.render("page", visit(), tick=tick, prefix=get_script_prefix))
        set_urlconf("another.urls")
        templates.render("page", visit(), tick=tick, prefix=get_script_prefix)
    finally:
        set_script_prefix(before)
        set_urlconf(None)

    assert shown == ["/one/", "/two/"] * 2
    assert tick.since() == 3


def test_a_row_of_a_list_keeps_what_an_earlier_one_remembered_on_the_request(
    templates: Templates, tick: Counter
) -> None:
    """The first item stores a text of this request, which all others show."""
    body = templates.show("tick")
    body += ask(templates, "greeting")
    templates.write(page=templates.fragments(body, "row", "number in numbers"))

    def new(number: int) -> HttpRequest:
        return visit(HTTP_COOKIE=f"name={number}")

    shown = shown_to_two(templates, new, tick=tick, numbers=[1, 2, 3], greeting=greeting)

    assert shown == ["000", "111"] * 2


def greeting(request: Any) -> str:
    """Store the text of a cookie on the request."""
    if not hasattr(request, "_greeting"):
        request._greeting = request.COOKIES["name"]
    text: str = request._greeting
    return text


def read_and_nest(templates: Templates) -> str:
    inner = templates.fragment("{{ request.method }}", "inner")
    return templates.fragment(f"{templates.show('tick')}{inner}", "outer")


@pytest.mark.parametrize(
    "write",
    [
        lambda templates: templates.fragment(
            templates.show("tick") + "{{ request.method }}", "card"
        ),
        lambda templates: templates.fragment(templates.show("tick") + "{{ user }}", "card"),
        read_and_nest,
        lambda templates: templates.fragments(
            templates.show("tick") + "{{ request.method }}", "row", "number in numbers"
        ),
    ],
    ids=["what it reads", "who it is for", "a fragment within", "rows of a list"],
)
def test_a_view_that_a_block_does_not_show_is_no_part_of_its_key(
    templates: Templates, tick: Counter, write: Callable[[Templates], str]
) -> None:
    """Django's generic views pass themselves to the template, and have no canonical form."""
    templates.write(page=write(templates))

    shown = []
    for _ in range(3):
        view: Any = TemplateView()
        view.setup(visit())
        view.request.user = AnonymousUser()
        names = view.get_context_data(tick=tick, user=view.request.user, numbers=[1])
        shown.append(templates.render("page", view.request, **names))

    assert len({*shown}) == 1
    assert shown[0]
    assert tick.since() == 1
