"""Settings from environment variables are texts; numbers in them count as numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache

from tests.contract.fixtures import Clock, MakeCache, every_backend

pytestmark = every_backend


class Seconds:
    """A number of another package, as numpy's are: neither an int nor a float."""

    def __float__(self) -> float:
        return 10.0


def test_a_timeout_and_a_version_may_be_texts(make_cache: MakeCache, clock: Clock) -> None:
    cache = make_cache(TIMEOUT="10", VERSION="2")
    cache.set("answer", 42)

    assert cache.get("answer", version=2) == 42
    assert cache.incr_version("answer") == 3
    clock.advance(11)
    assert cache.get("answer", version=3) is None


@pytest.mark.parametrize("timeout", [Seconds(), Decimal(10)], ids=["like numpy's", "decimal"])
def test_a_timeout_may_be_any_number(cache: BaseCache, clock: Clock, timeout: Any) -> None:
    cache.set("answer", 42, timeout=timeout)

    clock.advance(9)
    assert cache.get("answer") == 42
    clock.advance(2)
    assert cache.get("answer") is None
