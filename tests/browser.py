"""A headless Chromium, driven by its own WebDriver (the package chromium-driver) over plain HTTP.

The dozen commands that the tests need are a few lines here; the usual client library brings an event loop of its own.
Nothing is downloaded. https://www.w3.org/TR/webdriver2/ says what the commands are.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium")
MISSING = (
    None if DRIVER and CHROMIUM else "chromium or chromedriver is missing: apt-get install chromium chromium-driver"
)

WIDTH, HEIGHT = 1280, 900
KEYS = {"enter": "\ue007", "escape": "\ue00c", "left": "\ue012", "right": "\ue014", "shift": "\ue008"}


class Browser:
    """One window. Use it in a `with` block."""

    def __enter__(self):
        self._driver = subprocess.Popen(
            [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            self._address = f"http://127.0.0.1:{self._port()}"
            self._session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": _capabilities()}})[
                "sessionId"
            ]
            self.cdp("Network.enable")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exception):
        try:
            self._command("DELETE", "")
        finally:
            self._stop()

    def open(self, address):
        """Load a page, and forget what the pages before it had said and asked for."""
        self._command("POST", "/url", {"url": "about:blank"})
        self.messages(), self.requests()
        self._command("POST", "/url", {"url": address})

    def run(self, script, *arguments):
        """What the body of a function returns that runs in the page. It may return a promise."""
        return self._command("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, *keys):
        """Press and release keys, of KEYS or single characters; all are held while the last is pressed."""
        keys = [KEYS.get(key, key) for key in keys]
        actions = [{"type": "keyDown", "value": key} for key in keys]
        actions += [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self._act({"type": "key", "id": "keyboard", "actions": actions})

    def write(self, text):
        """Type a text into what has the focus."""
        for character in text:
            self.press(character)

    def point(self, x, y):
        """Move the pointer to a point of the window."""
        self._act(_pointer([_move(x, y)]))

    def click(self, x, y):
        self._act(_pointer([_move(x, y), {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]))

    def drag(self, x, y, to_x, to_y):
        down, up = {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}
        middle = _move((x + to_x) // 2, (y + to_y) // 2)
        self._act(_pointer([_move(x, y), down, middle, _move(to_x, to_y), up]))

    def turn_wheel(self, x, y, delta):
        """Turn the wheel by so many pixels; away from the reader is negative."""
        scroll = {"type": "scroll", "x": int(x), "y": int(y), "deltaX": 0, "deltaY": delta, "duration": 0}
        self._act({"type": "wheel", "id": "wheel", "actions": [scroll]})

    def screenshot(self, path=None):
        """The window as PNG."""
        png = base64.b64decode(self._command("GET", "/screenshot"))
        if path:
            path.write_bytes(png)
        return png

    def print(self, path):
        """The page as PDF, as a printer gets it."""
        path.write_bytes(
            base64.b64decode(self._command("POST", "/print", {"orientation": "landscape", "background": True}))
        )

    def prefer(self, scheme):
        """Whether the reader prefers a light or a dark scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.cdp("Emulation.setEmulatedMedia", features=features)

    def messages(self):
        """What stands in the console since the last call: what pages wrote, and what the browser complains about."""
        return [entry["message"] for entry in self._command("POST", "/se/log", {"type": "browser"})]

    def requests(self):
        """The addresses that pages asked for since the last call, their own included."""
        logged = (
            json.loads(entry["message"])["message"]
            for entry in self._command("POST", "/se/log", {"type": "performance"})
        )
        return [event["params"]["request"]["url"] for event in logged if event["method"] == "Network.requestWillBeSent"]

    def cdp(self, method, **parameters):
        """A command of Chromium's own protocol."""
        return self._command("POST", "/goog/cdp/execute", {"cmd": method, "params": parameters})

    def _act(self, source):
        self._command("POST", "/actions", {"actions": [source]})

    def _command(self, method, path, body=None):
        return self._call(method, f"/session/{self._session}{path}", body)

    def _call(self, method, path, body=None):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(
            self._address + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None

    def _port(self):
        for line in self._driver.stdout:
            if match := re.search(r"started successfully on port (\d+)", line):
                return int(match.group(1))
        raise RuntimeError("chromedriver did not start")

    def _stop(self):
        self._driver.terminate()
        self._driver.wait(10)
        self._driver.stdout.close()


def _capabilities():
    arguments = ["--headless=new", f"--window-size={WIDTH},{HEIGHT}", "--hide-scrollbars", "--disable-gpu"]
    arguments += ["--disable-dev-shm-usage", "--force-device-scale-factor=1", "--lang=en"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium's own cannot be set up by root
    return {
        "browserName": "chrome",
        "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments, "perfLoggingPrefs": {"enableNetwork": True}},
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
    }


def _pointer(actions):
    return {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions}


def _move(x, y):
    return {"type": "pointerMove", "duration": 0, "x": int(x), "y": int(y)}
