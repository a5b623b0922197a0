import time

import pytest

from tasks.web.robots_txt import RobotsTxt, decode_robots_txt, names_us, product_token

PAGE = "https://a.example/page"
OURS = "User-agent: miniature-memory\n"
ALL = "User-agent: *\n"


@pytest.mark.parametrize(
    ("user_agent", "token"),
    [
        ("miniature-memory/0.1 (a small personal language model; robots.txt obeyed)", "miniature-memory"),
        ("Me_Too (+https://a.example)", "me_too"),
        ("me", "me"),
        ("7up/1", ""),
    ],
)
def test_the_product_token_is_the_name_before_the_version(user_agent: str, token: str) -> None:
    assert product_token(user_agent) == token


def test_whose_name_is_ours() -> None:
    assert names_us("miniature-memory") and names_us("MINIATURE-Memory/1.0") and names_us("miniature-memory (old)")
    for other in ("miniature", "memory", "a", "miniature-memory-images", "small", "*", ""):
        assert not names_us(other)
    assert not names_us("", token="") and not names_us("7up", token="")


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        (f"{OURS}Disallow: /", False),
        ("User-agent: Miniature-Memory/1.0\nDisallow: /", False),
        (f"{ALL}Disallow: /\n\n{OURS}Disallow:", True),
        # Names that only occur in our User-Agent header, or begin ours.
        ("User-agent: a\nUser-agent: small\nUser-agent: model\nUser-agent: miniature\nDisallow: /", True),
        (f"{ALL}Disallow: /\n\nUser-agent: small\nAllow: /", False),
        ("User-agent: miniature-memory-images\nDisallow: /", True),
        # Lines that the RFC does not know end no group, and no list of names.
        (f"{OURS}Crawl-delay: 3\nContent-Signal: search=yes\nFoo: bar\n\nDisallow: /", False),
        (f"{OURS}Sitemap: https://a.example/s.xml\nCrawl-delay: 3\nFoo: bar\n{ALL}Disallow: /", False),
        (f"{OURS}Disallow: /x\nSitemap: https://a.example/s.xml\nDisallow: /page", False),
        # Several groups for us, and several for all, are one.
        (f"{OURS}Disallow: /x\n{ALL}Disallow: /\n{OURS}Disallow: /page", False),
        (f"{ALL}Disallow: /x\nUser-agent: other\nAllow: /\n{ALL}Disallow: /page", False),
        (f"{OURS}Disallow: /pa\n{ALL}Allow: /\n{OURS}Allow: /page", True),
        # Our group counts alone, also without a rule.
        (f"{ALL}Disallow: /\n{OURS}", True),
        # Rules before any group are for nobody.
        (f"Allow: /page\n{ALL}Disallow: /", False),
        # What people write.
        ("user agent miniature-memory\ndisallow /page", False),
        ("USERAGENT : miniature-memory\r\nDISSALLOW : /page # not here\r\n", False),
        ("User-agent: *\rDisallow: /page\r", False),
        ("User-agent: * for all\nDisallow: /", False),
        (f"{ALL}Disallow: /other\u2028Disallow: /page", True),
        (f"{ALL}Disallow", True),
        ("", True),
    ],
)
def test_the_group_for_us(text: str, allowed: bool) -> None:
    assert RobotsTxt(text, "miniature-memory/0.1 (a small personal language model)").allows(PAGE) is allowed


def test_the_line_that_forbids_is_named_as_it_stands() -> None:
    rules = RobotsTxt("User-agent: *\nDisallow: /p\n  DISALLOW:/pa* # private\nAllow: /p\nDisallow: /other")
    assert str(rules.forbidding_line(PAGE)) == "robots.txt line 3: DISALLOW:/pa* # private"
    assert rules.forbidding_line("https://a.example/x") is None


def test_the_pause_of_our_group() -> None:
    assert RobotsTxt(f"{ALL}Crawl-delay: 9\nDisallow:\n{OURS}crawl delay 3\nDisallow: /x").crawl_delay == 3.0
    assert RobotsTxt(f"{OURS}Crawl-delay: 3\n{ALL}Disallow: /x").crawl_delay == 3.0
    assert RobotsTxt("User-agent: small\nCrawl-delay: 9").crawl_delay == 0.0


def test_licences_are_for_everybody() -> None:
    rules = RobotsTxt("User-agent: other\nLicense: https://a.example/rsl.xml\nDisallow: /")
    assert [str(line) for line in rules.licenses] == ["robots.txt line 2: License: https://a.example/rsl.xml"]


def test_a_byte_order_mark_is_no_text() -> None:
    assert decode_robots_txt(b"\xef\xbb\xbfA") == decode_robots_txt(b"\xef\xbbA") == decode_robots_txt(b"A") == "A"
    assert decode_robots_txt(b"\xffA") == "\ufffdA"


def test_a_large_file_takes_linear_time() -> None:
    started = time.perf_counter()
    RobotsTxt("user agent " * 45_000)
    RobotsTxt("User-agent: a\n" * 30_000 + "Disallow: /" + "*a" * 100_000).allows(PAGE)
    assert time.perf_counter() - started < 2.0
