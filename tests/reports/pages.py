"""Looking at a page in a browser: console, network, layout, pictures."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver


@dataclass(frozen=True)
class Page:
    """A page that the browser shows."""

    driver: WebDriver

    @classmethod
    def open(cls, driver: WebDriver, path: Path | str, width: int, scheme: Literal["light", "dark"] = "light") -> Page:
        """Shows a file or an address, `width` CSS pixels wide, and forgets what earlier pages logged."""
        driver.get("data:,")
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
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

    def screenshot(self, path: Path) -> None:
        """Writes the whole page, not only what is in view, as PNG."""
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))
