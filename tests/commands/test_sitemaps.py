"""--sitemap: the site's sitemap is rendered in the process, and its pages are warmed."""

import gzip
import time
from collections.abc import Callable

import pytest

from cachelayers.warming import plan
from cachelayers.warming.items import WarmingError
from cachelayers.warming.plan import parse_sitemap
from tests.commands.runs import RunCommand
from tests.commands.small_site.records import Records

pytestmark = pytest.mark.usefixtures("no_warmers", "small_site")

ORIGIN = "http://www.example.com"
NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def sitemap_of(*paths: str) -> bytes:
    urls = "".join(f"<url><loc>\n {ORIGIN}{path} </loc></url>" for path in paths)
    return f'<?xml version="1.0"?><urlset {NAMESPACE}>{urls}</urlset>'.encode()


def index_of(*names: str) -> bytes:
    maps = "".join(f"<sitemap><loc>{ORIGIN}/served/{name}</loc></sitemap>" for name in names)
    return f"<sitemapindex {NAMESPACE}>{maps}</sitemapindex>".encode()


def test_every_page_of_a_sitemap_is_warmed(run: RunCommand, small_site: Records) -> None:
    small_site.files["sitemap.xml"] = sitemap_of("/page/1/", "/page/2/?a=1&amp;b=2")

    result = run("warm_cache", "--sitemap=/served/sitemap.xml")

    assert small_site.paths == ["/page/1/", "/page/2/?a=1&b=2"]
    assert "2 warmed" in result.out


def test_a_sitemap_may_be_named_by_its_full_url(run: RunCommand, small_site: Records) -> None:
    small_site.files["sitemap.xml"] = sitemap_of("/page/1/")

    run("warm_cache", f"--sitemap={ORIGIN}/served/sitemap.xml")

    assert small_site.paths == ["/page/1/"]


def test_a_compressed_sitemap_is_unpacked(run: RunCommand, small_site: Records) -> None:
    small_site.files["sitemap.xml.gz"] = gzip.compress(sitemap_of("/page/1/"))

    run("warm_cache", "--sitemap=/served/sitemap.xml.gz")

    assert small_site.paths == ["/page/1/"]


def test_an_index_is_followed_and_one_bad_part_spares_the_others(
    run: RunCommand, small_site: Records
) -> None:
    small_site.files["index.xml"] = index_of("one.xml", "missing.xml", "broken.xml", "two.xml")
    small_site.files["one.xml"] = sitemap_of("/page/1/")
    small_site.files["broken.xml"] = b"<urlset"
    small_site.files["two.xml"] = sitemap_of("/page/2/")

    result = run("warm_cache", "--sitemap=/served/index.xml")

    assert small_site.paths == ["/page/1/", "/page/2/"]
    assert f"failed: sitemap {ORIGIN}/served/missing.xml: answered 404" in result.err
    assert f"failed: sitemap {ORIGIN}/served/broken.xml: is not valid XML" in result.err


def test_indexes_that_name_each_other_end(run: RunCommand, small_site: Records) -> None:
    small_site.files["a.xml"] = index_of("b.xml", "pages.xml")
    small_site.files["b.xml"] = index_of("a.xml", "b.xml")
    small_site.files["pages.xml"] = sitemap_of("/page/1/")

    result = run("warm_cache", "--sitemap=/served/a.xml")

    assert small_site.paths == ["/page/1/"]
    assert result.err == ""


def test_indexes_are_followed_to_a_depth_of_three(run: RunCommand, small_site: Records) -> None:
    small_site.files["a.xml"] = index_of("b.xml")
    small_site.files["b.xml"] = index_of("c.xml")
    small_site.files["c.xml"] = index_of("d.xml")
    small_site.files["d.xml"] = sitemap_of("/page/1/")

    result = run("warm_cache", "--sitemap=/served/a.xml")

    assert f"failed: sitemap {ORIGIN}/served/d.xml: is nested more than 3 deep" in result.err
    assert small_site.paths == []


def test_pages_of_other_sites_are_refused_and_the_rest_is_warmed(
    run: RunCommand, small_site: Records
) -> None:
    small_site.files["sitemap.xml"] = sitemap_of("/page/1/").replace(
        b"</urlset>", b"<url><loc>https://elsewhere.example/</loc></url></urlset>"
    )

    result = run("warm_cache", "--sitemap=/served/sitemap.xml")

    assert "failed: https://elsewhere.example/: is on another host" in result.err
    assert "1 warmed, 0 already warm, 1 failed" in result.out


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://elsewhere.example/sitemap.xml", "is on another host"),
        ("ftp://www.example.com/sitemap.xml", "has the scheme 'ftp'"),
        ("sitemap.xml", "is neither a path"),
        ("", "is empty"),
    ],
)
def test_a_sitemap_elsewhere_is_an_error(run: RunCommand, url: str, reason: str) -> None:
    result = run("warm_cache", f"--sitemap={url}")

    assert reason in result.message


def test_a_sitemap_that_is_missing_is_a_failure(run: RunCommand) -> None:
    result = run("warm_cache", "--sitemap=/served/none.xml", "--fail-on-error")

    assert "failed: sitemap /served/none.xml: answered 404 (Not Found)" in result.err
    assert result.message == "1 could not be warmed."


def test_a_sitemap_that_is_too_long_is_a_failure(
    run: RunCommand, small_site: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MAX_BYTES", 100)
    small_site.files["sitemap.xml"] = sitemap_of("/page/1/")

    result = run("warm_cache", "--sitemap=/served/sitemap.xml")

    assert "failed: sitemap /served/sitemap.xml: is longer than 100 bytes" in result.err


def test_the_address_of_an_image_is_no_page() -> None:
    content = (
        f'<urlset {NAMESPACE} xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">'
        "<url><loc>/page/1/</loc><image:image><image:loc>/car.jpg</image:loc></image:image>"
        "<image:loc>/bus.jpg</image:loc></url></urlset>"
    )

    assert parse_sitemap(content.encode()).locations == ["/page/1/"]


def test_a_sitemap_without_a_namespace_is_read() -> None:
    content = b"<urlset><url><loc>/page/1/</loc></url></urlset>"

    assert parse_sitemap(content).locations == ["/page/1/"]


def test_a_sitemap_that_is_nested_without_an_end_in_sight_keeps_nobody_waiting() -> None:
    deep = b"<a>" * 100_000 + b"</a>" * 100_000
    began = time.process_time()

    found = parse_sitemap(b"<urlset>" + deep + b"<url><loc>/page/1/</loc></url></urlset>")

    assert found.locations == ["/page/1/"]
    assert time.process_time() - began < 2  # not quadratic


BILLION_LAUGHS = b'<!DOCTYPE u [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><urlset>&b;</urlset>'


def zip_bomb() -> bytes:
    return gzip.compress(b"x" * (plan.MAX_BYTES + 1), compresslevel=1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: b"", "is not valid XML"),
        (lambda: b"no xml at all", "is not valid XML"),
        (lambda: b"<urlset><url></urlset>", "is not valid XML"),
        (lambda: b"<html><body/></html>", "is no sitemap: it begins with <html>"),
        (lambda: b"<urlset xmlns='urn:other'/>", "it begins with <urlset>, not <urlset>"),
        (lambda: BILLION_LAUGHS, "has a document type declaration"),
        (lambda: b"\x1f\x8bnot gzip", "is not valid gzip"),
        (lambda: gzip.compress(b"<urlset/>")[:-4], "is not valid gzip: it ends too early"),
        (zip_bomb, "is longer than"),
    ],
)
def test_what_is_no_sitemap_is_refused_with_the_reason(
    make: Callable[[], bytes], reason: str
) -> None:
    with pytest.raises(WarmingError, match=reason):
        parse_sitemap(make())
