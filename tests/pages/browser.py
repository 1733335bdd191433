"""A headless Chromium that tells what a page did."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(
    PROGRAM is None or DRIVER is None, reason="no chromium and chromedriver on this machine"
)

_SWITCHES = (
    "--headless",
    "--no-sandbox",  # as root it starts in no other way
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


@contextmanager
def opened(folder: Path, *switches: str) -> Iterator[Chrome]:
    """Start a browser whose profile lies in a new folder."""
    options = ChromeOptions()
    options.binary_location = PROGRAM or ""
    for switch in (*_SWITCHES, f"--user-data-dir={folder / 'profile'}", *switches):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(executable_path=DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def log_of(driver: Chrome, kind: str) -> list[dict[str, str]]:
    """What was written to a log since the last look."""
    entries: list[dict[str, str]] = driver.get_log(kind)  # type: ignore[no-untyped-call]  # selenium's
    return entries


def requests_of(driver: Chrome) -> list[str]:
    """Every address asked for since the last look, beside those within the page."""
    messages = (json.loads(entry["message"])["message"] for entry in log_of(driver, "performance"))
    addresses = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
        # The browser's own start page asks the browser for its parts.
        and not message["params"]["documentURL"].startswith("chrome://")
    ]
    return [address for address in addresses if not address.startswith("data:")]
