"""What an agent says of its own host: what is wrong with it, and which uploads it keeps (docs/contracts.md §6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chalicelib.control.notices import notify
from chalicelib.core.host import Host, HostEvent, sources
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

SENTENCE_MAX = 500  # characters
HOLDS_MAX = 32
_SHA256_CHARACTERS = frozenset("0123456789abcdef")


def sicken(
    plane: Plane, host: Host, type_: str, severity: str, *, reason: str, advice: str = "", said: Iterable[str] = ()
) -> bool:
    """Trust the host no more; only the first to say so is told to people, however often and by how many ways it is said."""
    if host.state not in sources(HostEvent.SICKEN):
        return False
    if plane.stores.hosts.move(host.pool, host.id, HostEvent.SICKEN, at=plane.clock(), reason=reason) is None:
        return False
    told = f"{reason}. {advice}" if advice else reason
    notify(plane, type_, severity, subject=host.id, reason=told, pool=host.pool, detail={"problems": list(said)})
    return True


def alive(plane: Plane, host: Host, ping: dict[str, Any]) -> bool:
    """The first problem makes the host unhealthy; troubles are not its fault. Whether the pool is to be looked at."""
    troubles, problems = _sentences(ping.get("troubles")), _sentences(ping.get("problems"))
    if troubles:
        log.warning("a host has trouble", extra={"troubles": troubles})
    if not problems:
        return False
    reason = f"its agent says: {problems[0]}"
    return sicken(plane, host, "host_unhealthy", "warning", reason=reason, said=problems)


def holds(pings: Iterable[Any]) -> frozenset[str] | None:
    """The uploads that the last of these pings names, None when none does. Raises TypeError, ValueError for what are none."""
    told = [p["holds"] for p in pings if isinstance(p, dict) and p.get("kind") in _HOLDERS and "holds" in p]
    if not told:
        return None
    sums = told[-1]
    if not isinstance(sums, list) or len(sums) > HOLDS_MAX:
        raise TypeError(f"holds must be a list of at most {HOLDS_MAX}")
    if not all(isinstance(s, str) and len(s) == 64 and _SHA256_CHARACTERS.issuperset(s) for s in sums):
        raise ValueError("holds must be SHA-256 sums in lower-case hex")
    return frozenset(sums)


_HOLDERS = frozenset({"hello", "alive", "idle", "scrubbed"})


def _sentences(said: Any) -> list[str]:
    if not isinstance(said or [], list):
        raise TypeError("problems and troubles must be lists of sentences")
    return [str(sentence)[:SENTENCE_MAX] for sentence in (said or [])]
