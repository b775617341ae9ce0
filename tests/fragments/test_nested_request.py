"""A nested fragment in a page that knows its request."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages.storage import default_storage
from django.contrib.sessions.backends.db import SessionStore
from django.test import RequestFactory

from tests.fragments.conftest import Counter
from tests.fragments.engines import Templates


def test_an_outer_fragment_is_kept_at_once_though_an_inner_one_is_rendered_in_it(
    templates: Templates, rf: RequestFactory, tick: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    """Observing the inner one is no use of session, token or messages by the outer one."""
    inner = templates.fragment("inner", "inner")
    templates.write(page=templates.fragment(inner + templates.show("tick"), "outer"))

    def show() -> str:
        request: Any = rf.get("/")
        request.session = SessionStore()
        request._messages = default_storage(request)
        return templates.render("page", request, tick=tick)

    first, second = show(), show()

    assert first == second
    assert tick.since() == 1
    assert caplog.text == ""
