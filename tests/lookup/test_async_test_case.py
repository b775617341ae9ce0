"""In an async test, which has written in its transaction, arecall() works as elsewhere."""

from __future__ import annotations

from django.test import TestCase

from cachelayers import arecall, arecall_many
from cachelayers.testing import caching
from tests.library.models import Author


async def names() -> list[str]:
    return [author.name async for author in Author.objects.order_by("pk")]


async def by_key(keys: list[str]) -> dict[str, list[str]]:
    return dict.fromkeys(keys, await names())


class TestAfterAWrite(TestCase):
    async def test_values_are_computed(self) -> None:
        await Author.objects.acreate(name="Ann")

        assert await arecall("names", names) == ["Ann"]
        assert await arecall_many(["a"], by_key) == {"a": ["Ann"]}

    async def test_values_follow_changes_within_caching(self) -> None:
        await Author.objects.acreate(name="Ann")

        with caching():
            assert await arecall("names", names) == ["Ann"]
            await Author.objects.aupdate(name="Eve")

            assert await arecall("names", names) == ["Eve"]
            assert await arecall_many(["a"], by_key) == {"a": ["Eve"]}
