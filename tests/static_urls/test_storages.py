"""Where files are found: finders, folders, memory, manifests; storages that add the ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django import forms
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage, StaticFilesStorage
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage, storages
from django.core.management import call_command
from django.template import Context, Template
from django.templatetags.static import static
from django.test import Client
from pytest_django import Settings

from cachelayers import build_cache_id
from cachelayers.exceptions import StaticFileError
from cachelayers.storage import HashedStaticFilesMixin, HashedStaticFilesStorage
from tests.static_urls.conftest import Call, id_of, integrity_of, write

CAR = id_of(b"a car")
OURS = "cachelayers.storage.HashedStaticFilesStorage"
DJANGOS = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
WHITENOISES = "whitenoise.storage.CompressedManifestStaticFilesStorage"
HASHED_MANIFEST = "tests.static_urls.test_storages.HashedManifestStorage"
CSS = b"body { background: url(car.jpg) }"


class HashedManifestStorage(HashedStaticFilesMixin, ManifestStaticFilesStorage):
    """A hash in the name, and an id."""


class HashedMemoryStorage(HashedStaticFilesMixin, InMemoryStorage):
    """A storage without paths."""


class OldMemoryStorage(InMemoryStorage):
    """A storage without modification times."""

    def get_modified_time(self, name: str) -> Any:
        raise NotImplementedError


class BrokenStorage(InMemoryStorage):
    """A storage whose server is down."""

    def exists(self, name: str) -> bool:
        raise RuntimeError("the bucket is not there")


UseStorage = Callable[..., Any]


@pytest.fixture
def use(settings: Settings) -> UseStorage:
    """A function that makes a class the site's storage of static files, and returns it."""

    def use_storage(backend: str, **options: Any) -> Any:
        settings.STORAGES = {
            **settings.STORAGES,
            "staticfiles": {"BACKEND": backend, "OPTIONS": options},
        }
        return storages["staticfiles"]

    return use_storage


@pytest.fixture
def collected(settings: Settings, tmp_path: Path, use: UseStorage) -> Callable[[str], Any]:
    """A function that collects a stylesheet and an image with a storage."""
    write(tmp_path / "sources" / "car.jpg", b"a car")
    write(tmp_path / "sources" / "app.css", CSS)
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATICFILES_DIRS = [tmp_path / "sources"]
    settings.STATIC_ROOT = tmp_path / "static"

    def collect(backend: str) -> Any:
        storage = use(backend)
        call_command("collectstatic", interactive=False, verbosity=0)
        return storage

    return collect


# Finders and STATIC_ROOT


def test_in_development_the_finders_have_the_file(
    call: Call, settings: Settings, finder_root: Path
) -> None:
    settings.DEBUG = True
    write(Path(settings.STATIC_ROOT) / "img" / "car.jpg", b"what was collected long ago")

    assert call("cache_id", "img/car.jpg") == id_of(b"a car that was not collected")


def test_in_production_static_root_has_the_file(
    call: Call, settings: Settings, finder_root: Path
) -> None:
    before = call("cache_id", "img/car.jpg")
    write(Path(settings.STATIC_ROOT) / "img" / "car.jpg", b"a car")

    assert before == "ERROR_MISSING_FILE"
    assert call("cache_id", "img/car.jpg") == CAR


def test_what_is_served_is_hashed_where_dev_mode_is_on_in_production(
    settings: Settings, finder_root: Path
) -> None:
    only_found = build_cache_id("img/car.jpg", dev_mode=True)
    write(Path(settings.STATIC_ROOT) / "img" / "car.jpg", b"a car")

    assert only_found == id_of(b"a car that was not collected")
    assert build_cache_id("img/car.jpg", dev_mode=True) == CAR


def test_whitenoise_may_serve_from_the_finders_in_production(
    settings: Settings, finder_root: Path
) -> None:
    settings.WHITENOISE_USE_FINDERS = True

    assert build_cache_id("img/car.jpg") == id_of(b"a car that was not collected")


def test_without_static_root_the_finders_are_asked(settings: Settings, finder_root: Path) -> None:
    settings.STATIC_ROOT = None

    assert build_cache_id("img/car.jpg") == id_of(b"a car that was not collected")


def test_a_folder_among_the_finders_is_a_marker(settings: Settings, finder_root: Path) -> None:
    settings.DEBUG = True

    assert build_cache_id("img") == "ERROR_IS_DIRECTORY"
    assert build_cache_id("admin") == "ERROR_IS_DIRECTORY"


# Storages without paths


def test_a_storage_in_memory(call: Call, use: UseStorage) -> None:
    storage = use("django.core.files.storage.InMemoryStorage", base_url="https://bucket.example/")
    storage.save("img/car.jpg", ContentFile(b"a car"))

    url = call("hashed_static", "img/car.jpg?x=1")

    assert url == f"https://bucket.example/img/car.jpg?x=1&cache_id={CAR}"
    assert call("static_integrity", "img/car.jpg") == integrity_of(b"a car")
    assert call("cache_id", "img/bus.jpg") == "ERROR_MISSING_FILE"
    assert call("cache_id", "img") == "ERROR_IS_DIRECTORY"


@pytest.mark.parametrize(
    "backend",
    [
        "django.core.files.storage.InMemoryStorage",
        "tests.static_urls.test_storages.OldMemoryStorage",
    ],
)
def test_dev_mode_sees_a_change_in_any_storage(use: UseStorage, backend: str) -> None:
    storage = use(backend, base_url="/static/")
    storage.save("car.jpg", ContentFile(b"a car"))
    before = build_cache_id("car.jpg", dev_mode=True)
    storage.delete("car.jpg")
    storage.save("car.jpg", ContentFile(b"another car"))

    assert before == CAR
    assert build_cache_id("car.jpg") == CAR
    assert build_cache_id("car.jpg", dev_mode=True) == id_of(b"another car")


def test_whatever_a_storage_raises_is_a_marker(call: Call, use: UseStorage) -> None:
    use("tests.static_urls.test_storages.BrokenStorage", base_url="/static/")

    assert call("hashed_static", "car.jpg") == "/static/car.jpg?cache_id=ERROR_UNREADABLE"


# Manifests


@pytest.mark.parametrize("backend", [DJANGOS, WHITENOISES])
def test_the_hashed_name_stays_and_the_id_is_that_of_what_is_served(
    call: Call, collected: Callable[[str], Any], backend: str
) -> None:
    storage = collected(backend)
    name = storage.hashed_files["app.css"]
    served = Path(storage.path(name)).read_bytes()

    url = call("hashed_static", "app.css?x=1#top")

    assert served != CSS
    assert url == f"/static/{name}?x=1&cache_id={id_of(served)}#top"
    assert call("hashed_static", "/static/app.css") == f"/static/{name}?cache_id={id_of(served)}"
    assert call("static_integrity", "app.css") == integrity_of(served)


def test_files_whose_originals_whitenoise_has_deleted_have_ids(
    settings: Settings, collected: Callable[[str], Any]
) -> None:
    settings.WHITENOISE_KEEP_ONLY_HASHED_FILES = True
    storage = collected(WHITENOISES)

    assert not Path(storage.path("car.jpg")).exists()
    assert build_cache_id("car.jpg") == CAR


@pytest.mark.parametrize("backend", [DJANGOS, WHITENOISES, HASHED_MANIFEST])
def test_a_missing_manifest_entry_is_a_marker(
    call: Call, collected: Callable[[str], Any], backend: str
) -> None:
    collected(backend)

    url = call("hashed_static", "bus.jpg")

    assert url == "/static/bus.jpg?cache_id=ERROR_MISSING_FILE"
    assert call("cache_id", "bus.jpg") == "ERROR_MISSING_FILE"
    assert call("static_integrity", "bus.jpg") == ""


def test_the_url_of_a_manifest_may_be_given_as_well(
    call: Call, collected: Callable[[str], Any]
) -> None:
    storage = collected(DJANGOS)
    url = storage.url("car.jpg")

    assert call("hashed_static", url) == f"{url}?cache_id={CAR}"


def test_in_development_a_manifest_changes_no_names(
    call: Call, settings: Settings, collected: Callable[[str], Any]
) -> None:
    collected(DJANGOS)
    settings.DEBUG = True

    assert call("hashed_static", "app.css") == f"/static/app.css?cache_id={id_of(CSS)}"


def test_only_what_a_manifest_names_is_warmed(
    collected: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    storage = collected(WHITENOISES)

    call_command("warm_cache", "--static", "--dry-run")

    lines = capsys.readouterr().out.splitlines()
    assert lines[:-1] == [f"would warm: static: {n}" for n in sorted(storage.hashed_files.values())]


# Storages that add ids


def test_the_static_tag_and_media_have_ids(root: Path, use: UseStorage) -> None:
    use(OURS)
    media = forms.Media(js=["img/car.jpg"], css={"all": ["img/car.jpg"]})
    expected = f"/static/img/car.jpg?cache_id={CAR}"

    assert static("img/car.jpg") == expected
    text = "{% load static %}{% static 'img/car.jpg' %}"
    assert Template(text).render(Context()) == expected
    assert str(media).count(expected) == 2


def test_hashed_static_adds_one_id_only(call: Call, root: Path, use: UseStorage) -> None:
    use(OURS)

    assert call("hashed_static", "img/car.jpg") == f"/static/img/car.jpg?cache_id={CAR}"


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("", "/static/"),
        ("img/", "/static/img/"),
        ("/img/car.jpg", f"/static/img/car.jpg?cache_id={CAR}"),
        ("https://elsewhere.example/car.js", "https://elsewhere.example/car.js"),
        ("//elsewhere.example/car.js", "//elsewhere.example/car.js"),
        ("/static/img/car.jpg", f"/static/img/car.jpg?cache_id={CAR}"),
        ("img/bus.jpg", "/static/img/bus.jpg?cache_id=ERROR_MISSING_FILE"),
        ("../secret", "/static/..%2Fsecret?cache_id=ERROR_INVALID_PATH"),
    ],
)
def test_what_templates_give_to_the_static_tag_goes_on_working(
    root: Path, use: UseStorage, name: str, url: str
) -> None:
    use(OURS)

    assert static(name) == url


def test_strict_settings_raise_what_whitenoise_and_django_expect(
    settings: Settings, root: Path, use: UseStorage
) -> None:
    settings.CACHELAYERS = {"STRICT": True}
    use(OURS)

    with pytest.raises(StaticFileError) as raised:
        static("img/bus.jpg")

    assert isinstance(raised.value, ValueError)


def test_the_mixin_combines_with_a_manifest(collected: Callable[[str], Any]) -> None:
    storage = collected(HASHED_MANIFEST)
    name = storage.hashed_files["app.css"]
    served = Path(storage.path(name)).read_bytes()

    assert static("app.css") == f"/static/{name}?cache_id={id_of(served)}"
    assert b"cache_id" not in served
    manifest = json.loads(Path(storage.path("staticfiles.json")).read_text(encoding="utf-8"))
    assert "cache_id" not in json.dumps(manifest)


def test_the_mixin_combines_with_any_storage(use: UseStorage) -> None:
    storage = use("tests.static_urls.test_storages.HashedMemoryStorage", base_url="/static/")
    storage.save("car.jpg", ContentFile(b"a car"))

    assert static("car.jpg") == f"/static/car.jpg?cache_id={CAR}"


def test_two_storages_do_not_take_each_others_ids(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "one" / "img" / "car.jpg", b"one")
    write(tmp_path / "two" / "img" / "car.jpg", b"two")

    urls = [
        HashedStaticFilesStorage(location=tmp_path / name, base_url=f"/{name}/").url("img/car.jpg")
        for name in ("one", "two")
    ]

    assert urls == [
        f"/{name}/img/car.jpg?cache_id={id_of(name.encode())}" for name in ("one", "two")
    ]
    assert build_cache_id("img/car.jpg") == CAR


def test_it_is_djangos_storage_otherwise(use: UseStorage, root: Path) -> None:
    storage = use(OURS)

    assert isinstance(storage, StaticFilesStorage)
    assert storage.path("img/car.jpg") == str(root / "img" / "car.jpg")


@pytest.mark.django_db
def test_the_admin_has_ids(settings: Settings, use: UseStorage, client: Client) -> None:
    settings.DEBUG = True
    use(OURS)

    page = client.get("/admin/login/").content.decode()

    assert "/static/admin/css/base.css?cache_id=" in page
    assert "ERROR" not in page
    assert page.count("/static/") == page.count("?cache_id=")


def test_a_folder_of_the_callers_own_is_not_helped_out_by_finders(
    settings: Settings, finder_root: Path, tmp_path: Path
) -> None:
    settings.DEBUG = True

    assert build_cache_id("img/car.jpg", folder_path=tmp_path / "empty") == "ERROR_MISSING_FILE"
