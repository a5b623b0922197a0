"""Real Chromium: frames, shadow roots, dialogs and notices, as a reader of the page would see them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.browser.browser import Browser
from tasks.browser.chromium import find_binaries
from tasks.contracts.paths import Layout
from tasks.contracts.records import Hit, Page
from tasks.contracts.settings import RenderSettings, SearchSettings, Settings
from tasks.render.stage import Renderer, render
from tasks.storage.state_db import open_state
from tasks.web.egress import EgressPolicy
from tests.support.loopback import PARAGRAPH, Loopback, article

pytestmark = pytest.mark.skipif(find_binaries().chromium is None, reason="no Chromium on this machine")

TEXT = PARAGRAPH * 4
SCRIPT = re.compile("<script>.*?</script>", re.DOTALL)
NOTICE = "<p>We and our <a href=/all>partners</a> store <b>cookies</b> to know you" + " and others" * 60 + "</p>"


def page(body: str, head: str = "") -> bytes:
    return f"<!DOCTYPE html><html><head><title>Page</title>{head}</head>{body}</html>".encode()


def shadow(inside: str, attributes: str = "shadowrootmode=open") -> str:
    return f"<template {attributes}>{inside}</template>"


def brings(text: str, milliseconds: int = 0) -> str:
    made = f"document.querySelector('main').innerHTML = '<article><p>{text}</p></article>'"
    return f"<script>setTimeout(() => {{ {made} }}, {milliseconds})</script>"


SEEN: dict[str, Any] = {  # each has the article; what else must be there, and what must not, is in its name
    "/frameset has=Menu": page("<frameset cols='20%,*'><frame src=/menu><frame src=/inner name=main></frameset>"),
    "/nested has=Menu not=Old": page(
        "<frameset rows='9%,*'><frame src=/menu><frameset cols='*,*'><frame src='/outer'><frame src=/menu></frameset>"
        "<noframes><body>Old browser</body></noframes></frameset>"
    ),
    "/iframe has=Intro": page("<body><p>Intro</p><iframe title=x loading=lazy SRC='/inner'></iframe></body>"),
    "/far has=Intro": page("<p>Intro</p><div style='height: 9000px'></div><iframe src=/inner loading=lazy></iframe>"),
    "/written has=Intro": page(f"<p>Intro</p><iframe srcdoc='<h1>The harbour</h1><p>{TEXT}</p>'></iframe>"),
    "/hidden not=Menu": page(f"<iframe src=/menu style='display: none'></iframe><main></main>{brings(TEXT)}"),
    "/shadow has=Slotted": page(f"<my-page>{shadow(f'<p>{TEXT}</p><slot></slot>')}<p>Slotted</p></my-page>"),
    "/shadows has=Inside": page(
        "<my-page>"
        + shadow(
            f"<h1><slot name=title>No title</slot></h1><my-part>{shadow(f'<p>{TEXT}</p>')}</my-part>",
            "class=a shadowrootmode='open'",
        )
        + "<b slot=title>Inside</b></my-page>"
    ),
    "/attached has=Button": page(
        "<my-page></my-page><button>Button</button><script>const root = document.querySelector('my-page')"
        f".attachShadow({{mode: 'open'}}); setTimeout(() => {{ root.innerHTML = '<p>{TEXT}</p>' }}, 300)</script>"
    ),
    "/dialogs": page(f"<main></main><script>alert(1); alert(2); confirm(3); prompt(4)</script>{brings(TEXT)}"),
    "/late-dialogs": page(
        "<main></main><script>onload = () => alert(1); onbeforeunload = event => { event.preventDefault(); alert(2) };"
        f"setTimeout(() => {{ alert(3); confirm(4) }}, 50)</script>{brings(TEXT, 200)}"
    ),
    "/notice": page(f"<div id=notice>{NOTICE * 3}</div><main></main>{brings(TEXT, 700)}"),
    "/shell": page(f"<app-shell><main></main></app-shell><nav>{'An item of the menu ' * 30}</nav>{brings(TEXT, 700)}"),
    "/noscript not=Enable": page(f"<noscript>Enable it</noscript><main>Loading</main>{brings(TEXT, 300)}"),
}
PARTS: dict[str, Any] = {
    "/inner": article("Inner", extra="<a href=deep/more.html>more</a>", head="<meta name=author content=Nobody>"),
    "/menu": page("<body><a href=/x>Menu</a></body>"),
    "/outer": page("<body>Outer <iframe src='/inner'></iframe></body>"),
    "/private": article("Private"),
    "/noai": article("No AI", head="<META NAME=Robots CONTENT='noai, noindex'>"),
    "/tagged": (200, {"X-Robots-Tag": "noindex"}, article("Tagged")),
    "/frames": page(
        "<p>Intro</p>" + "".join(f"<iframe src={path}></iframe>" for path in ("/private", "/noai", "/tagged"))
    ),
    "/legacy": "<meta charset=windows-1251><main></main><a href='/маяк?q=маяк'>Маяк</a>".encode("cp1251")
    + brings(TEXT).encode(),
    "/robots.txt": b"User-agent: *\nDisallow: /private",
}


@pytest.fixture(scope="module")
def site() -> Iterator[Loopback]:
    with Loopback({**{path.partition(" ")[0]: body for path, body in SEEN.items()}, **PARTS}) as server:
        yield server


@pytest.fixture(scope="module")
def renderer(site: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renderer]:
    layout = Layout(tmp_path_factory.mktemp("data"))
    settings = Settings(search=SearchSettings(allow_loopback=(site.address,)), render=RenderSettings(delay_seconds=0.0))
    browser = Browser(settings.render, layout, EgressPolicy([site.address]))
    with Renderer(settings, layout, open_state(layout.database), browser=browser) as opened:
        yield opened


def shown(renderer: Renderer, url: str) -> str:
    [result] = render([Hit(url, "urls", "q")], renderer)
    assert isinstance(result, Page), result
    assert result.rendered
    return gzip.decompress(Path(result.body_path).read_bytes()).decode()


@pytest.mark.parametrize("name", SEEN)
def test_the_article_that_readers_see_is_taken(site: Loopback, renderer: Renderer, name: str) -> None:
    path, *parts = name.split()
    html = SCRIPT.sub("", shown(renderer, site.url + path))  # a script holds the text before it brings it
    assert html.count("twice a day, and twice a day") >= 4
    for part in parts:
        kind, _, words = part.partition("=")
        assert (words in html) is (kind == "has"), words


def test_links_in_a_frame_lead_from_the_frame_and_its_claims_are_not_the_pages(
    site: Loopback, renderer: Renderer
) -> None:
    html = shown(renderer, site.url + "/iframe")
    assert f'href="{site.url}/deep/more.html"' in html and "Nobody" not in html


def test_frames_that_may_not_be_fetched_or_used_are_left_out(site: Loopback, renderer: Renderer) -> None:
    html = shown(renderer, site.url + "/frames")
    assert "Intro" in html and PARAGRAPH not in html


def test_the_query_of_a_link_stays_in_the_encoding_of_the_page(site: Loopback, renderer: Renderer) -> None:
    assert "маяк" not in shown(renderer, site.url + "/legacy").split("q=")[1][:20]
    assert "?q=%EC%E0%FF%EA" in shown(renderer, site.url + "/legacy")
