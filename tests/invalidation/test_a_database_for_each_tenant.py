"""If a router gives each tenant a database, no tenant gets values made from another's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.template import Context, Template

from cachelayers import cached, recall
from cachelayers.invalidation.reports import reports
from tests.invalidation import moving
from tests.invalidation.conftest import Site
from tests.invalidation.test_units import rename
from tests.library.models import Author, Book

pytestmark = pytest.mark.parametrize("site", ["default"], indirect=True)
NAMES = {"default": "Ann", "other": "Bea"}


class Router:
    """Chooses by a tenant that a middleware would set in a context variable."""

    tenant: str | None = "default"

    def db_for_read(self, model: Any, **hints: Any) -> str:
        if self.tenant is None:
            raise LookupError("no tenant is active")
        return self.tenant

    db_for_write = db_for_read


@pytest.fixture
def router(site: Site, tmp_path: Any, settings: Any) -> Iterator[Router]:
    author = Author.objects.create(pk=1, name=NAMES["default"])
    Book.objects.create(pk=1, title="Maps", author=author)
    path = moving.copy_file(tmp_path / "other.sqlite3")
    with moving.database("other", moving.sqlite_file(path)) as other:
        rename(other, NAMES["other"])
        router = Router()
        settings.DATABASE_ROUTERS = [router]
        reports.clear()
        yield router


def name() -> str:
    return Author.objects.get(pk=1).name


@cached(using="sqlite")
def name_of_the_author() -> str:
    return Book.objects.select_related("author").get(pk=1).author.name


def name_by_an_inner_entry() -> str:
    found: str = recall("inner", name, using="sqlite")
    return found


def name_in_a_fragment() -> str:
    source = '{% load cachelayers %}{% fragment "name" using="sqlite" %}{{ name }}{% endfragment %}'
    return Template(source).render(Context({"name": name}))


@pytest.mark.parametrize(
    "read", [name, name_of_the_author, name_by_an_inner_entry, name_in_a_fragment]
)
def test_each_tenant_sees_its_own(router: Router, site: Site, read: Callable[[], str]) -> None:
    for router.tenant in ("default", "other", "other", "default", "other"):
        assert site.visit("name", read) == NAMES[router.tenant]


def test_a_reader_of_one_database_has_hits(
    router: Router, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    router.tenant = "other"

    assert site.visit("name", name) == "Bea"
    assert site.is_hit("name", name)
    assert "as an argument" not in caplog.text

    router.tenant = "default"

    assert not site.is_hit("name", name)
    assert "as an argument" in caplog.text


def test_a_database_that_code_names_is_shared_by_all_tenants(router: Router, site: Site) -> None:
    def read() -> str:
        return Author.objects.using("other").get(pk=1).name

    assert site.visit("name", read) == "Bea"

    router.tenant = "other"

    assert site.is_hit("name", read)


def test_a_router_that_refuses_to_choose_is_no_fault_where_code_names_the_database(
    router: Router, site: Site
) -> None:
    def read() -> str:
        return Author.objects.using("other").get(pk=1).name

    router.tenant = None

    assert site.visit("name", read) == "Bea"
    assert site.is_hit("name", read)

    router.tenant = "other"
    site.visit("own", name)
    router.tenant = None

    with pytest.raises(LookupError):
        site.visit("own", name)
