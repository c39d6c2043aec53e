"""Looking at a page in a browser: console, network, layout, pictures."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from selenium.webdriver.common.keys import Keys

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver


@dataclass(frozen=True)
class Page:
    """A page that the browser shows."""

    driver: WebDriver

    @classmethod
    def open(
        cls,
        driver: WebDriver,
        path: Path | str,
        width: int,
        scheme: Literal["light", "dark"] = "light",
        *,
        scripts: bool = True,
    ) -> Page:
        """Shows a file or an address, `width` CSS pixels wide, and forgets what earlier pages logged."""
        driver.get("data:,")
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
        page = cls(driver)
        page.console()
        page.requests()
        driver.get(path if isinstance(path, str) else path.as_uri())
        return page

    def run(self, body: str) -> Any:
        """What the body of a JavaScript function returns."""
        return self.driver.execute_script(body)

    def console(self) -> list[str]:
        """Messages of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def requests(self) -> list[str]:
        """URLs asked for since the last call, without `data:`."""
        log = self.driver.get_log("performance")  # type: ignore[no-untyped-call]
        events = (json.loads(entry["message"])["message"] for entry in log)
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]

    def wait(self, body: str, seconds: float = 10) -> Any:
        """What `run` returns, as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(body)) and time.monotonic() < end:
            time.sleep(0.05)
        return value

    def move(self, x: float, y: float) -> None:
        """Moves the pointer to a place in the window."""
        self._mouse("mouseMoved", x, y)

    def click(self, x: float, y: float) -> None:
        """Clicks at a place in the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._mouse(kind, x, y)

    def _mouse(self, kind: str, x: float, y: float) -> None:
        event = {"type": kind, "x": x, "y": y, "button": "none" if kind == "mouseMoved" else "left", "clickCount": 1}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def press(self, key: Literal["Enter", "End", "ArrowLeft"]) -> None:
        """Presses a key where the focus is."""
        codes = {"Enter": Keys.ENTER, "End": Keys.END, "ArrowLeft": Keys.ARROW_LEFT}
        self.driver.switch_to.active_element.send_keys(codes[key])

    def downloads(self, folder: Path) -> None:
        """Lets files that the page saves go to `folder`."""
        where = {"behavior": "allow", "downloadPath": str(folder)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", where)

    def downloaded(self, path: Path, seconds: float = 10) -> Path:
        """`path`, once the browser has written it."""
        end = time.monotonic() + seconds
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.05)
        return path

    def media(self, kind: Literal["print", "screen"]) -> None:
        """Lays the page out for paper or for the screen."""
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind})

    def pdf(self) -> bytes:
        """The page printed on A4."""
        size = {"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": False}
        return base64.b64decode(self.driver.execute_cdp_cmd("Page.printToPDF", size)["data"])

    def screenshot(self, path: Path) -> None:
        """Writes the whole page, not only what is in view, as PNG."""
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))
