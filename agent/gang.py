"""A member of a gang: it has the claim, says that it is ready, and waits until all of them are told to begin (docs/adr/0022).

While it waits nothing has begun, so a restarted agent waits again. It gives up when it is cancelled, when its inbox does not name it
any more (the control plane took the attempt back), and after an hour.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Sequence
from urllib.parse import urlsplit

GO_MAX_S = 3600.0  # far longer than the control plane waits for the last one: it decides, this is the last resort
ANYWHERE = ("169.254.169.254", 80)  # nothing is sent there: it is only asked by which way one would go


class Gathering:
    """Where one attempt's thread waits for another thread's word."""

    def __init__(self) -> None:
        self.peers: tuple[str, ...] = ()
        self._news = threading.Event()

    def go(self, peers: Sequence[str]) -> None:
        """All are ready: these are their addresses, by rank."""
        self.peers = self.peers or tuple(peers)
        self._news.set()

    def disturb(self) -> None:
        """Something else is to be looked at."""
        self._news.set()

    def wait(self, until: float) -> bool:
        """Wait for a word, until then on the monotonic clock; False if none came."""
        return self._news.wait(max(0.0, until - time.monotonic()))


def own_address(url: str) -> str:
    """The address by which this machine reaches the place of a URL: what its peers in the same network know it by."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM)
        places = [(family, address) for family, _, _, _, address in found]
    except OSError:
        places = []
    for family, address in (*places, (socket.AF_INET, ANYWHERE)):
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            try:
                asking.connect(address)
                return str(asking.getsockname()[0])
            except OSError:
                continue
    return "127.0.0.1"


def variables(rank: int, peers: Sequence[str]) -> dict[str, str]:
    """What its command is told: its number, how many there are, and where all of them are, rank 0 first."""
    return {"SPILLWAY_RANK": str(rank), "SPILLWAY_HOSTS": str(len(peers)), "SPILLWAY_PEERS": ",".join(peers)}
