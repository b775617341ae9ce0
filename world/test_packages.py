"""Projects with widely used packages: their own tests pass, and so do these."""

from __future__ import annotations

import pytest

from world.conftest import MakeProject


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_flags_and_settings_that_packages_remember(
    make_project: MakeProject, database: str
) -> None:
    project = make_project(database)
    project.add_app("flags")
    project.add_settings(
        "INSTALLED_APPS += ['waffle', 'constance']",
        CONSTANCE_BACKEND="constance.backends.database.DatabaseBackend",
        CONSTANCE_DATABASE_CACHE_BACKEND="default",
        CONSTANCE_CONFIG={"GREETING": ("hello", "What is said first.")},
    )
    assert "Ran 3 tests" in project.manage("test", "flags")


def test_people_who_see_more_than_others(make_project: MakeProject) -> None:
    project = make_project("sqlite")
    project.add_app("people")
    project.add_settings(
        "INSTALLED_APPS += ['django_otp', 'django_otp.plugins.otp_static', 'hijack',"
        " 'rest_framework']",
        "MIDDLEWARE += ['django_otp.middleware.OTPMiddleware',"
        " 'hijack.middleware.HijackUserMiddleware']",
        ROOT_URLCONF="people.urls",
    )
    assert "OK" in project.manage("test", "people")


def test_pages_of_wagtail_and_their_previews(make_project: MakeProject) -> None:
    project = make_project("sqlite")
    project.add_app("cms")
    project.add_settings(
        "INSTALLED_APPS += ['wagtail.users', 'wagtail.images', 'wagtail.documents',"
        " 'wagtail.admin', 'wagtail.search', 'wagtail.sites', 'wagtail', 'taggit',"
        " 'modelcluster', 'wagtail.contrib.settings']",
        "MEDIA_ROOT = BASE_DIR / 'media'",
        WAGTAIL_SITE_NAME="world",
        WAGTAILADMIN_BASE_URL="http://localhost",
        ROOT_URLCONF="cms.urls",
        MEDIA_URL="/media/",
    )
    project.manage("makemigrations", "cms", "-v0")
    assert "OK" in project.manage("test", "cms")
