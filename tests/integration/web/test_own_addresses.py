"""No spelling of a public address of this machine passes the gate: in a network of its own, where it has some."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tasks.contracts.paths import PROJECT

ADDRESSES = ("1.1.1.1", "2606:4700::1111")
ODD = ("1.257", "0x01010101", "16843009", "01.01.01.01", "1.1.1.1.")
LATER = "8.8.4.4"  # ours only once the gate is open for a while
SPELLINGS = (
    *ODD,
    *("1.1.1.1", "[::ffff:1.1.1.1]", "[::ffff:101:101]"),
    *("[0:0:0:0:0:FFFF:1.1.1.1]", "[64:ff9b::1.1.1.1]", "[64:ff9b:0:0:0:0:101:101]", "[2002:101:101::1]"),
    *("[2001:0:101:101::1]", "[::1.1.1.1]", "[2606:4700::1111]", "[2606:4700:0:0:0:0:0:1111]"),
    *("[2606:4700:0000:0000:0000:0000:0000:1111]", "[2606:4700::0:1111]", "own.example", LATER),
)
NETWORK = (
    "ip link set lo up && "
    + " && ".join(f"ip addr add {one} dev lo" for one in ("1.1.1.1/32", "2606:4700::1111/128 nodad"))
    + ' && exec "$@"'
)
INSIDE = """
import json, socket, subprocess, sys
from tasks.contracts.outcomes import PageRejected
from tasks.web.egress import EgressPolicy, resolve_by_system
from tasks.web.egress_proxy import Proxy
from tasks.web.http_client import Deadline, HttpClient
from tests.support.canary import Canary

spellings, addresses, later = json.loads(sys.argv[1])
names = {"own.example": [addresses[0]]}
policy = EgressPolicy(resolve=lambda host, port: names.get(host) or resolve_by_system(host, port))
client, proxy, ends = HttpClient("test", policy), Proxy(policy), []
subprocess.run(["ip", "addr", "add", later + "/32", "dev", "lo"], check=True)
with Canary(port=80) as canary:
    for address in (*addresses, later, "::ffff:" + addresses[0]):  # the network is as it should be: they are reached
        socket.create_connection((address, 80), 5).close()
    for host in spellings:
        try:
            client.get(f"http://{host}/", deadline=Deadline(5.0), max_bytes=1000)
            ends.append("fetched")
        except PageRejected as rejected:
            ends.append(rejected.reason)
        with proxy.visit(5.0, 1000), socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2]))) as way:
            way.sendall(f"CONNECT {host}:80 HTTP/1.1\\r\\n\\r\\n".encode())
            ends.append(way.recv(1000).decode())
    print(json.dumps([ends, canary.seen]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network")
def test_no_spelling_of_an_address_of_this_machine_passes() -> None:
    what = json.dumps([SPELLINGS, ADDRESSES, LATER])
    command = ["unshare", "--net", "sh", "-c", NETWORK, "sh", sys.executable, "-c", INSIDE, what]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    if done.stderr.startswith(("unshare:", "ip:", "sh:", "RTNETLINK")):  # a container without these rights
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    ends, heard = json.loads(done.stdout)
    assert heard == ["tcp "] * 4  # by the test itself
    for host, end in zip(SPELLINGS, ends[::2], strict=True):  # the others are no address to every resolver
        assert end == "forbidden_address" or (end in ("dead_host", "bad_url") and host in ODD), (host, end)
    assert set(ends[1::2]) == {""}
