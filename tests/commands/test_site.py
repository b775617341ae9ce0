"""Pages are rendered in the process, as for a client without cookies."""

from functools import partial

import pytest
from django.core.cache import cache
from django.core.signals import request_finished, request_started
from django.test.utils import override_script_prefix
from django.utils import timezone, translation
from pytest_django import Settings

from cachelayers.warming.clients import Site, Visit, locate
from cachelayers.warming.items import WarmingError
from tests.commands.small_site.records import Records

pytestmark = pytest.mark.usefixtures("small_site")


def visit(url: str) -> Visit:
    return Site().visit(locate(url))


def note(sent: list[str], name: str, **_: object) -> None:
    sent.append(name)


def reason_for(url: str) -> str:
    with pytest.raises(WarmingError) as raised:
        visit(url)
    return str(raised.value)


def test_a_page_is_rendered_with_the_sites_host_and_without_cookies(small_site: Records) -> None:
    visit("/page/1/?a=b&c=%C3%A9")

    [request] = small_site.requests
    assert request.build_absolute_uri() == "http://www.example.com/page/1/?a=b&c=%C3%A9"
    assert request.COOKIES == {}
    assert request.method == "GET"
    assert request.GET["c"] == "é"
    assert cache.get("page:1") == "This is page 1."


def test_host_port_and_scheme_of_a_full_url_are_kept(small_site: Records) -> None:
    visit("https://testserver:8443/page/1/")

    [request] = small_site.requests
    assert request.build_absolute_uri() == "https://testserver:8443/page/1/"
    assert request.get_port() == "8443"
    assert request.META["SERVER_NAME"] == "testserver"
    assert request.is_secure()


def test_a_path_is_rendered_over_https_where_the_site_redirects_to_it(
    small_site: Records, settings: Settings
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.MIDDLEWARE = ["django.middleware.security.SecurityMiddleware"]

    address = locate("/page/1/")
    visit("/page/1/")
    visit("http://www.example.com/page/2/")

    assert str(address) == "https://www.example.com/page/1/"
    assert [request.scheme for request in small_site.requests] == ["https", "https"]


@pytest.mark.parametrize(("scheme", "port"), [("http", "80"), ("https", "443")])
def test_a_url_without_a_port_has_that_of_its_scheme(
    small_site: Records, scheme: str, port: str
) -> None:
    visit(f"{scheme}://www.example.com/page/1/")

    assert small_site.requests[0].get_port() == port


@pytest.mark.parametrize("url", ["/países/", "/pa%C3%ADses/"])
def test_a_path_that_is_not_ascii_reaches_its_view(small_site: Records, url: str) -> None:
    visit(url)

    assert small_site.paths == ["/pa%C3%ADses/"]


def test_the_prefix_of_force_script_name_is_taken_off(
    small_site: Records, settings: Settings
) -> None:
    settings.FORCE_SCRIPT_NAME = "/atlas"

    with override_script_prefix("/"):  # the handler sets another one
        visit("/atlas/page/1/")
        visit("/atlas")
        reason = reason_for("/page/1/")

    assert small_site.paths == ["/atlas/page/1/", "/atlas/"]
    assert reason == "is outside of FORCE_SCRIPT_NAME, which is '/atlas'"


def test_an_async_view_is_rendered() -> None:
    visit("/async/")

    assert cache.get("async-page") == "rendered"


def test_a_streamed_page_is_read_to_its_end() -> None:
    visit("/streamed/")

    assert cache.get("streamed-page") == "to its end"


def test_the_signals_of_a_request_are_sent(small_site: Records) -> None:
    sent: list[str] = []
    note_start = partial(note, sent, "started")
    note_finish = partial(note, sent, "finished")
    request_started.connect(note_start)
    request_finished.connect(note_finish)

    try:
        visit("/page/1/")
        with pytest.raises(RuntimeError):
            visit("/breaks-while-streaming/")
    finally:
        request_started.disconnect(note_start)
        request_finished.disconnect(note_finish)

    assert sent == ["started", "finished"] * 2


def test_a_page_leaves_its_language_and_time_zone_behind() -> None:
    before = translation.get_language(), timezone.get_current_timezone_name()

    visit("/in-french/")

    assert (translation.get_language(), timezone.get_current_timezone_name()) == before


def test_a_page_begins_with_the_language_of_the_site() -> None:
    with translation.override("fr"), timezone.override("Europe/Paris"):
        visit("/page/1/")

    assert cache.get("language-and-zone") == ("en-us", "America/Chicago")


def test_a_compressed_page_is_warmed_as_browsers_ask_for_it(
    small_site: Records, settings: Settings
) -> None:
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]

    visit("/page/1/")

    [request] = small_site.requests
    assert request.headers["Accept-Encoding"] == "gzip, deflate"
    assert visit("/page/1/").came_from_page_cache


def test_a_page_that_is_not_in_the_page_cache_did_not_come_from_it() -> None:
    assert not visit("/page/1/").came_from_page_cache
    assert not visit("/kept/1/").came_from_page_cache


# Failures


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("/missing/", "answered 404 (Not Found)"),
        ("/hidden/", "answered 403 (Forbidden)"),
        ("/odd/", "answered 499 (Unknown Status Code)"),
        ("/broken/", "answered 500: ValueError: no such country: XX"),
    ],
)
def test_an_error_page_is_a_failure_with_its_reason(url: str, reason: str) -> None:
    assert reason_for(url) == reason


def test_an_error_page_of_debug_mode_is_a_failure_too(settings: Settings) -> None:
    settings.DEBUG = True

    assert reason_for("/broken/") == "answered 500: ValueError: no such country: XX"


def test_an_error_in_the_middle_of_a_stream_is_raised() -> None:
    with pytest.raises(RuntimeError, match="the stream broke"):
        visit("/breaks-while-streaming/")


# Redirects


@pytest.mark.parametrize("target", ["/page/1/", "../page/1/", "https://testserver/page/1/"])
def test_a_redirect_within_the_site_is_followed(small_site: Records, target: str) -> None:
    visit(f"/redirect/?to={target}")

    assert small_site.paths == ["/page/1/"]


def test_a_missing_slash_is_added_as_for_a_client(small_site: Records) -> None:
    visit("/page/1")

    assert small_site.paths == ["/page/1/"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("https://elsewhere.example/", "is on another host: 'elsewhere.example' is not in"),
        ("//elsewhere.example/", "is on another host"),
        ("mailto:someone", "has the scheme 'mailto'"),
        ("", "is empty"),
    ],
)
def test_a_redirect_elsewhere_is_refused(target: str, reason: str) -> None:
    assert reason_for(f"/redirect/?to={target}").startswith(
        f"redirects to '{target}', which {reason}"
    )


def test_a_page_that_redirects_to_itself_is_given_up() -> None:
    assert reason_for("/redirect/") == "redirects more than 5 times"


# URLs


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "is empty"),
        ("page/1/", "is neither a path that begins with '/' nor an http or https URL"),
        ("/page 1/", "contains a blank or a control character"),
        ("/page\n/", "contains a blank or a control character"),
        ("ftp://www.example.com/", "has the scheme 'ftp'; only http and https are warmed"),
        ("javascript:alert(1)", "has the scheme 'javascript'"),
        ("file:///etc/passwd", "has the scheme 'file'"),
        ("http://elsewhere.example/", "is on another host"),
        ("//elsewhere.example/", "is on another host"),
        ("http:///page/1/", "is on another host"),
        ("http://www.example.com:port/", "is not a valid URL"),
        ("http://[::1/", "is not a valid URL"),
        ("http://me:secret@www.example.com/", "contains a user name"),
    ],
)
def test_what_is_no_url_of_the_site_is_refused(url: str, reason: str) -> None:
    with pytest.raises(WarmingError, match=reason):
        locate(url)


@pytest.mark.parametrize(
    ("url", "spelled"),
    [
        ("HTTP://WWW.Example.COM", "http://www.example.com/"),
        ("/?q=é&r=a%20b#top", "http://www.example.com/?q=%C3%A9&r=a%20b"),
    ],
)
def test_a_url_has_one_form(url: str, spelled: str) -> None:
    assert str(locate(url)) == spelled


def test_a_relative_url_is_beside_the_page_that_names_it() -> None:
    base = "http://www.example.com/some/page/"

    assert str(locate("other/", base=base)) == f"{base}other/"


def test_without_allowed_hosts_and_debug_mode_no_host_is_the_site_s(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = []

    assert "'127.0.0.1' is not in ALLOWED_HOSTS" in reason_for("http://127.0.0.1/")


def test_a_url_without_a_host_is_refused_even_where_every_host_is_allowed(
    settings: Settings,
) -> None:
    settings.ALLOWED_HOSTS = ["*"]

    with pytest.raises(WarmingError, match="is on another host: ''"):
        locate("http:///page/1/")


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        (["www.example.com", "other.example"], "http://www.example.com/"),
        ([".example.com"], "http://example.com/"),
        (["*", "www.example.com"], "http://www.example.com/"),
        (["*"], "http://localhost/"),
    ],
)
def test_a_path_is_rendered_for_the_first_allowed_host_that_is_one(
    settings: Settings, allowed: list[str], origin: str
) -> None:
    settings.ALLOWED_HOSTS = allowed

    assert str(locate("/")) == origin


def test_debug_mode_without_allowed_hosts_is_this_machine(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = []
    settings.DEBUG = True

    assert str(locate("/")) == "http://localhost/"
    assert str(locate("http://127.0.0.1:8000/")) == "http://127.0.0.1:8000/"
