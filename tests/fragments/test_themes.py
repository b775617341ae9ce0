"""If loaders choose a template by tenant or theme, each one sees its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.template import Context, Engine
from django.template.loaders.cached import Loader as CachedLoader
from django.template.loaders.locmem import Loader as LocmemLoader

from cachelayers import unit_of_work
from tests.fragments.engines import BUILTINS

pytestmark = pytest.mark.django_db(transaction=True)
THEMES: dict[str, dict[str, str]] = {
    "red": {"part.html": "red"},
    "blue": {"part.html": "blue", "only_blue.html": "!"},
}
SHARED = {
    "page.html": '{% fragment "page" %}{% include "part.html" %}{% endfragment %}',
    "deep.html": '{% fragment "deep" %}{% include "below.html" %}{% endfragment %}',
    "below.html": '{% include "part.html" %}',
    "by_name.html": '{% fragment "by name" %}{% include below %}{% endfragment %}',
    "missing.html": (
        '{% fragment "missing" %}{% include "part.html" %}'
        '{% if "blue" in theme %}{% include "only_blue.html" %}{% endif %}{% endfragment %}'
    ),
}


class Chosen:
    """The value that a middleware would set in a context variable."""

    theme = "red"


class ThemedLoader(CachedLoader):
    """A cached loader with a cache per theme."""

    def cache_key(self, template_name: str, skip: Any = None) -> str:
        return f"{Chosen.theme}:{super().cache_key(template_name, skip)}"


class ThemeLoader(LocmemLoader):
    """Finds the templates of the theme."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, {})

    def get_contents(self, origin: Any) -> str:
        self.templates_dict = THEMES[Chosen.theme]
        return str(super().get_contents(origin))


def engine_with(*loaders: Any) -> Engine:
    return Engine(loaders=list(loaders), builtins=BUILTINS)


def with_a_cache_for_all() -> Engine:
    themed = f"{__name__}.ThemedLoader", [f"{__name__}.ThemeLoader"]
    shared: Any = (
        "django.template.loaders.cached.Loader",
        [("django.template.loaders.locmem.Loader", SHARED)],
    )
    return engine_with(themed, shared)


def without_a_cache() -> Engine:
    return engine_with(f"{__name__}.ThemeLoader", ("django.template.loaders.locmem.Loader", SHARED))


@pytest.mark.parametrize("make_engine", [with_a_cache_for_all, without_a_cache])
def test_a_template_of_all_includes_that_of_the_theme(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    names = {"below": "below.html"}

    for theme in ("red", "blue", "red", "blue"):
        Chosen.theme = theme
        for page in ("page", "deep", "by_name", "missing"):
            context = Context({**names, "theme": theme})
            with unit_of_work():
                shown = engine.get_template(f"{page}.html").render(context)
            is_with_part = page == "missing" and theme == "blue"
            assert shown == (f"{theme}!" if is_with_part else theme)
