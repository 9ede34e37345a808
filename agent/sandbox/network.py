"""The bridge that containers with network are on, and the wall between it and the metadata service.

A container of the engine's own bridge may reach what its host reaches, 169.254.169.254 included; only the hop limit stands before it, and
images and launch templates of others may have another. So there is a bridge of ours, whose packets to the metadata service's networks the
kernel is told to prohibit (routing rules by the interface that they come in by: no packet filter is needed), without IPv6, and
without a way from one container to another. Before each attempt with network the kernel is asked what it would do with such a packet:
only "prohibited" is believed.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
import struct
import threading

from agent.engine import Engine
from agent.firewall import FENCED, add, rule

NAME = "spillway"
INTERFACE = "spillway0"
BRIDGE = ("--driver", "bridge", "--opt", "com.docker.network.bridge.name=" + INTERFACE)
APART = ("--opt", "com.docker.network.bridge.enable_icc=false")
SHUT_OUT = ("169.254.169.254", "fd00:ec2::254")
FRA_IIFNAME = 3
RTM_GETROUTE, REQUEST = 26, 1
RTA_DST, RTA_SRC, RTA_IIF = 1, 2, 3
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EOPNOTSUPP)


class Bridge:
    """Ours, on one engine's host. Any thread may call anything."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()

    def hold(self) -> str:
        """Have it, and the wall; "" or, as a sentence, why a container must not have network."""
        with self._lock:
            why = self._network()
        return why and "containers with network could act as this host: %s" % why

    def _network(self) -> str:
        said = self._engine.ask("network", "inspect", "--format", "{{json .}}", NAME)
        if said.code:
            made = self._engine.ask("network", "create", *BRIDGE, *APART, NAME)
            said = self._engine.ask("network", "inspect", "--format", "{{json .}}", NAME)
            if said.code:
                return "there is no bridge of their own for them: %s" % made.why
        try:
            document = json.loads(said.out)
            if document["EnableIPv6"] or (document["Options"] or {}).get(BRIDGE[3].partition("=")[0]) != INTERFACE:
                return "the network %s was made by somebody else" % NAME
            subnet = ipaddress.ip_network(document["IPAM"]["Config"][0]["Subnet"])
            return wall(INTERFACE, str(subnet[2]))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            return "the network %s is not understood: %r" % (NAME, error)
        except OSError as error:
            return "the kernel cannot be asked: %s" % error


def wall(interface: str, address: str) -> str:
    """Prohibit what comes in by `interface` from the metadata service's networks, and see that it is; `address`: one behind it. "" or why
    it does not hold. Raises OSError."""
    for network in FENCED:
        error = add(rule(network, ((FRA_IIFNAME, interface.encode() + b"\0"),)))
        if error not in (0, errno.EEXIST) and not (":" in network and error in NO_IPV6):
            return "no rule could be made that keeps them from %s: %s" % (network, os.strerror(error))
    for target in SHUT_OUT:
        met = add(route(target, "fd00::2" if ":" in target else address, socket.if_nametoindex(interface)))
        if met != errno.EACCES and not (":" in target and met in NO_IPV6):
            return "the way from them to %s is not prohibited" % target
    return ""


def route(target: str, source: str, interface: int) -> bytes:
    """The netlink request that asks what becomes of a packet from `source` to `target` which came in by `interface`."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    bits = 128 if family == socket.AF_INET6 else 32
    body = struct.pack("=8BI", family, bits, bits, 0, 0, 0, 0, 0, 0)
    for kind, value in (
        (RTA_DST, socket.inet_pton(family, target)),
        (RTA_SRC, socket.inet_pton(family, source)),
        (RTA_IIF, struct.pack("=I", interface)),
    ):
        body += struct.pack("=HH", 4 + len(value), kind) + value
    return struct.pack("=IHHII", 16 + len(body), RTM_GETROUTE, REQUEST, 1, 0) + body
