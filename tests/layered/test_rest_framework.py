"""Django REST framework's throttling runs on LayeredCache unchanged."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.test import RequestFactory
from rest_framework.throttling import AnonRateThrottle
from rest_framework.views import APIView

from tests.contract.fixtures import STACKS, Clock, clock

__all__ = ["clock"]


@pytest.mark.parametrize("cache_alias", STACKS, indirect=True)
def test_a_client_is_throttled_by_all_processes_together(
    cache: BaseCache, cache_alias: str, clock: Clock
) -> None:
    class Throttle(AnonRateThrottle):  # type: ignore[misc] # it comes without types
        rate = "3/min"

        @property
        def cache(self) -> BaseCache:
            return caches[cache_alias]

        def timer(self) -> float:
            return clock.now_seconds

    def allows(address: str) -> bool:
        request: Any = APIView().initialize_request(RequestFactory().get("/", REMOTE_ADDR=address))
        return bool(Throttle().allow_request(request, APIView()))

    assert [allows("10.0.0.1") for _ in range(5)] == [True, True, True, False, False]
    assert allows("10.0.0.2") is True
    clock.advance(61)
    assert allows("10.0.0.1") is True
