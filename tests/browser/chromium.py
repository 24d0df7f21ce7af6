"""A headless Chromium, spoken to by its DevTools protocol over one websocket: open a page, press keys, read values, take pictures."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium found: apt-get install chromium (Debian), or put one on the path"
KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Tab": 9,
    "Enter": 13,
    "Home": 36,
    "End": 35,
    " ": 32,
}


def find() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def version() -> str:
    return subprocess.run([str(find()), "--version"], capture_output=True, text=True, check=True).stdout.strip()


class Browser:
    """One tab. ``complaints``: everything that the page wrote to the console as a warning or an error, or threw."""

    def __init__(self) -> None:
        from websocket import create_connection

        self.folder = tempfile.mkdtemp(prefix="glass-box-")
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--remote-allow-origins=*",
            "--force-color-profile=srgb",
        ]
        command = [str(find()), *flags, "--remote-debugging-port=0", f"--user-data-dir={self.folder}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = self._port()
        from urllib.request import urlopen

        with urlopen(f"http://127.0.0.1:{port}/json", timeout=20) as answer:
            tabs = json.load(answer)
        address = next(t["webSocketDebuggerUrl"] for t in tabs if t["type"] == "page")
        self.socket = create_connection(address, timeout=60, max_size=None)
        self.number, self.complaints, self.requests, self.loaded = 0, [], [], False
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _port(self) -> str:
        file = Path(self.folder) / "DevToolsActivePort"
        for _ in range(200):
            if file.exists() and file.read_text().count("\n"):
                return file.read_text().split("\n")[0]
            time.sleep(0.1)
        raise TimeoutError("Chromium did not open its port within 20 s")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        what, p = message.get("method"), message.get("params", {})
        if what == "Runtime.exceptionThrown":
            self.complaints.append(p["exceptionDetails"].get("exception", {}).get("description", str(p["exceptionDetails"])))
        elif what == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in p["args"]))
        elif what == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
            self.complaints.append(p["entry"]["text"])
        elif what == "Network.requestWillBeSent":
            self.requests.append(p["request"]["url"])
        elif what == "Page.loadEventFired":
            self.loaded = True

    def open(self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone
        )
        self.call(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        )
        self.complaints, self.requests, self.loaded = [], [], False
        self.call("Page.navigate", url=file.resolve().as_uri())
        for _ in range(300):
            if self.loaded and self.value("document.readyState") == "complete":
                return
            self.value("0")
            time.sleep(0.02)
        raise TimeoutError(f"{file} did not load")

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, as plain data."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", expression))
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        return self.value(f"document.querySelector({json.dumps(selector)}).textContent")

    def press(self, key: str, *, shift: bool = False) -> None:
        keys = {
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": KEYS[key],
            "modifiers": 8 if shift else 0,
        }
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **keys, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **keys)

    def point(self, selector: str, dx: float = 0.5, dy: float = 0.5) -> tuple[float, float]:
        """The mouse over an element (at shares of its box); where that is."""
        q = json.dumps(selector)
        self.value(f"document.querySelector({q}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.value(f"(b => [b.left, b.top, b.width, b.height])(document.querySelector({q}).getBoundingClientRect())")
        x, y = box[0] + box[2] * dx, box[1] + box[3] * dy
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return x, y

    def click(self, selector: str, dx: float = 0.5, dy: float = 0.5) -> None:
        x, y = self.point(selector, dx, dy)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, file: Path, *, whole: bool = False) -> Path:
        clip = {}
        if whole:
            width, height = self.value("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
            clip = {"clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}, "captureBeyondViewport": True}
        data = self.call("Page.captureScreenshot", format="png", **clip)["data"]
        file.write_bytes(base64.b64decode(data))
        return file

    def close(self) -> None:
        try:
            self.call("Browser.close")
        except Exception:
            self.process.terminate()
        self.socket.close()
        self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)
