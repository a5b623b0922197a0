"""Why a case of a peer's tests has another answer here."""

from __future__ import annotations

import re

# By peer: a pattern for the names of cases, and the reason.
REASONS: dict[str, tuple[tuple[str, str], ...]] = {
    "google/robotstxt": (
        ("AcceptUserAgentUpToFirstSpace", "asks as a crawler whose own name has a space; of ours the token counts"),
        ("ID_Encoding", "URLs and rules are compared with their escapes in one form, as RFC 9309, 2.2.2, wants"),
    ),
    "scrapy/protego": (
        (
            "test_allowed_wildcards|test_1996rfc_examples|test_unicode_url_and_useragent",
            "a product token has letters, _ and - alone (RFC 9309, 2.2.1): no digits, no other alphabets",
        ),
        ("test_grouping_unknown_keys", "an unknown line ends no group (RFC 9309, 2.2.4), as Google's cases say too"),
        ("test_generosity", "a name with a * in it is nobody's (RFC 9309, 2.2.1)"),
    ),
    "scrapy/w3lib": (
        ("auth_and_ports|remove_fragments|userinfo", "names and passwords are no part of the key of a page"),
        (
            "test_html_body_declared_encoding",
            "the HTML standard's prescan: not ended by <body>, http-equiv and its value by their exact names",
        ),
        ("unterminated_tag:1", "a tag that the end of the file cuts is none (HTML standard, 13.2.5.32 and later)"),
        ("no_catastrophic_backtracking:1", "a page of more than 200 kB has more than a redirect"),
        ("test_utf16_32:8", "the label utf-16 means UTF-16LE in the Encoding standard"),
        ("test_utf16_32:9", "UTF-32 is no encoding of the Encoding standard"),
        (
            "test_http_encoding_header:([6-9]|10|15|16|19)$",
            "headers that people write wrongly are read as they are meant",
        ),
    ),
    "rspeer/python-ftfy": (
        ("known-failures:6", "a known failure of ftfy's; ours mends one of its two letters, ftfy none"),
    ),
    "kurtmckee/feedparser": (
        ("content_location", "Content-Location is no base of links any more (RFC 7231, appendix B)"),
        ("item_href_map_link", "CDF, a format of 1997, is not read"),
    ),
}


def reason_of(peer: str, case: str) -> str | None:
    """Returns the reason for a difference; None where there is none, so that something is to be mended."""
    return next((reason for pattern, reason in REASONS.get(peer, ()) if re.search(pattern, case)), None)
