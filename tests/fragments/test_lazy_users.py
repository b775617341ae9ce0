"""Users that a middleware wraps or adds attributes to are distinguished."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.utils.functional import SimpleLazyObject

from cachelayers import cached, unit_of_work
from tests.fragments.conftest import Counter, NewRequest
from tests.fragments.engines import Templates
from tests.fragments.views import counted
from tests.library.models import Author, Book

Wrap = Callable[[Any, bool], None]


def is_verified(user: Any) -> bool:
    return bool(user.device)


def verify(request: Any, has_device: bool) -> None:
    """Do the same as the middleware of django-otp."""

    def set_up(user: Any) -> Any:
        user.device = "phone" if has_device else None
        user.is_verified = partial(is_verified, user)
        return user

    request.user = SimpleLazyObject(partial(set_up, request.user))


def impersonate(request: Any, is_hijacked: bool) -> None:
    """Do the same as the middleware of django-hijack."""
    user = request.user

    def set_up(user: Any) -> Any:
        user.is_hijacked = is_hijacked
        return user

    request.user = SimpleLazyObject(lambda: set_up(copy.copy(user)))


WRAPS: dict[str, tuple[Wrap, str]] = {
    "a second factor": (verify, "{{ user.username }} {{ user.device }}"),
    "somebody else": (impersonate, "{{ user.username }} {{ user.is_hijacked }}"),
}


@pytest.mark.parametrize("name", WRAPS)
@pytest.mark.parametrize("is_used_before", [True, False])
def test_sessions_of_one_user_are_distinguished_by_what_a_middleware_added(
    templates: Templates,
    new_request: NewRequest,
    users: list[User],
    tick: Counter,
    name: str,
    is_used_before: bool,
) -> None:
    wrap, body = WRAPS[name]
    before = "{{ user.username }}" if is_used_before else ""
    templates.write(page=before + counted(templates, body))

    shown = []
    for user in users * 2:
        for is_special in (True, False):
            request = new_request(user)
            wrap(request, is_special)
            shown.append(templates.render("page", request, tick=tick))

    assert len(set(shown)) == 4
    assert shown[:4] == shown[4:]
    assert tick.since() == 4


def test_a_function_that_was_made_for_a_session_makes_no_key(
    templates: Templates, new_request: NewRequest, users: list[User]
) -> None:
    templates.write(page=templates.fragment(templates.show("user.theme"), "card"))

    def shown(theme: str) -> str:
        request = new_request(users[0])
        user = User.objects.get(pk=users[0].pk)
        setattr(user, "theme", lambda: theme)  # noqa: B010 # no attribute of the model
        request.user = user
        return templates.render("page", request, theme=theme)

    found = [shown("dark"), shown("light")]

    assert found == ["dark", "light"] or ("lambda" in found[0] and found[0] != found[1])


def test_guests_with_names_are_distinguished(
    templates: Templates, new_request: NewRequest, tick: Counter
) -> None:
    templates.write(page=counted(templates, "{{ user.nickname }}"))

    def shown(nickname: str) -> str:
        request = new_request()
        guest: Any = AnonymousUser()
        guest.nickname = nickname
        request.user = guest
        return templates.render("page", request, tick=tick)

    assert [shown(name) for name in ("ann", "bob") * 2] == ["ann", "bob"] * 2
    assert tick.since() == 2


def test_what_a_block_works_out_of_the_user_is_no_other_user(
    templates: Templates, new_request: NewRequest, users: list[User], tick: Counter
) -> None:
    """Django stores permissions, and related rows, in the instance."""
    body = "{{ user.get_all_permissions() }}{{ perms.library.change_book }}"
    if hasattr(templates, "engine"):
        body = body.replace("()", "")
    templates.write(page=counted(templates, body))

    for _ in range(3):
        templates.render("page", new_request(users[0]), tick=tick)

    assert tick.since() == 1


@pytest.mark.parametrize("arguments", [(), ("book",)])
def test_an_instance_that_holds_the_user_is_identified_by_the_user(
    templates: Templates, new_request: NewRequest, users: list[User], arguments: tuple[str, ...]
) -> None:
    """A view may set `book.owner = request.user`, to show both."""
    body = "{{ book.owner.username }}"
    templates.write(page=templates.fragment(body, "card", *arguments))
    author = Author.objects.create(name="Ann")
    Book.objects.create(title="Maps", author=author)

    def shown(user: User) -> str:
        request = new_request(user)
        verify(request, has_device=False)
        with unit_of_work(request):
            book: Any = Book.objects.get()
            book.owner = request.user
            return templates.render_here("page", request, book=book)

    assert [shown(user) for user in users * 2] == ["ann", "bob"] * 2


# Users in other objects


@pytest.fixture
def wrapped_authors() -> list[Any]:
    """Return lazy objects around lazy objects around authors."""
    authors = [Author.objects.create(name=name) for name in ("ann", "bob")]
    inner = [SimpleLazyObject(partial(Author.objects.get, pk=author.pk)) for author in authors]
    return [SimpleLazyObject(lambda one=one: one) for one in inner]  # type: ignore[misc]


@pytest.mark.parametrize("arguments", [(), ("book",)])
def test_an_instance_that_holds_a_lazy_object_is_shown(
    templates: Templates, wrapped_authors: list[Any], arguments: tuple[str, ...]
) -> None:
    templates.write(page=templates.fragment("{{ book.author.name }}", "card", *arguments))
    for author in wrapped_authors:
        Book.objects.create(title="Maps", author_id=author.pk)

    def shown(number: int) -> str:
        author = wrapped_authors[number]
        with unit_of_work():
            book = Book.objects.get(author_id=author.pk)
            book.author = author
            return templates.render_here("page", book=book)

    assert [shown(number) for number in (0, 1, 0, 1)] == ["ann", "bob"] * 2


@cached
def name_of(author: Any) -> str:
    return str(author.name)


@cached
def author_of(book: Any) -> str:
    return str(book.author.name)


def test_a_cached_function_takes_lazy_objects_and_instances_that_hold_some(
    wrapped_authors: list[Any],
) -> None:
    for author in wrapped_authors:
        Book.objects.create(title="Maps", author_id=author.pk)
    for _ in range(2):
        for author, name in zip(wrapped_authors, ("ann", "bob"), strict=True):
            with unit_of_work():
                book = Book.objects.get(author_id=author.pk)
                book.author = author
                assert (name_of(author), author_of(book)) == (name, name)
            assert name_of.key(author) == name_of.key(Author.objects.get(name=name))


def test_a_lazy_object_that_was_not_used_is_not_used_by_an_inclusion_tag(
    new_request: NewRequest, tick: Counter
) -> None:
    """Django's inclusion tags pass the token on, whether their templates need it or not."""
    from django.template.context_processors import csrf

    from tests.fragments.engines import DjangoTemplates

    templates = DjangoTemplates()
    templates.write(page=counted(templates, "{% show_item %}"), item="item")

    for _ in range(3):
        request = new_request()
        assert templates.render("page", request, tick=tick, **csrf(request)) == "item"
        assert "CSRF_COOKIE_NEEDS_UPDATE" not in request.META

    assert tick.since() == 1
