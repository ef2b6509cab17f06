"""Chromium without a window, driven by its DevTools protocol over a pipe: the standard library is enough."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Chromium", "start"]

_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")
_PIPES = 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null'  # commands are read from descriptor 3, answers written to 4
_VIOLATIONS = """axe.run({ resultTypes: ["violations"] }).then(function (found) {
  return found.violations.flatMap(function (one) { return one.nodes.map(function (node) { return one.id + ": " + one.help + ": " + node.html.slice(0, 200); }); });
})"""  # noqa: E501 - JavaScript
_PATIENCE = 200  # seconds for one answer


class Chromium:
    """One page of a running browser."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._received = bytearray()
        self._sent = 0
        self._session: dict[str, Any] = {}
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        self.ask("Page.enable")

    @property
    def version(self) -> str:
        """Name and version, such as `HeadlessChrome/156.0.8078.108`."""
        return str(self.ask("Browser.getVersion")["product"])

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol and return its answer."""
        assert self._process.stdin is not None
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters, **self._session}
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        while (answer := self._next()).get("id") != self._sent:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._process.stdout], [], [], _PATIENCE)
            found = os.read(self._process.stdout.fileno(), 1 << 20) if ready else b""
            assert found, "Chromium ended" if ready else f"Chromium did not answer for {_PATIENCE} s"
            self._received += found
        message, _, self._received = self._received.partition(b"\0")
        return dict(json.loads(message))

    def open(self, page: Path, *, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """Load a page; below 600 px as a phone does, whose viewport is no window and has no least width."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        size: dict[str, Any] = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.ask("Emulation.setDeviceMetricsOverride", mobile=width < 600, **size)
        self.ask("Page.navigate", url=page.absolute().as_uri())
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited where it is a promise."""
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def violations(self, axe: Path) -> list[str]:
        """Return what axe-core (the path of its `axe.min.js`) finds wrong, every part of the page opened."""
        self.run("document.querySelectorAll('details').forEach(function (one) { one.open = true; })")
        self.run(axe.read_text(encoding="utf-8") + "; true")
        return list(self.run(_VIOLATIONS))

    def screenshot(self, box: tuple[float, float, float, float] | None = None) -> bytes:
        """Return a PNG of the window, or of a box (x, y, width, height) of the page."""
        clip = (
            {} if box is None else {"clip": dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"scale": 1}}
        )
        return base64.b64decode(
            self.ask("Page.captureScreenshot", captureBeyondViewport=box is not None, **clip)["data"]
        )


@contextmanager
def start(command: str, profile: Path) -> Iterator[Chromium]:
    """Start a browser with its profile in an empty folder; end it at the end."""
    with subprocess.Popen(
        ["/bin/sh", "-c", _PIPES, command, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield Chromium(process)
        finally:
            process.kill()
