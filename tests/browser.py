"""A real Chromium without a window, driven over the DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_PATIENCE = 60.0


class Browser:
    """One tab."""

    def __init__(self, link: ClientConnection) -> None:
        self._link = link
        self._number = 0
        self.complaints: list[str] = []
        """Errors and warnings of the page, broken content policies included."""
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._number += 1
        self._link.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._link.recv(_PATIENCE))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def open(self, address: str) -> None:
        """Go to an address."""
        answer = self.call("Page.navigate", url=address)
        assert "errorText" not in answer, answer

    def reload(self) -> None:
        """Load the page anew; not before the script has answered, which that would end."""
        self.run("void setTimeout(() => location.reload())")
        while (message := json.loads(self._link.recv(_PATIENCE)))[
            "method"
        ] != "Page.loadEventFired":
            self._note(message)

    def run(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, script: str, what: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + _PATIENCE
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < deadline, f"waited in vain: {what}"
            time.sleep(0.05)

    def accessible(self, role: str) -> list[dict[str, Any]]:
        """Name and properties of everything of a role, as Chromium tells a screen reader."""
        self.call("Accessibility.enable")
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            {p["name"]: p["value"].get("value") for p in node.get("properties", ())}
            | {"name": node["name"]["value"], "children": len(node.get("childIds", ()))}
            for node in nodes
            if not node["ignored"] and node["role"]["value"] == role
        ]

    def press(self, key: str) -> None:
        """Press a key and let go."""
        code = {"Enter": 13, "ArrowDown": 40, "End": 35, "Escape": 27, "Tab": 9}[key]
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int) -> None:
        """Make the window so big, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """Have the system ask for `dark` or `light`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, file: Path) -> None:
        """Write what is seen as PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(message["params"]))
            case "Log.entryAdded" if message["params"]["entry"]["level"] in ("error", "warning"):
                self.complaints.append(json.dumps(message["params"]["entry"]))


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Run one with an empty profile in this folder."""
    program = shutil.which("chromium") or "chromium"
    flags = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    flags += [
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--hide-scrollbars",
    ]
    # Its sandbox refuses root, and containers without user namespaces; the pages are our own.
    flags += ["--no-sandbox", "--disable-dev-shm-usage"]
    process = subprocess.Popen(
        [program, *flags, "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)},
        start_new_session=True,
    )
    try:
        with connect(_address_of_tab(profile), max_size=None) as link:
            yield Browser(link)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def _address_of_tab(profile: Path) -> str:
    file, deadline = profile / "DevToolsActivePort", time.monotonic() + _PATIENCE
    while not (file.exists() and file.read_text().count("\n")):
        assert time.monotonic() < deadline, "Chromium does not start"
        time.sleep(0.05)
    port = int(file.read_text().splitlines()[0])
    import urllib.request

    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
        if tabs:
            return str(tabs[0]["webSocketDebuggerUrl"])
        assert time.monotonic() < deadline, "Chromium has no tab"
        time.sleep(0.05)
