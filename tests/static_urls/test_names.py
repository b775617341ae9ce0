"""Names in Django and Jinja2 templates, and the URLs made from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.template import Context, Template
from django.utils.functional import lazystr
from jinja2 import Environment
from pytest_django import Settings

from cachelayers import build_cache_id
from tests.static_urls.conftest import Call, id_of, integrity_of, write

CAR = id_of(b"a car")
pytestmark = pytest.mark.usefixtures("root")


def test_the_url_has_the_id_of_the_content(call: Call) -> None:
    assert call("hashed_static", "img/car.jpg") == f"/static/img/car.jpg?cache_id={CAR}"


def test_the_id_alone(call: Call) -> None:
    assert call("cache_id", "img/car.jpg") == CAR


def test_the_integrity_value(call: Call) -> None:
    assert call("static_integrity", "img/car.jpg") == integrity_of(b"a car")


def test_python_has_the_same_id() -> None:
    assert build_cache_id("img/car.jpg") == CAR


def test_a_folder_of_the_callers_own(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "img" / "car.jpg", b"another car")

    found = build_cache_id("img/car.jpg", folder_path=tmp_path / "elsewhere")

    assert found == id_of(b"another car")
    assert build_cache_id("img/car.jpg") == CAR


def test_as_name_keeps_the_url_in_the_context() -> None:
    text = "{% hashed_static 'img/car.jpg' as url %}[{{ url }}]"
    in_jinja = Environment(extensions=["cachelayers.jinja.CacheLayersExtension"])

    for shown in (
        Template("{% load cachelayers %}" + text).render(Context()),
        in_jinja.from_string(text).render(),
    ):
        assert shown == f"[/static/img/car.jpg?cache_id={CAR}]"


def test_both_engines_escape_the_url() -> None:
    path = "img/car.jpg?a='\"<"
    in_django = "{% load cachelayers %}{% hashed_static path %}"
    in_jinja = Environment(autoescape=True, extensions=["cachelayers.jinja.CacheLayersExtension"])

    for shown in (
        Template(in_django).render(Context({"path": path})),
        in_jinja.from_string("{{ hashed_static(path) }}").render(path=path),
        in_jinja.from_string("{% hashed_static path %}").render(path=path),
    ):
        assert "&amp;cache_id=" in shown
        assert not set("<>'\"") & set(shown)


@pytest.mark.parametrize(
    "path",
    [
        "/static/img/car.jpg",
        "./img//car.jpg",
        "css/../img/car.jpg",
        "  img/car.jpg\n",
        lazystr("img/car.jpg"),
        Path("img/car.jpg"),
    ],
)
def test_other_forms_of_a_name_are_the_same_file(call: Call, path: object) -> None:
    assert call("hashed_static", path) == f"/static/img/car.jpg?cache_id={CAR}"


@pytest.mark.parametrize(
    "path", ["img/car.jpg", "https://cdn.example.com/static/img/car.jpg", "/static/img/car.jpg"]
)
def test_static_url_may_be_a_cdn(call: Call, settings: Settings, path: str) -> None:
    settings.STATIC_URL = "https://cdn.example.com/static/"

    expected = f"https://cdn.example.com/static/img/car.jpg?cache_id={CAR}"

    assert call("hashed_static", path) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("img/car.jpg?x=1#icon", f"?x=1&cache_id={CAR}#icon"),
        ("/static/img/car.jpg?x=1#icon", f"?x=1&cache_id={CAR}#icon"),
        ("img/car.jpg#icon", f"?cache_id={CAR}#icon"),
        ("img/car.jpg?#iefix", f"?cache_id={CAR}#iefix"),
        ("img/car.jpg?cache_id=old", f"?cache_id={CAR}"),
        ("img/car.jpg?a=1&cache_id=old&b=%20+2&cache%5Fid=older", f"?a=1&b=%20+2&cache_id={CAR}"),
        ("img/car.jpg#a?b", f"?cache_id={CAR}#a?b"),
    ],
)
def test_query_and_fragment_stay_and_an_older_id_goes(
    call: Call, given: str, expected: str
) -> None:
    assert call("hashed_static", given) == "/static/img/car.jpg" + expected


@pytest.mark.parametrize(
    "given",
    [
        "https://elsewhere.example/static/img/car.jpg?x=1",
        "//elsewhere.example/car.jpg",
        "data:image/png;base64,AAAA",
        "HTTP://elsewhere.example/car.jpg",
        "blob:https://elsewhere.example/1",
    ],
)
def test_urls_of_others_are_left_alone(
    call: Call, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert call("hashed_static", given) == given
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("file", "given", "url"),
    [
        ("my car.jpg", "my car.jpg", "my%20car.jpg"),
        ("my car.jpg", "/static/my%20car.jpg", "my%20car.jpg"),
        ("my car.jpg", "my%20car.jpg", "my%20car.jpg"),
        ("my%20car.jpg", "my%20car.jpg", "my%2520car.jpg"),
        ("100%.jpg", "100%.jpg", "100%25.jpg"),
        ("größe/été.jpg", "größe/été.jpg", "gr%C3%B6%C3%9Fe/%C3%A9t%C3%A9.jpg"),
        ("été.jpg", "/static/%C3%A9t%C3%A9.jpg", "%C3%A9t%C3%A9.jpg"),
        ("a#b?c.jpg", "a%23b%3Fc.jpg", "a%23b%3Fc.jpg"),
        ("日本.jpg", "日本.jpg", "%E6%97%A5%E6%9C%AC.jpg"),
    ],
)
def test_names_with_other_letters(call: Call, root: Path, file: str, given: str, url: str) -> None:
    write(root / file, file.encode())

    assert call("hashed_static", given) == f"/static/{url}?cache_id={id_of(file.encode())}"


def test_case_tells_files_apart(call: Call, root: Path) -> None:
    write(root / "img" / "Car.jpg", b"another car")

    assert call("cache_id", "img/car.jpg") == CAR
    assert call("cache_id", "img/Car.jpg") == id_of(b"another car")
