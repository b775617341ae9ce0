"""django-tenants: one database, a schema for each tenant, one alias with a changing search_path."""

from __future__ import annotations

import pytest

from world.conftest import MakeProject
from world.project import Project

URLS = """
from django.urls import include, path

urlpatterns = [path("shop/", include("shop.urls"))]
"""
SETTINGS = """
USERS = ["django.contrib.contenttypes", "django.contrib.auth"]
SHARED_APPS = ["django_tenants", "customers", *BOTH, *USERS]
TENANT_APPS = [*USERS, *OF_TENANTS, "shop"]
INSTALLED_APPS = list(dict.fromkeys([*SHARED_APPS, *TENANT_APPS, "django.contrib.sessions"]))
MIDDLEWARE = ["django_tenants.middleware.main.TenantMainMiddleware"]
DATABASES["default"]["ENGINE"] = "django_tenants.postgresql_backend"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
TENANT_MODEL, TENANT_DOMAIN_MODEL = "customers.Client", "customers.Domain"
ALLOWED_HOSTS = ["*"]
for configured in CACHES.values():
    configured["KEY_FUNCTION"] = "django_tenants.cache.make_key"
"""
MAKE_TENANTS = """
from customers.models import Client, Domain
from django_tenants.utils import schema_context
from shop.models import Product

for name in ("red", "blue"):
    client = Client(schema_name=name, name=name)
    client.save(verbosity=0)
    Domain.objects.create(domain=f"{name}.test", tenant=client, is_primary=True)
    with schema_context(name):
        Product.objects.create(name=f"{name} tea")
"""
SHOW = """
from django.test import Client

shown = [Client(HTTP_HOST=f"{name}.test").get("/shop/names/").content.decode()
         for name in ("red", "blue", "red", "blue")]
print("; ".join(shown))
from shop.cached_functions import computed
print(len(computed))
"""
CHANGE = """
from django_tenants.utils import schema_context
from shop.models import Product

with schema_context("{tenant}"):
    Product.objects.update(name="{name}")
"""


@pytest.fixture(params=["shared", "both"])
def site(request: pytest.FixtureRequest, make_project: MakeProject) -> Project:
    project = make_project("postgres")
    project.add_app("shop")
    project.add_app("customers")
    project.write("website/urls.py", URLS)
    ours = ["cachelayers"]
    project.add_settings(
        BOTH=ours,
        OF_TENANTS=ours if request.param == "both" else [],
    )
    project.add_settings(SETTINGS)
    project.manage("makemigrations", "shop", "customers", "-v0")
    project.manage("migrate_schemas", "--shared", "-v0")
    project.shell(MAKE_TENANTS)
    return project


def test_each_tenant_sees_what_is_its_own_and_each_change_of_it(site: Project) -> None:
    assert shown_by(site) == "red tea; blue tea; red tea; blue tea"
    for tenant, name in (("red", "red cake"), ("blue", "blue cake"), ("red", "red pie")):
        site.shell(CHANGE.format(tenant=tenant, name=name))
    assert shown_by(site) == "red pie; blue cake; red pie; blue cake"
    site.manage("check", "--database", "default")


def test_a_tenant_that_comes_later_is_noticed(site: Project) -> None:
    assert shown_by(site) == "red tea; blue tea; red tea; blue tea"
    site.shell(MAKE_TENANTS.replace('("red", "blue")', '("green",)'))
    green = SHOW.replace('("red", "blue", "red", "blue")', '("green", "green")')
    assert site.shell(green).splitlines()[0] == "green tea; green tea"
    site.shell(CHANGE.format(tenant="green", name="green pie"))
    assert site.shell(green).splitlines()[0] == "green pie; green pie"


def shown_by(site: Project) -> str:
    shown, computed = site.shell(SHOW).splitlines()
    assert (
        int(computed) <= 2
    )  # of four requests: the second of each tenant is answered by the cache
    return shown
