"""Where a webhook may lead: over HTTPS, to the public internet. A stage may name hosts of its own
(`SPILLWAY_WEBHOOK_HOSTS`) to which neither applies: a service inside the VPC, or 127.0.0.1 in the embedded cloud.

Whoever submits a job chooses the address, and a function calls it: so an address is judged twice, by its words when the job is
submitted, and by what its name leads to when it is called - where the connection is made to the very address that was judged.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network(
    "2000::/3"
)  # all that is ever routed in public; beyond it lie forms that mean an IPv4 address, or a site's own


def fault(url: str, own: Collection[str]) -> str:
    """Why nobody may be called there, as far as its words tell; "" if it is fine."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is no address of the web"
    if not host:
        return "names no host"
    if parts.username is not None or parts.password is not None:
        return "must not carry a password"
    if host in own:
        return ""
    if parts.scheme != "https":
        return "must begin with https://"
    if port not in (None, 443, 8443):
        return f"may use port 443 or 8443, not {port}"
    literal = _literal(host)
    if literal is not None and not public(literal):
        return f"leads to {host}, which is no address of the public internet"
    if literal is None and ("." not in host or host.endswith((".local", ".internal", ".localhost"))):
        return f"leads to {host}, which is no name of the public internet"
    return ""


def signature(key: str, at: int, body: bytes) -> str:
    """The header `x-spillway-signature`: `t=<epoch seconds>,v1=<hex>`, an HMAC-SHA256 over `<epoch seconds>.<body>`.

    Who checks it, and that the time is not long ago, knows that the call is ours and no repetition by somebody else.
    """
    return f"t={at},v1={hmac.new(key.encode(), f'{at}.'.encode() + body, hashlib.sha256).hexdigest()}"


def public(address: str) -> bool:
    """Whether an IP address belongs to the public internet; one that hides an IPv4 address is judged by that."""
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None:
            found = inner
        elif found in _NAT64:
            found = IPv4Address(int(found) & 0xFFFFFFFF)
        elif found not in _UNICAST:
            return False
    return found.is_global and not found.is_multicast


def _literal(host: str) -> str | None:
    try:
        return str(ip_address(host))
    except ValueError:
        return None
