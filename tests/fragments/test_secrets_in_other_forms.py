"""A secret that was read during the rendering is never cached, in whatever form it is written."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.middleware.csrf import get_token
from django.template.context_processors import csrf
from django.utils.functional import SimpleLazyObject

from tests.fragments.conftest import Counter, NewRequest
from tests.fragments.engines import DjangoTemplates, Templates
from tests.fragments.views import counted

SPELLINGS = [
    "{{ csrf_token|escapejs }}",
    "{{ csrf_token|urlencode|upper }}",
    "token{{ csrf_token }}x",
    "{{ csrf_token|slice:':5' }}",
    "{% with t=csrf_token %}{{ t|length }}{% endwith %}",
]
NONCES = ["{{ request.csp_nonce|slice:':3' }}", "{{ csp_nonce|escapejs }}x", "{{ script_nonce }}"]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("is_used_above", [True, False])
def test_a_token_is_never_kept(
    new_request: NewRequest, tick: Counter, spelling: str, is_used_above: bool
) -> None:
    templates = DjangoTemplates()
    above = "{{ csrf_token }}" if is_used_above else ""
    templates.write(page=above + counted(templates, spelling))

    for _ in range(2):
        request = new_request()
        templates.render("page", request, tick=tick, **csrf(request))

    assert tick.since() == 2


@pytest.mark.parametrize("body", NONCES)
def test_a_nonce_is_never_kept(new_request: NewRequest, tick: Counter, body: str) -> None:
    """Two packages may each wrap the other's nonce."""
    templates = DjangoTemplates()
    templates.write(page="{{ csp_nonce }}" + counted(templates, body))

    for number in range(2):
        request = new_request()
        inner = SimpleLazyObject(partial("nonce=={:016}".format, number))
        nonce = request.csp_nonce = SimpleLazyObject(partial(use, inner))
        names = {"csp_nonce": nonce, "script_nonce": nonce}
        templates.render("page", request, tick=tick, **names)

    assert tick.since() == 2


def use(lazy: Any) -> Any:
    bool(lazy)
    return lazy


def test_a_token_between_letters_is_found_in_the_text(
    templates: Templates, new_request: NewRequest, tick: Counter
) -> None:
    """It was read before the block began, and its name does not show that it is a token."""
    templates.write(page=counted(templates, "{{ given }}"))

    for _ in range(2):
        request = new_request()
        templates.render("page", request, tick=tick, given=f"x{get_token(request)}y")

    assert tick.since() == 2
