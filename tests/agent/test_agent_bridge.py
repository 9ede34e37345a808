"""The bridge of containers with network, and the wall before the metadata service."""

import json
import os
import subprocess
import sys

import pytest

from agent.engine import Engine, Said
from agent.sandbox.network import Bridge

WALLED = """
import errno, json, sys
from agent.engine import Said
from agent.firewall import add
from agent.sandbox.network import INTERFACE, Bridge, route
import socket

class Engine:
    made = []
    def ask(self, *told, **_):
        if told[1] == "create":
            self.made.append(told)
        if not self.made:
            return Said(1, "", "no such network")
        options = {"com.docker.network.bridge.name": INTERFACE}
        found = {"EnableIPv6": False, "Options": options, "IPAM": {"Config": [{"Subnet": "10.77.0.0/24"}]}}
        return Said(0, json.dumps(found), "")

at = socket.if_nametoindex(INTERFACE)
bridge = Bridge(Engine())
ways = [add(route(to, "10.77.0.2", at)) for to in ("169.254.169.254", "10.88.0.9")]
held = [bridge.hold(), bridge.hold()]
ways += [add(route(to, "10.77.0.2", at)) for to in ("169.254.169.254", "10.88.0.9")]
print(json.dumps([held, [errno.errorcode[way] for way in ways], len(Engine.made)]))
"""


def walled(first=""):
    """What `WALLED` says on a bridge and a way out of their own; `first` is done before."""
    inside = f"""echo 1 > /proc/sys/net/ipv4/ip_forward; ip link set lo up
    ip link add spillway0 type bridge; ip addr add 10.77.0.1/24 dev spillway0; ip link set spillway0 up
    ip link add out0 type veth peer name out1; ip link set out1 up; ip addr add 10.88.0.1/24 dev out0; ip link set out0 up
    ip route add default dev out0; {first}
    exec "$0" -c "$1" """
    command = ["unshare", "--net", "sh", "-ec", inside, sys.executable, WALLED]
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run(command, capture_output=True, text=True, cwd=here, timeout=30)
    if "Operation not permitted" in done.stderr or "not found" in done.stderr:
        pytest.skip("no bridge can be made on this machine: the wall is not tested here")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_containers_with_network_are_walled_off_from_the_metadata_service():
    """Asked of the kernel itself: before the wall there is a way, behind it there is none, and all else stays open."""
    held, ways, made = walled()
    assert held == ["", ""]
    assert ways == ["EPROTO", "EPROTO", "EACCES", "EPROTO"], "EPROTO: a route, where an error would be"
    assert made == 1


def test_a_wall_that_somebody_leads_around_is_none():
    """That the rule is there is not believed: another one may come before it."""
    held, ways, _ = walled("ip rule add pref 0 iif spillway0 lookup main")
    assert ways[2] == "EPROTO"
    assert ["is not prohibited" in why for why in held] == [True, True]


@pytest.mark.parametrize(
    "document",
    ["[]", "{}", '{"EnableIPv6": true, "Options": {}}', '{"EnableIPv6": false, "Options": null, "IPAM": {}}'],
)
def test_a_network_that_is_not_ours_is_no_wall(document):
    class Found(Engine):
        def ask(self, *told, timeout_s=0.0, stopped=lambda: False):
            return Said(0, document, "")

    assert "act as this host" in Bridge(Found("docker", "")).hold()
