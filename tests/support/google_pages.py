"""Google's faces as they are seen today, reduced to what tells them apart; class names are made up, as theirs are."""

from __future__ import annotations

from urllib.parse import quote

# Result pages offer browsers without scripts the way to the gate.
NOSCRIPT = (
    "<noscript><style>table,div,span,p{display:none}</style>"
    '<meta content="0;url=/httpservice/retry/enablejs?sei=x" http-equiv="refresh"></noscript>'
)
GATE = (
    '<html lang="en"><head><title>Google Search</title><style>body{background-color:#fff}</style></head><body>'
    '<noscript><meta content="0;url=/httpservice/retry/enablejs?sei=x" http-equiv="refresh">'
    '<div>Please click <a href="/httpservice/retry/enablejs?sei=x">here</a> if you are not redirected within a few '
    "seconds.</div></noscript><script>var sctm=false;</script></body></html>"
)
CAPTCHA = (
    "<html><head><title>https://www.google.com/search?q=tides</title></head><body><form id='captcha-form' "
    "action='index' method='post'><div id='recaptcha' class='g-recaptcha' data-sitekey='x'></div></form><p>Our systems "
    "have detected unusual traffic from your computer network.</p></body></html>"
)
CONSENT = (
    "<html><head><title>Before you continue to Google Search</title></head><body><h1>Before you continue to Google</h1>"
    "<form action='https://consent.google.com/save' method='POST'><button>Reject all</button></form>"
    "<form action='https://consent.google.com/save' method='POST'><button>Accept all</button></form></body></html>"
)
EMPTY = (
    f"<html><head><title>zxqv - Google Search</title></head><body>{NOSCRIPT}<div id='main'><div id='topstuff'>"
    "<p>Your search - <b>zxqv</b> - did not match any documents.</p></div></div></body></html>"
)


def results(*addresses: str, wrapped: bool = False) -> str:
    """A page of results between advertisements, Google's own services and its navigation."""
    blocks = "".join(
        f'<div class="Wx{number} tF2Cxc"><div><span><a jsname="U" class="z{number}" '
        f'href="{"/url?q=" + quote(address, safe="") + "&amp;sa=U&amp;ved=2" if wrapped else address}">'
        f'<br><h3 class="L{number} MBe">Result {number}</h3><div><cite>somewhere</cite></div></a></span>'
        f'<div><a href="https://webcache.googleusercontent.com/search?q=cache:{number}">Cached</a></div></div></div>'
        for number, address in enumerate(addresses)
    )
    return (
        f"<html><head><title>tides - Google Search</title></head><body>{NOSCRIPT}<h1>Search results</h1>"
        '<div id="tads"><a href="https://advertiser.example/"><h3>Buy tides</h3></a></div>'
        f'<div id="search"><div id="rso">{blocks}'
        '<a href="https://maps.google.co.uk/maps?q=tides"><h3>Maps</h3></a><a href="/search?q=more"><h3>More</h3></a>'
        '<a href="https://translate.google.com/x"><h3>Translate</h3></a><div><h3>People also ask</h3></div>'
        '</div></div><div id="botstuff"><a href="/search?q=tides&amp;start=10">Next</a></div></body></html>'
    )
