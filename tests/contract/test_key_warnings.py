"""The keys of which our caches warn, as Django's do."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache, CacheKeyWarning

from tests.contract.fixtures import SINGLE

pytestmark = pytest.mark.parametrize("cache_alias", [*SINGLE, "memory_table"], indirect=True)


@pytest.mark.parametrize("operation", ["get", "set", "add", "touch", "delete", "has_key", "incr"])
def test_an_unportable_key_warns_as_in_django(cache: BaseCache, operation: str) -> None:
    arguments = {"set": (1,), "add": (1,)}.get(operation, ())

    for key in ["a b", "null\x00", "tab\t", "x" * 251]:
        with pytest.warns(CacheKeyWarning, match="memcached"), allowed_errors(operation):
            getattr(cache, operation)(key, *arguments)


def allowed_errors(operation: str) -> AbstractContextManager[object]:
    # incr() of a missing key
    return pytest.raises(ValueError, match="not found") if operation == "incr" else nullcontext()


@pytest.mark.parametrize("operation", ["get_many", "set_many", "delete_many"])
def test_an_unportable_key_warns_in_bulk_as_in_django(cache: BaseCache, operation: str) -> None:
    argument: Any = {"a b": 1} if operation == "set_many" else ["a b"]

    with pytest.warns(CacheKeyWarning, match="memcached"):
        getattr(cache, operation)(argument)
