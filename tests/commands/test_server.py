"""--base-url: pages are requested over HTTP, from one server only."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from cachelayers import warmer
from cachelayers.warming.clients import Server
from cachelayers.warming.items import WarmingError
from tests.commands.runs import RunCommand
from tests.commands.small_site.records import Records

pytestmark = pytest.mark.usefixtures("no_warmers", "small_site")


@dataclass
class Web:
    """A server of the site: the requests it got, and its responses by path."""

    origin: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    sitemap: str = ""
    gone_on: Event = field(default_factory=Event)

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _ in self.asked]


def make_handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.title(): value for name, value in self.headers.items()}
            web.asked.append((headers["Host"], self.path, headers))
            if self.path in web.redirects:
                self.answer(302, Location=web.redirects[self.path])
            elif self.path == "/missing/":
                self.answer(404)
            elif self.path == "/hangs/":
                web.gone_on.wait(30)
            elif self.path == "/broken/":
                self.wfile.write(b"this is no HTTP")
            elif self.path == "/sitemap.xml":
                self.answer(200, web.sitemap.encode())
            else:
                self.answer(200, b"page" * 50_000)

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None: ...

    return Handler


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    with ThreadingHTTPServer(("127.0.0.1", 0), make_handler(web)) as server:
        web.origin = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield web
        web.gone_on.set()
        server.shutdown()
        thread.join()


def register(*urls: str) -> None:
    @warmer("pages")
    def pages() -> Iterable[str]:
        yield from urls


def test_paths_are_asked_of_the_server_and_not_rendered_here(
    run: RunCommand, web: Web, small_site: Records
) -> None:
    register("/page/1/?a=b", "/países/")

    result = run("warm_cache", f"--base-url={web.origin}/")

    assert web.paths == ["/page/1/?a=b", "/pa%C3%ADses/"]
    assert small_site.paths == []
    assert "2 warmed, 0 already warm, 0 failed" in result.out


def test_the_server_gets_requests_without_cookies(run: RunCommand, web: Web) -> None:
    register("/page/1/")

    run("warm_cache", f"--base-url={web.origin}")

    [(host, _, headers)] = web.asked
    assert f"http://{host}" == web.origin
    assert headers["Accept-Encoding"] == "gzip, deflate"
    assert "Cookie" not in headers
    assert "Authorization" not in headers


def test_a_host_of_the_site_is_asked_of_that_server_by_its_own_name(
    run: RunCommand, web: Web
) -> None:
    register("http://www.example.com/page/1/")

    run("warm_cache", f"--base-url={web.origin}", "--header=X-Forwarded-Proto: https")

    [(host, path, headers)] = web.asked
    assert (host, path) == ("www.example.com", "/page/1/")
    assert headers["X-Forwarded-Proto"] == "https"


def test_other_hosts_and_schemes_are_refused(run: RunCommand, web: Web) -> None:
    register("http://elsewhere.example/", "ftp://www.example.com/", f"{web.origin}9/", "/page/1/")

    result = run("warm_cache", f"--base-url={web.origin}")

    assert "http://elsewhere.example/: is on another host" in result.err
    assert "ftp://www.example.com/: has the scheme 'ftp'" in result.err
    assert "1 warmed, 0 already warm, 3 failed" in result.out
    assert web.paths == ["/page/1/"]


def test_redirects_are_followed_on_the_server_and_refused_elsewhere(
    run: RunCommand, web: Web
) -> None:
    web.redirects = {
        "/here/": "/page/1/",
        "/named/": "http://www.example.com/page/2/",
        "/away/": "http://elsewhere.example/",
        "/round/": "/round/",
    }
    register("/here/", "/named/", "/away/", "/round/")

    result = run("warm_cache", f"--base-url={web.origin}")

    assert web.paths[:4] == ["/here/", "/page/1/", "/named/", "/page/2/"]
    assert "redirects to 'http://elsewhere.example/', which is on another host" in result.err
    assert "/round/: redirects more than 5 times" in result.err
    assert "2 warmed, 0 already warm, 2 failed" in result.out


def test_a_sitemap_is_read_from_the_server(run: RunCommand, web: Web) -> None:
    web.sitemap = f"<urlset><url><loc>{web.origin}/page/1/</loc></url></urlset>"

    result = run("warm_cache", f"--base-url={web.origin}", "--sitemap=/sitemap.xml")

    assert web.paths == ["/sitemap.xml", "/page/1/"]
    assert "1 warmed" in result.out


def test_errors_of_the_server_are_failures_with_their_reason(run: RunCommand, web: Web) -> None:
    register("/missing/", "/broken/", "/page/1/")

    result = run("warm_cache", f"--base-url={web.origin}")

    assert "failed: /missing/: answered 404 (Not Found)" in result.err
    assert f"failed: /broken/: was not answered by {web.origin}: BadStatusLine" in result.err
    assert "1 warmed, 0 already warm, 2 failed" in result.out


def test_a_server_that_is_not_there_is_a_failure_of_each_page(run: RunCommand) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # nothing listens
        origin = f"http://127.0.0.1:{taken.getsockname()[1]}"
        register("/page/1/")

        result = run("warm_cache", f"--base-url={origin}")

    assert f"was not answered by {origin}: ConnectionRefusedError" in result.err


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.django_db(transaction=True)
def test_a_page_that_hangs_is_given_up_and_the_rest_is_warmed(
    run: RunCommand, web: Web, threads: str
) -> None:
    register("/hangs/", "/page/1/")

    result = run(
        "warm_cache", f"--base-url={web.origin}", "--time-limit=0.3", f"--concurrency={threads}"
    )

    assert "failed: /hangs/: " in result.err
    assert "1 warmed, 0 already warm, 1 failed" in result.out


def test_the_page_of_a_server_may_be_as_long_as_it_is_but_a_sitemap_not(web: Web) -> None:
    server = Server(web.origin)

    visit = server.visit(server.locate("/page/1/"))

    assert visit.body == b""
    with pytest.raises(WarmingError, match="is longer than 10 bytes"):
        server.read(server.locate("/page/1/"), max_bytes=10)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("www.example.com", "is no http or https URL"),
        ("ftp://www.example.com", "is no http or https URL"),
        ("http://", "is no http or https URL"),
        ("http://me:secret@www.example.com", "is named with a user"),
        ("ftp://me:secret@www.example.com", "is named with a user"),
        ("http://www.example.com/atlas/", "has more than scheme, host and port"),
        ("http://www.example.com?a=b", "has more than scheme, host and port"),
        ("http://www.example.com:port", "is not a valid URL"),
    ],
)
def test_what_is_no_base_url_is_an_error_and_its_password_not_shown(
    run: RunCommand, url: str, reason: str
) -> None:
    result = run("warm_cache", f"--base-url={url}")

    assert reason in result.message
    assert "secret" not in result.message
