"""What Chromium's driver logs of the network while it shows a page: what was answered, and what is still on its way."""

from __future__ import annotations

import json
from typing import Any

import httpx
from selenium import webdriver

from tasks.web.http_client import Response

BRINGS_TEXT = ("Document", "Script", "XHR", "Fetch")
ENDS = ("Network.loadingFinished", "Network.loadingFailed")


class BrowserLog:
    """Of one page, from now on. `read` takes in what was logged since."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver
        self._documents: list[tuple[str, dict[str, Any]]] = []  # method and parameters, frames' ones too
        self._on_the_way: set[str] = set()
        self._take()  # what is left of the page before

    def read(self) -> None:
        for entry in self._take():
            message = json.loads(entry["message"])["message"]
            method, about = message["method"], message["params"]
            if method in ENDS:
                self._on_the_way.discard(about["requestId"])
            if about.get("type") == "Document":
                self._documents.append((method, about))
            if method == "Network.requestWillBeSent" and about.get("type") in BRINGS_TEXT:
                self._on_the_way.add(about["requestId"])

    @property
    def at_rest(self) -> bool:
        """Whether nothing is on its way that could bring text."""
        return not self._on_the_way

    def last_asked(self, frame: str) -> str:
        """The last document that the page itself was to become."""
        asked = [about["request"]["url"] for _, about in self._of(frame) if "request" in about]
        return str(asked[-1]) if asked else ""

    def answers(self, frame: str) -> tuple[Response, ...]:
        """What the documents of the page itself were answered with, not those of its frames."""
        answers = []
        for method, about in self._of(frame):
            if method == "Network.requestWillBeSent" and "redirectResponse" in about:
                answers.append(_answer(about["redirectResponse"]))
            elif method == "Network.responseReceived":
                answers.append(_answer(about["response"]))
        return tuple(answer for answer in answers if answer.url.startswith(("http://", "https://")))

    def _of(self, frame: str) -> list[tuple[str, dict[str, Any]]]:
        return [(method, about) for method, about in self._documents if about.get("frameId") == frame]

    def _take(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._driver.get_log("performance")  # type: ignore[no-untyped-call]  # Selenium's
        return entries


def _answer(response: dict[str, Any]) -> Response:
    # Headers of the same name come as one, a line each.
    headers = [(name, line) for name, lines in response["headers"].items() for line in lines.split("\n")]
    return Response(response["url"], int(response["status"]), httpx.Headers(headers), b"")
