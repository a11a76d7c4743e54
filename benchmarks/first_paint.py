"""How long the trading desk takes from the request to its first picture, with a warm kernel: `python benchmarks/first_paint.py`.

Prints one JSON object; times in milliseconds, each visit in a browser without a cache. Needs Chromium.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
VISITS = 5
REFILL_MS = 4_000  # the pool warms another kernel meanwhile
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
PAINTED = "performance.getEntriesByName('ctp:painted')[0]?.startTime"


def main() -> None:
    """Start a seeded gateway, visit it, print what was measured."""
    chromium = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.browser.server", home],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "CTP_HOME": home},
            stdout=subprocess.PIPE,
        )
        try:
            assert server.stdout is not None
            base = f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}"
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            times = [visit(browser, base) for _ in range(VISITS)]
        finally:
            server.terminate()
            server.wait(20)
    print(json.dumps({"first_paint_ms": {"median": statistics.median(times), "all": times}, "bound_ms": 2000}))


def visit(browser: Browser, base: str) -> float:
    """Log in, let a kernel get warm, open the desk, and return when it was painted."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{base}/")
    page.fill("#name", "alice")
    page.fill("#password", "correct horse battery")
    page.click("button[type=submit]")
    page.wait_for_selector("[data-account]")
    page.wait_for_timeout(REFILL_MS)
    page.goto(f"{base}/dashboards/trading")
    page.wait_for_function(PAINTED, timeout=60_000)
    painted: float = round(page.evaluate(PAINTED))
    context.close()
    return painted


if __name__ == "__main__":
    main()
