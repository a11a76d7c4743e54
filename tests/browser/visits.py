"""Somebody at a real browser, and the site they visit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from ctp.config import PROJECT
from tests.web.seed import PASSWORD

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
expect.set_options(timeout=20_000)  # a busy machine is slow, not wrong
PHONE = {"width": 390, "height": 844}
DESK_MS = 120_000  # patience on a slow and busy machine; nothing is asserted about speed
expect.set_options(timeout=DESK_MS)
IS_PAINTED = "performance.getEntriesByName('ctp:painted').length > 0"


class Pages(NamedTuple):
    """A running site with the browser that visits it."""

    browser: Browser
    base: str
    home: Path
    voila: int


@contextlib.contextmanager
def browsed(home: Path, *options: str) -> Iterator[Pages]:
    """Run one gateway and one browser. options: of `tests.browser.server`."""
    chromium = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "CTP_HOME": str(home)}
    arguments = [sys.executable, "-m", "tests.browser.server", str(home), *options]
    server = subprocess.Popen(arguments, cwd=PROJECT, env=environment, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        told = json.loads(server.stdout.readline())
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            yield Pages(browser, f"http://127.0.0.1:{told['port']}", home, told["voila"])
            browser.close()
    finally:
        server.terminate()
        server.wait(60)


class Visit:
    """Somebody at the browser; remembers what must not happen: errors, and requests to anywhere else."""

    def __init__(self, pages: Pages, name: str, **look: Any) -> None:
        """Open a window of one's own."""
        self.pages, self.name = pages, name
        self.context: BrowserContext = pages.browser.new_context(
            viewport=look.pop("viewport", {"width": 1440, "height": 900}), **look
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_navigation_timeout(DESK_MS)
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._look_at)
        self.heard: list[str] = []
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._hear))

    def _look_at(self, request: Any) -> None:
        """Note a request that leaves our own origin."""
        if not request.url.startswith((self.pages.base, "blob:", "data:")):
            self.strangers.append(request.url)

    def _hear(self, frame: Any) -> None:
        """Note what the live push tells the page."""
        if isinstance(frame, str):
            self.heard.append(frame)

    def until_heard(self, kind: str) -> None:
        """Wait until the live push has told the page something of this kind."""
        for _ in range(DESK_MS // 100):
            if any(f'"kind": "{kind}"' in frame for frame in self.heard):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"no {kind} in {self.heard}")

    def log_in(self, password: str = PASSWORD) -> Page:
        """Log in through the form."""
        self.page.goto(f"{self.pages.base}/")
        self.page.fill("#name", self.name)
        self.page.fill("#password", password)
        self.page.click("button[type=submit]")
        return self.page

    def open_desk(self, query: str = "") -> Page:
        """Open the trading desk and wait until it is drawn."""
        self.page.goto(f"{self.pages.base}/dashboards/trading{query}")
        self.page.wait_for_function(IS_PAINTED, timeout=DESK_MS)
        return self.page

    def leave(self) -> None:
        """Close the window; nothing may have gone wrong in it."""
        self.context.close()
        assert self.errors == []
        assert self.strangers == []
