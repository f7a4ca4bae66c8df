"""Chromium, for looking at a page as a reader does."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = (
    *("--disable-gpu", "--disable-background-networking", "--no-first-run"),
    *("--disable-component-update", "--disable-sync"),
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser with a profile of its own; skips the test where none is installed."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here to look at the page with: apt-get install chromium")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, headless=True, args=[*_QUIET, *root])
        yield browser
        browser.close()


class Reader:
    """Opens a page and keeps what went wrong.

    Attributes:
        complaints: errors on the console, exceptions, and requests for anything but the page itself.
    """

    def __init__(self, browser: Browser, file: Path, width: int) -> None:
        self.complaints: list[str] = []
        phone = width < 600
        self.page: Page = browser.new_page(
            viewport={"width": width, "height": 844}, is_mobile=phone, has_touch=phone, color_scheme="dark"
        )
        self.page.on("console", lambda message: self._if(message.type == "error", message.text))
        self.page.on("pageerror", lambda error: self._if(True, str(error)))
        url = file.absolute().as_uri()
        self.page.on("request", lambda request: self._if(request.url != url, f"asked for {request.url[:200]}"))
        self.page.goto(url)

    def _if(self, wrong: bool, text: str) -> None:
        if wrong:
            self.complaints.append(text)

    def scroll_through(self) -> None:
        """See every panel, so that each is drawn."""
        for panel in self.page.locator(".panel[data-height]").all():
            panel.scroll_into_view_if_needed()
            panel.locator(".main-svg").first.wait_for(timeout=60_000)

    def panels(self) -> dict[str, int]:
        """Each plot's title, and how many marks are drawn in it."""
        marks = (
            ".scatterlayer .point, .scatterlayer path.js-line, .scatterlayer path.js-fill, .barlayer .point path, "
            ".heatmaplayer image, .contourlayer path"
        )
        return {
            panel.locator("h3").inner_text(): panel.locator(marks).count()
            for panel in self.page.locator(".panel[data-height]").all()
        }

    def widths(self) -> tuple[int, int]:
        """Of the page's content and of the window, in pixels."""
        content, window = self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        return content, window
