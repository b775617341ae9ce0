"""Django's own uses of a cache work: sessions, cached pages and template fragments."""

from __future__ import annotations

import itertools
from http import HTTPStatus

import pytest
from django.contrib.sessions.backends import cache as cache_sessions
from django.contrib.sessions.backends import cached_db as cached_db_sessions
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.utils import make_template_fragment_key
from django.http import HttpRequest, HttpResponse
from django.template import Context, Engine
from django.test import RequestFactory, override_settings
from django.views.decorators.cache import cache_page

from tests.contract.fixtures import every_backend

pytestmark = every_backend

SESSION_STORES = [cache_sessions.SessionStore, cached_db_sessions.SessionStore]


@pytest.mark.parametrize("store", SESSION_STORES, ids=["cache", "cached_db"])
def test_a_session_is_stored_in_the_cache(
    cache: BaseCache, cache_alias: str, store: type[cache_sessions.SessionStore]
) -> None:
    with override_settings(SESSION_CACHE_ALIAS=cache_alias):
        session = store()
        session["basket"] = {"apples": 3}
        session.save()

        later = store(session.session_key)

        assert later["basket"] == {"apples": 3}
        assert cache.get(later.cache_key) is not None


@pytest.mark.parametrize("store", SESSION_STORES, ids=["cache", "cached_db"])
def test_a_session_ends(
    cache: BaseCache, cache_alias: str, store: type[cache_sessions.SessionStore]
) -> None:
    with override_settings(SESSION_CACHE_ALIAS=cache_alias):
        session = store()
        session["basket"] = 1
        session.save()
        ended = session.session_key

        session.flush()

        assert "basket" not in store(ended)
        assert store().exists(str(ended)) is False


def test_a_session_of_cached_db_survives_a_cleared_cache(
    cache: BaseCache, cache_alias: str
) -> None:
    with override_settings(SESSION_CACHE_ALIAS=cache_alias):
        session = cached_db_sessions.SessionStore()
        session["basket"] = 1
        session.save()

        cache.clear()

        assert cached_db_sessions.SessionStore(session.session_key)["basket"] == 1


def test_cache_page_renders_a_page_once(cache: BaseCache, cache_alias: str) -> None:
    visits = itertools.count(1)

    @cache_page(60, cache=cache_alias)
    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"visit {next(visits)} of {request.path}")

    factory = RequestFactory()
    first, second = page(factory.get("/a/")), page(factory.get("/a/"))
    other = page(factory.get("/b/"))

    assert first.content == second.content == b"visit 1 of /a/"
    assert second.status_code == HTTPStatus.OK
    assert other.content == b"visit 2 of /b/"


def test_a_cleared_cache_renders_the_page_again(cache: BaseCache, cache_alias: str) -> None:
    visits = itertools.count(1)

    @cache_page(60, cache=cache_alias)
    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"visit {next(visits)}")

    page(RequestFactory().get("/a/"))
    cache.clear()
    again = page(RequestFactory().get("/a/"))

    assert again.content == b"visit 2"


def test_a_template_fragment_is_rendered_once_per_variant(
    cache: BaseCache, cache_alias: str
) -> None:
    template = Engine(libraries={"cache": "django.templatetags.cache"}).from_string(
        "{% load cache %}{% cache 60 card name using='"
        + cache_alias
        + "' %}{{ text }}{% endcache %}"
    )

    first = template.render(Context({"name": "a", "text": "<one>"}))
    second = template.render(Context({"name": "a", "text": "<two>"}))
    other = template.render(Context({"name": "b", "text": "<three>"}))

    assert (first, second, other) == ("&lt;one&gt;", "&lt;one&gt;", "&lt;three&gt;")
    assert cache.get(make_template_fragment_key("card", ["a"])) == "&lt;one&gt;"


def test_the_handler_gives_each_thread_the_same_entries(cache: BaseCache, cache_alias: str) -> None:
    cache.set("answer", 42)

    assert caches[cache_alias].get("answer") == 42


def test_the_end_of_a_request_leaves_the_cache_usable(cache: BaseCache, cache_alias: str) -> None:
    cache.set("answer", 42)

    caches[cache_alias].close()

    assert caches[cache_alias].get("answer") == 42
    assert cache.get("answer") == 42
