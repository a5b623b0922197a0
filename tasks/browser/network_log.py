"""The network log of Chromium's driver while a page loads: responses received, and requests still open."""

from __future__ import annotations

import json
from typing import Any

import httpx
from selenium import webdriver

from tasks.contracts.credentials import without_user
from tasks.web.http_client import Response

BRINGS_TEXT = ("Document", "Script", "XHR", "Fetch")
ENDS = ("Network.loadingFinished", "Network.loadingFailed")


class BrowserLog:
    """The log of one page, from now on. `read` adds what was logged since."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver
        self._documents: list[tuple[str, dict[str, Any]]] = []  # method and parameters, also of frames
        self._open: set[str] = set()  # ids of requests
        self._take()  # drops the entries of the page before

    def read(self) -> None:
        for entry in self._take():
            message = json.loads(entry["message"])["message"]
            method, about = message["method"], message["params"]
            if method in ENDS:
                self._open.discard(about["requestId"])
            if about.get("type") == "Document":
                self._documents.append((method, about))
            if method == "Network.requestWillBeSent" and about.get("type") in BRINGS_TEXT:
                self._open.add(about["requestId"])

    @property
    def at_rest(self) -> bool:
        """Whether no request is open that could bring text."""
        return not self._open

    def last_asked(self, frame: str) -> str:
        """Returns the URL of the last document requested for the page itself."""
        asked = [about["request"]["url"] for _, about in self._of(frame) if "request" in about]
        return str(asked[-1]) if asked else ""

    def responses(self, frame: str) -> tuple[Response, ...]:
        """Returns the responses to the documents of the page itself, without those of its frames."""
        responses = []
        for method, about in self._of(frame):
            if method == "Network.requestWillBeSent" and "redirectResponse" in about:
                responses.append(_response(about["redirectResponse"]))
            elif method == "Network.responseReceived":
                responses.append(_response(about["response"]))
        return tuple(response for response in responses if response.url.startswith(("http://", "https://")))

    def document(self, url: str) -> Response:
        """Returns the answer that brought a document; one without status or headers where no server sent it."""
        answers = [about["response"] for _, about in self._documents if "response" in about]
        sent = [one for one in map(_response, answers) if one.url == url.partition("#")[0]]
        return sent[-1] if sent else Response(url, 0, httpx.Headers(), b"")

    def _of(self, frame: str) -> list[tuple[str, dict[str, Any]]]:
        return [(method, about) for method, about in self._documents if about.get("frameId") == frame]

    def _take(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._driver.get_log("performance")  # type: ignore[no-untyped-call]  # Selenium's
        return entries


def _response(logged: dict[str, Any]) -> Response:
    # The log joins headers of the same name by line feeds.
    headers = [(name, line) for name, lines in logged["headers"].items() for line in lines.split("\n")]
    return Response(without_user(logged["url"]), int(logged["status"]), httpx.Headers(headers), b"")
