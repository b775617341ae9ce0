"""django-tenants: one database alias with a schema per tenant, and a changing search_path."""

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
         for name in NAMES]
print("; ".join(shown))
"""
ASK_UNTIL_KEPT = """
import time
from django.test import Client
from shop.cached_functions import computed

# At once, but where other tests on the same server have transactions open.
deadline = time.monotonic() + 30
while True:
    computed.clear()
    for name in ("red", "blue", "red", "blue"):
        Client(HTTP_HOST=f"{name}.test").get("/shop/names/")
    if not computed or time.monotonic() > deadline:
        break
print(computed)
"""
CHANGE = """
from django_tenants.utils import schema_context
from shop.models import Product

with schema_context("{tenant}"):
    Product.objects.update(name="{name}")
"""


@pytest.fixture(params=["shared", "both"])
def apps(request: pytest.FixtureRequest) -> str:
    """The setting that contains cachelayers: only SHARED_APPS, or TENANT_APPS as well."""
    return str(request.param)


@pytest.fixture
def site(apps: str, make_project: MakeProject) -> Project:
    project = make_project("postgres")
    project.add_app("shop")
    project.add_app("customers")
    project.write("website/urls.py", URLS)
    ours = ["cachelayers"]
    project.add_settings(BOTH=ours, OF_TENANTS=ours if apps == "both" else [])
    project.add_settings(SETTINGS)
    project.manage("makemigrations", "shop", "customers", "-v0")
    project.manage("migrate_schemas", "--shared", "-v0")
    project.shell(MAKE_TENANTS)
    return project


def test_each_tenant_sees_what_is_its_own_and_each_change_of_it(site: Project, apps: str) -> None:
    assert shown_by(site) == "red tea; blue tea; red tea; blue tea"
    if apps == "shared":  # their own logs are read again whenever the tenant changes (W027)
        assert site.shell(ASK_UNTIL_KEPT) == "[]"
    for tenant, name in (("red", "red cake"), ("blue", "blue cake"), ("red", "red pie")):
        site.shell(CHANGE.format(tenant=tenant, name=name))
    assert shown_by(site) == "red pie; blue cake; red pie; blue cake"
    site.manage("check", "--database", "default")

    # A tenant created later
    site.shell(MAKE_TENANTS.replace('("red", "blue")', '("green",)'))
    assert shown_by(site, "green", "green") == "green tea; green tea"
    site.shell(CHANGE.format(tenant="green", name="green pie"))
    assert shown_by(site, "green", "green") == "green pie; green pie"


def shown_by(site: Project, *tenants: str) -> str:
    """Return what one process shows, with a request for each tenant."""
    return site.shell(SHOW.replace("NAMES", repr(tenants or ("red", "blue", "red", "blue"))))
