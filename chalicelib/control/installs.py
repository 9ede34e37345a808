"""What agents tell of installs (docs/contracts.md §6): kept on the host's row, told in the stories of host and jobs; a failed one makes its
host unhealthy, and people hear of it once an hour at most, on however many hosts it fails."""

from __future__ import annotations

from typing import Any

from chalicelib.control import settle
from chalicelib.control.notices import notify
from chalicelib.core import installs
from chalicelib.core.finite import finite
from chalicelib.core.host import Assignment, Host, HostEvent
from chalicelib.core.installs import FAILED, READY, RUNNING, Installed
from chalicelib.wiring import Plane

COUNT_MAX = 16
WAITING_MAX = 32
TEXT_MAX = 1000
TOLD_AGAIN_S = 3600.0
ADVICE = "It is tried on further hosts, and its jobs end when {n} have failed it. `spillway logs HOST --install` shows what it printed"


def told(plane: Plane, host: Host, ping: dict[str, Any]) -> bool:
    """All installs of a host as they stand; an older word than what is known changes nothing. Whether the pool is to be looked at."""
    said, at = tuple(_installed(one) for one in _list(ping["installs"])), finite(ping["at"])
    if not plane.stores.hosts.note_installs(host.pool, host.id, said, at):
        return False
    before = {one.version: one for one in host.installs}
    news = [one for one in said if _stage(before.get(one.version)) != _stage(one)]
    here = {
        assignment.key for assignment in host.assignments
    }  # a host has nothing to say in the stories of others' jobs
    for one in news:
        for subject in (host.id, *(key.partition("#")[0] for key in one.waiting if key in here)):
            plane.tell(subject, "install", f"on {host.id}: {installs.words(one)}")
        if one.state == FAILED:
            _settled(plane, host, one.version, frozenset(one.waiting), one.reason, installs.words(one))
            _notice(plane, host, one)
    return any(one.state in (READY, FAILED) for one in news)


def refused(
    plane: Plane, host: Host, assignment: Assignment, version: str, reason: str, said: str, *, unbegun: bool
) -> None:
    """An attempt whose install failed on its host, where that was not told before. `said`: the agent's sentence."""
    _settled(plane, host, version, frozenset({assignment.key}), said, reason)
    if unbegun:
        settle.reclaim(plane, host, assignment, reason, unbegun=True)


def _settled(plane: Plane, host: Host, version: str, waiting: frozenset[str], said: str, reason: str) -> None:
    """The attempts that waited for a failed install wait for another host; where as many hosts have failed it as may, they end.

    Those that end do so before their host is trusted no more: a pass that sees that takes back what has not begun there.
    """
    rows, _ = plane.stores.hosts.of_pool(host.pool)
    hosts = installs.failed_on(version, rows) | {host.id}
    if len(hosts) >= installs.HOSTS_MAX:
        over = f"its install failed on {len(hosts)} hosts of pool {host.pool}, so it was never begun: {said}"
        settle.unfit(plane, host, dict.fromkeys(waiting, over))
    plane.stores.hosts.move(host.pool, host.id, HostEvent.SICKEN, at=plane.clock(), reason=reason)
    for assignment in host.assignments:
        if assignment.key in waiting:
            settle.reclaim(plane, host, assignment, reason)


def _notice(plane: Plane, host: Host, one: Installed) -> None:
    name, now = f"install-failed/{host.pool}/{one.version[:16]}", plane.clock()
    before = plane.stores.registry.setting(name)
    if before is not None and now - float(before["at"]) < TOLD_AGAIN_S:
        return
    plane.stores.registry.put_setting(name, {"at": now})
    advice = ADVICE.format(n=installs.HOSTS_MAX)
    notify(
        plane,
        "install_failed",
        "error",
        subject=host.id,
        reason=f"On {host.id} {installs.words(one)}. {advice}",
        pool=host.pool,
        detail={"version": one.version, "name": one.name},
    )


def _stage(one: Installed | None) -> tuple[str, int] | None:
    return None if one is None else (one.state, one.tries)


def _list(said: Any) -> list[Any]:
    if not isinstance(said, list) or len(said) > COUNT_MAX:
        raise TypeError(f"installs must be a list of at most {COUNT_MAX}")
    return said


def _installed(said: Any) -> Installed:
    state, version = said["state"], said["version"]
    if state not in (RUNNING, READY, FAILED):
        raise ValueError("an install is running, ready or failed")
    if not isinstance(version, str) or len(version) != 64 or not version.isalnum():
        raise ValueError("an install's version is a SHA-256 sum")
    return Installed(
        version=version,
        name=str(said["name"])[:TEXT_MAX],
        state=state,
        tries=int(said["tries"]),
        at=finite(said["at"]),
        reason=str(said.get("reason") or "")[:TEXT_MAX],
        waiting=tuple(str(key)[:TEXT_MAX] for key in said.get("waiting") or ())[:WAITING_MAX],
    )
