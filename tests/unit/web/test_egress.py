import ipaddress
import socket
import threading
import time

import pytest

from tasks.contracts.addresses import endpoint
from tasks.contracts.outcomes import PageRejected
from tasks.web.egress import EgressPolicy, is_public, own_addresses

PRIVATE = (
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.9", "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1"),
    *("64:ff9b::a00:1", "64:ff9b:1::1.1.1.1", "2002:7f00:1::", "2002:808:808::1", "2001::1", "2001:0:53aa::1"),
    *("2001:db8::1", "3fff::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "100::1"),
    *("5f00::1", "4000::1"),
)
PUBLIC = ("1.1.1.1", "100.63.255.255", "172.32.0.1", "8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::1111")


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(PageRejected, match="forbidden_address"):
        EgressPolicy().addresses(address, 80, 1.0)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass_at_two_ports(address: str) -> None:
    assert is_public(address)
    assert EgressPolicy().addresses(address, 443, 1.0) == [address]
    with pytest.raises(PageRejected, match="port 22"):
        EgressPolicy().addresses(address, 22, 1.0)


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f.1", "0177.0.0.01", "127.1", "localhost", "localhost.", "a.LOCALHOST"]
)
def test_other_spellings_of_this_machine_are_refused(host: str) -> None:
    with pytest.raises(PageRejected, match="forbidden_address"):
        EgressPolicy().addresses(host, 80, 5.0)


def test_one_private_address_among_many_is_enough() -> None:
    with pytest.raises(PageRejected, match=r"mixed\.example is 10\.0\.0\.1"):
        EgressPolicy(resolve=lambda *_: ["1.1.1.1", "10.0.0.1"]).addresses("mixed.example", 80, 1.0)


def test_what_is_open_is_that_address_at_that_port() -> None:
    egress = EgressPolicy(["127.0.0.1:8765", "[::1]:8765", "search.home.example:8080"], lambda *_: ["192.168.1.7"])
    assert egress.addresses("127.0.0.1", 8765, 1.0) == ["127.0.0.1"]
    assert egress.addresses("::1", 8765, 1.0) == ["::1"]
    assert egress.addresses("Search.home.example", 8080, 1.0) == ["192.168.1.7"]
    for host, port in (
        *(("127.0.0.1", 8766), ("127.0.0.1", 80), ("127.0.0.2", 8765), ("::ffff:127.0.0.1", 8765)),
        *(("search.home.example", 80), ("192.168.1.7", 8080), ("other.example", 8080)),
    ):
        with pytest.raises(PageRejected, match="forbidden_address"):
            egress.addresses(host, port, 1.0)


def test_a_name_is_resolved_once_and_the_address_that_was_checked_is_connected_to() -> None:
    """DNS rebinding: the second answer would be this machine."""
    answers = ["127.0.0.1", "127.0.0.9"]
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.9", 0)):
        port = server.getsockname()[1]
        egress = EgressPolicy([f"127.0.0.1:{port}"], lambda *_: [answers.pop(0)])
        with egress.connect("rebinding.example", port, 2.0) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)
        assert answers == ["127.0.0.9"]
        with pytest.raises(PageRejected, match="forbidden_address"):
            egress.connect("rebinding.example", port, 2.0)


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "::ffff:1.1.1.1", "::FFFF:101:101", "0:0:0:0:0:ffff:101:101", "64:ff9b::1.1.1.1"),
        *("64:ff9b::101:101", "0064:ff9b:0:0:0:0:0101:0101", "::ffff:1.1.1.1%eth0", "2606:4700::1111"),
        *("2606:4700:0:0:0:0:0:1111", "2606:4700:0000::0000:1111", "2606:4700::1111%eth0"),
    ],
)
def test_our_own_public_address_is_refused_in_every_spelling(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked at each connection: it may be ours only since a moment ago."""
    egress = EgressPolicy(resolve=lambda *_: [address])
    assert egress.addresses("own.example", 80, 1.0)
    own = frozenset(map(ipaddress.ip_address, ("1.1.1.1", "2606:4700::1111")))
    monkeypatch.setattr("tasks.web.egress.own_addresses", lambda: own)
    for host in (address, "own.example"):
        with pytest.raises(PageRejected, match="forbidden_address"):
            egress.addresses(host, 80, 1.0)


def test_the_addresses_of_this_machine_are_known() -> None:
    assert ipaddress.ip_address("127.0.0.1") in own_addresses()


def test_a_name_that_nobody_answers_for_costs_its_deadline() -> None:
    release = threading.Event()

    def silent(*_: object) -> list[str]:
        release.wait(30)
        return []

    started = time.monotonic()
    with pytest.raises(PageRejected, match="timeout"):
        EgressPolicy(resolve=silent).addresses("slow.example", 80, 0.2)
    assert time.monotonic() - started < 5
    release.set()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70 + ".example", "a..b", ""])
def test_names_without_an_address(host: str) -> None:
    with pytest.raises(PageRejected, match=r"dead_host|forbidden_address"):
        EgressPolicy().addresses(host, 80, 20.0)


@pytest.mark.parametrize("text", ["127.0.0.1", ":80", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:99999", "a:b"])
def test_an_endpoint_needs_a_port(text: str) -> None:
    with pytest.raises(ValueError, match="port"):
        endpoint(text)
