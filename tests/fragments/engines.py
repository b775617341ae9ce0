"""One interface for fragments in both template engines, so that each test runs in both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from django.contrib.auth.context_processors import auth
from django.contrib.messages import get_messages
from django.http import HttpRequest
from django.template import Context, Engine, RequestContext
from django.template.backends.utils import csrf_input_lazy, csrf_token_lazy
from jinja2 import DictLoader, Environment

from cachelayers import unit_of_work
from cachelayers.jinja import CacheLayersExtension

PROCESSORS = [
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
]
BUILTINS = ["cachelayers.templatetags.cachelayers", "tests.fragments.tags"]
LIBRARIES = {
    "cachelayers": "cachelayers.templatetags.cachelayers",
    "i18n": "django.templatetags.i18n",
    "l10n": "django.templatetags.l10n",
    "tz": "django.templatetags.tz",
}


class Templates(Protocol):
    """An engine with templates by name."""

    call: str  # the suffix that calls a callable in an expression

    def fragment(self, body: str, name: str, *arguments: str, **options: str) -> str:
        """Return a fragment around a body; arguments and options are expressions."""

    def fragments(
        self, body: str, name: str, loop: str, *arguments: str, empty: str = "", **options: str
    ) -> str:
        """Return a fragment for each item; ``loop`` like "book in books"."""

    def uncached(self, body: str) -> str:
        """Return a hole."""

    def show(self, call: str) -> str:
        """Return an expression with the result of a call without arguments."""

    def loop(self, variable: str, items: str, body: str) -> str:
        """Return a loop around a body."""

    def write(self, **sources: str) -> None:
        """Write templates like a deploy; each has the name "NAME.html"."""

    def render(self, name: str, request: HttpRequest | None = None, **names: Any) -> str:
        """Render a template in its own unit of work, like a request."""

    def render_here(self, name: str, request: HttpRequest | None = None, **names: Any) -> str:
        """Render a template in the current unit of work."""


class RendersInUnits:
    """Renders in a unit of work."""

    def render(self, name: str, request: HttpRequest | None = None, **names: Any) -> str:
        with unit_of_work():
            return self.render_here(name, request, **names)

    def render_here(self, name: str, request: HttpRequest | None = None, **names: Any) -> str:
        raise LookupError(name)  # each engine has its own


class DjangoTemplates(RendersInUnits):
    call = ""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self.engine = self._new_engine()

    def _new_engine(self) -> Engine:
        loader = ("django.template.loaders.locmem.Loader", self.sources)
        return Engine(
            loaders=[("django.template.loaders.cached.Loader", [loader])],
            libraries=LIBRARIES,
            builtins=BUILTINS,
            context_processors=PROCESSORS,
        )

    def fragment(self, body: str, name: str, *arguments: str, **options: str) -> str:
        given = [f'"{name}"', *arguments, *(f"{key}={value}" for key, value in options.items())]
        return f"{{% fragment {' '.join(given)} %}}{body}{{% endfragment %}}"

    def fragments(
        self, body: str, name: str, loop: str, *arguments: str, empty: str = "", **options: str
    ) -> str:
        given = [f'"{name}"', *arguments, "for", loop]
        given += [f"{key}={value}" for key, value in options.items()]
        otherwise = f"{{% empty %}}{empty}" if empty else ""
        return f"{{% fragments {' '.join(given)} %}}{body}{otherwise}{{% endfragments %}}"

    def uncached(self, body: str) -> str:
        return f"{{% uncached %}}{body}{{% enduncached %}}"

    def show(self, call: str) -> str:
        return f"{{{{ {call} }}}}"

    def loop(self, variable: str, items: str, body: str) -> str:
        return f"{{% for {variable} in {items} %}}{body}{{% endfor %}}"

    def write(self, **sources: str) -> None:
        self.sources.update({f"{name}.html": text for name, text in sources.items()})
        self.engine = self._new_engine()

    def render_here(self, name: str, request: HttpRequest | None = None, **names: Any) -> str:
        template = self.engine.get_template(f"{name}.html")
        if request is None:
            return template.render(Context(names))
        context = RequestContext(request)
        context.push(names)
        return template.render(context)


class WithoutCachedLoader(DjangoTemplates):
    """Django's engine without the cached loader: each lookup compiles a template again."""

    def _new_engine(self) -> Engine:
        return Engine(
            loaders=[("django.template.loaders.locmem.Loader", self.sources)], builtins=BUILTINS
        )


class JinjaTemplates(RendersInUnits):
    call = "()"

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self.environment = self._new_environment()

    def _new_environment(self) -> Environment:
        return Environment(
            loader=DictLoader(self.sources), autoescape=True, extensions=[CacheLayersExtension]
        )

    def fragment(self, body: str, name: str, *arguments: str, **options: str) -> str:
        given = [f'"{name}"', *arguments, *(f"{key}={value}" for key, value in options.items())]
        return f"{{% fragment {', '.join(given)} %}}{body}{{% endfragment %}}"

    def fragments(
        self, body: str, name: str, loop: str, *arguments: str, empty: str = "", **options: str
    ) -> str:
        parts = [f"{', '.join([repr(name), *arguments])} for {loop}"]
        parts += [f"{key}={value}" for key, value in options.items()]
        otherwise = f"{{% else %}}{empty}" if empty else ""
        return f"{{% fragments {', '.join(parts)} %}}{body}{otherwise}{{% endfragments %}}"

    def uncached(self, body: str) -> str:
        return f"{{% uncached %}}{body}{{% enduncached %}}"

    def show(self, call: str) -> str:
        return f"{{{{ {call}() }}}}"

    def loop(self, variable: str, items: str, body: str) -> str:
        return f"{{% for {variable} in {items} %}}{body}{{% endfor %}}"

    def write(self, **sources: str) -> None:
        self.sources.update({f"{name}.html": text for name, text in sources.items()})
        self.environment = self._new_environment()

    def render_here(self, name: str, request: HttpRequest | None = None, **names: Any) -> str:
        template = self.environment.get_template(f"{name}.html")
        if request is None:
            return template.render(names)
        of_request: Mapping[str, Any] = {
            "request": request,
            "csrf_input": csrf_input_lazy(request),
            "csrf_token": csrf_token_lazy(request),
            **(auth(request) if hasattr(request, "user") else {}),
            "messages": get_messages(request),
        }
        return template.render({**of_request, **names})


ENGINES: Mapping[str, Callable[[], Templates]] = {
    "django": DjangoTemplates,
    "jinja2": JinjaTemplates,
}
