"""A browser's window, with the responses it got and the errors in it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:  # without selenium, the tests themselves report that
    from selenium.webdriver.remote.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement

WAIT_SECONDS = 20.0  # a busy machine
ARGUMENTS = (
    "--headless",
    "--window-size=1280,900",
    "--lang=en",
    "--no-proxy-server",
    "--disable-background-networking",
    # It opens only pages of the tests, and containers do not allow its sandbox.
    "--no-sandbox",
    "--disable-dev-shm-usage",  # which has 64 MB in a container
    "--remote-debugging-pipe",  # closed when its driver is killed, so that the browser ends too
)
RUN_AXE = """
const [within, done] = arguments;
axe.run(within).then(found => done(found.violations),
                     error => done([{id: String(error), impact: "critical", nodes: []}]));
"""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One response to a request of the browser."""

    path: str
    cache_id: str  # empty if the URL has none
    status: int
    is_from_cache: bool
    cache_control: str


class Window:
    """The only window of a browser with an empty profile."""

    def __init__(self, driver_url: str, site_url: str) -> None:
        """``driver_url``: of a chromedriver."""
        self.site_url = site_url
        self.driver = start_chromium(driver_url)
        self._fetched: list[Fetched] = []
        self._troubles: list[str] = []
        self._from_memory: set[str] = set()

    def close(self) -> None:
        self.driver.quit()

    def open(self, path: str) -> None:
        """Open a page of the site, and wait until it is loaded."""
        self.driver.get(self.site_url + path)

    def style(self, selector: str, name: str) -> str:
        """Return a computed style property of an element."""
        return self._find(selector).value_of_css_property(name)

    def text(self, selector: str = "body") -> str:
        """Return the visible text of an element."""
        return self._find(selector).text

    def fill(self, selector: str, typed: str) -> None:
        """Replace the text in a field."""
        field = self._find(selector)
        field.clear()
        field.send_keys(typed)

    def click(self, selector: str) -> None:
        self._find(selector).click()

    def follow(self, selector: str) -> None:
        """Click on a link, and wait until its page is loaded."""
        self.driver.execute_script("window.isLeft = false")
        self.click(selector)
        self.wait_for("window.isLeft === undefined && document.readyState === 'complete'")

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list."""
        from selenium.webdriver.support.select import Select

        Select(self._find(selector)).select_by_value(value)

    def tab_to(self, name: str) -> None:
        """Press the tab key until the field or button with that name has the focus."""
        for _ in range(100):
            self.press("\ue004")
            if self.driver.switch_to.active_element.get_dom_attribute("name") == name:
                return
        raise AssertionError(f"{name!r} cannot be reached by the tab key")

    def wait_for_text(self, words: str) -> None:
        """Wait until a page contains a text, also on pages without scripts."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, WAIT_SECONDS, poll_frequency=0.05).until(
            lambda driver: words in driver.page_source, words
        )

    def press(self, *keys: str) -> None:
        """Press keys in the focused element, one after the other."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def show_as(self, *, scheme: str, width: int) -> None:
        """Set the width of the window, and the light or dark color scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._command("Emulation.setEmulatedMedia", {"features": features})
        self._command("Emulation.setDeviceMetricsOverride", size)

    def switch_scripts_off(self) -> None:
        """Disable scripts from now on."""
        self._command("Emulation.setScriptExecutionDisabled", {"value": True})

    def find_barriers(self, within: str) -> list[str]:
        """Return the accessibility problems that axe finds in a part of the page."""
        from axe_selenium_python import Axe

        Axe(self.driver).inject()  # through the driver, to which the page's policy does not apply
        found = self.driver.execute_async_script(RUN_AXE, within)
        return [
            f"{one['id']} ({one['impact']}): {[node['html'] for node in one['nodes']][:3]}"
            for one in found
            if one["impact"] in {"serious", "critical"}
        ]

    def _command(self, name: str, parameters: dict[str, Any]) -> None:
        self.driver.execute("executeCdpCommand", {"cmd": name, "params": parameters})

    def attributes(self, selector: str, *names: str) -> list[tuple[str | None, ...]]:
        """Return attributes of all elements, as written."""
        elements = self.driver.find_elements("css selector", selector)
        return [tuple(map(element.get_dom_attribute, names)) for element in elements]

    def _find(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript condition is true."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, WAIT_SECONDS, poll_frequency=0.05).until(
            lambda driver: driver.execute_script(f"return {condition}"), condition
        )

    # Responses and errors

    def take_fetched(self, *, least: int = 0) -> list[Fetched]:
        """Return the responses since the last call, from any server.

        ``least``: the number to wait for, because the driver of a busy browser reports them late.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        self._listen()
        while len(self._fetched) < least and time.monotonic() < deadline:
            time.sleep(0.02)
            self._listen()
        taken, self._fetched = self._fetched, []
        return taken

    def wait_for_trouble(self, words: str) -> None:
        """Wait until an error with this text occurs."""
        deadline = time.monotonic() + WAIT_SECONDS
        noticed: list[str] = []
        while not any(words in trouble for trouble in noticed):
            assert time.monotonic() < deadline, f"{words!r} is not in {noticed}"
            time.sleep(0.02)
            noticed += self.take_troubles()

    def take_troubles(self) -> list[str]:
        """Return the errors since the last call.

        These are errors and warnings on the console, script errors, violations of a policy or an
        integrity value, and failed requests.
        """
        self._listen()
        taken, self._troubles = self._troubles, []
        return taken

    def _listen(self) -> None:
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            self._note_event(message["method"], message["params"])
        for entry in self._log("browser"):
            if entry["level"] in {"SEVERE", "WARNING"}:
                self._troubles.append(entry["message"])

    def _log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.execute("getLog", {"type": kind})["value"]
        return entries

    def _note_event(self, event: str, said: dict[str, Any]) -> None:
        if event == "Network.requestServedFromCache":
            self._from_memory.add(said["requestId"])
        elif event == "Network.responseReceived":
            self._note_response(said["requestId"], said["response"])

    def _note_response(self, request_id: str, response: dict[str, Any]) -> None:
        url = urlsplit(response["url"])
        if url.scheme != "http":
            return  # the browser's own pages, and data URLs
        headers = {name.lower(): value for name, value in response["headers"].items()}
        self._fetched.append(
            Fetched(
                path=url.path,
                cache_id="".join(parse_qs(url.query).get("cache_id", [])),
                status=response["status"],
                is_from_cache=bool(response.get("fromDiskCache"))
                or request_id in self._from_memory,
                cache_control=headers.get("cache-control", ""),
            )
        )


def start_chromium(driver_url: str) -> WebDriver:
    """Start a browser with an empty profile."""
    from selenium import webdriver
    from selenium.webdriver.common.proxy import Proxy, ProxyType
    from selenium.webdriver.remote.client_config import ClientConfig

    options = webdriver.ChromeOptions()
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    direct = Proxy({"proxyType": ProxyType.DIRECT})
    config = ClientConfig(remote_server_addr=driver_url, proxy=direct, timeout=int(WAIT_SECONDS))
    return webdriver.Remote(driver_url, options=options, client_config=config)
