from __future__ import annotations

import pytest

from tasks.contracts.errors import SettingsError
from tasks.contracts.outcomes import PageRejected
from tasks.web.egress import EgressPolicy
from tasks.web.user_proxy import keep_loopback_direct, read_proxies

BOTH = {"http_proxy": "http://proxy.example:3128", "HTTPS_PROXY": "secure.example"}


def through(environ: dict[str, str], scheme: str, host: str, port: int) -> str:
    return str(read_proxies(environ).find(scheme, host, port) or "direct")


def test_each_scheme_has_its_proxy_and_all_proxy_stands_in() -> None:
    assert through(BOTH, "http", "a.example", 80) == "the proxy of http_proxy, proxy.example:3128"
    assert through(BOTH, "https", "a.example", 443) == "the proxy of HTTPS_PROXY, secure.example:80"
    assert through({"ALL_PROXY": "http://any:1"}, "https", "a.example", 443) == "the proxy of ALL_PROXY, any:1"
    assert through({"http_proxy": "http://x:1"}, "https", "a.example", 443) == "direct"
    assert through({"http_proxy": "", "HTTP_PROXY": "http://x:1"}, "http", "a.example", 80) == "direct"


@pytest.mark.parametrize("host", ["localhost", "a.localhost.", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is_never_asked_through_it(host: str) -> None:
    assert through(BOTH, "http", host, 4200) == "direct"


@pytest.mark.parametrize(
    ("exempt", "direct"),
    [
        ("example.org", ["example.org", "www.Example.org"]),
        (".example.org, 10.0.0.0/8", ["www.example.org", "10.1.2.3"]),
        ("*.example.org", ["www.example.org"]),
        ("example.org:80", ["example.org"]),
        ("[2606:4700::1]", ["2606:4700::1"]),
        ("*", ["example.org", "1.1.1.1"]),
    ],
)
def test_no_proxy_names_what_is_asked_directly(exempt: str, direct: list[str]) -> None:
    environ = BOTH | {"NO_PROXY": exempt}
    assert {through(environ, "http", host, 80) for host in direct} == {"direct"}
    if exempt != "*":
        others = ("notexample.org", "example.org.evil.example", "11.1.2.3", "2606:4700::2")
        assert "direct" not in {through(environ, "http", host, 80) for host in others}
    if exempt == "example.org:80":
        assert through(environ, "http", "example.org", 8080) != "direct"


@pytest.mark.parametrize(
    "value", ["socks5://me:secret@127.0.0.1:1080", "socks5h://x:1", "https://x:1", "http://", "a b:c"]
)
def test_what_is_no_http_proxy_is_one_line_without_its_password(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^ALL_PROXY: .*http_proxy and https_proxy.*env -u ALL_PROXY") as caught:
        keep_loopback_direct({"ALL_PROXY": value})
    assert "secret" not in str(caught.value)


def test_a_socks_proxy_that_nothing_needs_is_left_out() -> None:
    """Many programs set all three. Prefect's client fails on a SOCKS one, used or not."""
    environ = {
        "http_proxy": "http://x:1",
        "https_proxy": "http://x:1",
        "all_proxy": "socks5://x:2",
        "ALL_PROXY": "socks5://x:2",
    }
    keep_loopback_direct(environ)
    assert not environ.keys() & {"all_proxy", "ALL_PROXY"}
    with pytest.raises(SettingsError, match=r"^all_proxy: SOCKS5 proxies are not supported"):
        keep_loopback_direct({"http_proxy": "http://x:1", "all_proxy": "socks5://x:2"})  # for https


def test_libraries_and_children_are_told_too() -> None:
    environ = {"https_proxy": "http://x:1", "NO_PROXY": "example.org,127.0.0.1"}
    keep_loopback_direct(environ)
    assert environ["NO_PROXY"] == environ["no_proxy"] == "example.org,127.0.0.1,localhost,::1"
    keep_loopback_direct(environ)
    assert environ["NO_PROXY"] == "example.org,127.0.0.1,localhost,::1"
    bare: dict[str, str] = {}
    keep_loopback_direct(bare)
    assert bare == {}


REFUSED = ("10.0.0.1", "169.254.169.254", "0x0a000001", "fd00::1", "intranet", "nas.local", "metadata.google.internal.")


@pytest.mark.parametrize("host", REFUSED)
def test_what_name_and_address_tell_is_checked_before_a_proxy_is_asked(host: str) -> None:
    egress = EgressPolicy(proxies=read_proxies(BOTH))
    with pytest.raises(PageRejected, match="forbidden_address"):
        egress.proxy_for("http", host, 80)


def test_ports_blocklists_and_what_is_open_hold_with_a_proxy() -> None:
    def reject(url: str) -> None:
        if "blocked" in url:
            raise PageRejected("blocklisted", url)

    egress = EgressPolicy(["search.intranet:8080"], reject=reject, proxies=read_proxies(BOTH))
    assert egress.proxy_for("http", "a.example", 80) and egress.proxy_for("https", "1.1.1.1", 443)
    assert egress.proxy_for("http", "search.intranet", 8080)
    for scheme, host, port in (("http", "a.example", 8080), ("https", "1.1.1.1", 22), ("http", "search.intranet", 80)):
        with pytest.raises(PageRejected, match="forbidden_address"):
            egress.proxy_for(scheme, host, port)
    with pytest.raises(PageRejected, match="blocklisted"):
        egress.proxy_for("http", "blocked.example", 80)
    assert egress.proxy_for("http", "127.1", 80) is None  # the way of what is connected to directly, which refuses it


def test_without_a_variable_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert EgressPolicy().proxy_for("http", "intranet", 80) is None
