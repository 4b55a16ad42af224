"""Chromium for tests that look at a page: one process, told what to do over a pipe, so that nothing listens anywhere."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60
# What a key is to the page (DevTools protocol, Input.dispatchKeyEvent).
KEYS = {
    "Tab": {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9},
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Right": {"key": "ArrowRight", "code": "ArrowRight", "windowsVirtualKeyCode": 39},
}


def program() -> str:
    """Chromium's path. Skips without one, and fails where CI is set."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        reason = "no Chromium on PATH (chromium, chromium-browser, google-chrome): the page was not opened"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return found


class Browser:
    """A Chromium that reaches files and nothing else."""

    def __init__(self, profile: Path) -> None:
        its_in, self._to = os.pipe()
        self._from, its_out = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (its_in, its_out)]

        def hand_over() -> None:
            """It reads from descriptor 3 and writes to 4, whatever numbers the pipes have here."""
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        command = [
            program(),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
            "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            command, preexec_fn=hand_over, pass_fds=(3, 4), stderr=subprocess.DEVNULL
        )
        for end in (its_in, its_out, *ends):
            os.close(end)
        self._left, self._number = b"", 0

    def close(self) -> None:
        self.ask("Browser.close")
        self._process.wait(SECONDS)
        os.close(self._to)
        os.close(self._from)

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The answer to one command. Raises AssertionError where Chromium says that it failed."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + SECONDS
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._from], [], [], max(until - time.monotonic(), 0))
            part = os.read(self._from, 1 << 16) if ready else b""
            assert part, "Chromium says nothing"
            self._left += part
        line, _, self._left = self._left.partition(b"\0")
        return json.loads(line)

    @contextmanager
    def open(self, file: Path, *, width: int = 1280, media: str = "", scheme: str = "light") -> Iterator[Tab]:
        """A file in a window of so many CSS pixels, once it has loaded.

        Args:
            media: `print`, or '' for the screen.
            scheme: what the system prefers, `light` or `dark`.
        """
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        tab = Tab(self, self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        tab.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        tab.ask(
            "Emulation.setEmulatedMedia",
            media=media,
            # Nothing glides: what is asked for is there at once.
            features=[
                {"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ],
        )
        tab.ask("Emulation.setFocusEmulationEnabled", enabled=True)
        tab.ask("Page.navigate", url=file.as_uri())
        tab.until(f"document.readyState === 'complete' && location.href === {json.dumps(file.as_uri())}")
        yield tab
        self.ask("Target.closeTarget", targetId=target)


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.ask(method, self._session, **params)

    def js(self, expression: str) -> Any:
        """The value of an expression, or of what it promises, as JSON tells it; the page's policy does not hold here."""
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + SECONDS
        while not self.js(condition):
            assert time.monotonic() < end, f"never: {condition}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        self.ask("Input.dispatchKeyEvent", type="keyDown", **KEYS[key])
        self.ask("Input.dispatchKeyEvent", type="keyUp", **KEYS[key])

    def type(self, text: str) -> None:
        self.ask("Input.insertText", text=text)

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        told = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(told["data"]))
