"""Restart, kill and start a pool's hosts: what an operator does to all of them at once.

`restart` raises the generation, and passes replace the hosts a share at a time. `kill` and `start` set and clear one flag, so that
nothing else that was said of the pool is lost in between. None of them ever ends an attempt: whoever wants that cancels its job.
"""

from __future__ import annotations

from chalicelib.control import pools
from chalicelib.core import arrays, settings
from chalicelib.core.pool import Pool
from chalicelib.core.staffing import some
from chalicelib.errors import Conflict
from chalicelib.wiring import Plane

COUNTED_MAX = 5000  # waiting jobs; beyond, a refusal says "or more"


def restart(plane: Plane, name: str, *, by: str) -> Pool:
    """Replace all hosts, rolling: the next generation. Raises NotFound, Conflict."""

    def change() -> Pool | None:
        present = pools.known(plane, name)
        own = settings.said(present) | {"generation": present.spec.generation + 1}
        return pools.write(plane, name, present, own, by)

    return pools.tried(name, change)


def kill(plane: Plane, name: str, *, by: str, force: bool = False) -> Pool:
    """Want no host any more: nothing is launched, and hosts leave when what runs on them has ended.

    Raises Conflict while jobs wait or run, unless forced: these were the last hosts that they could have. NotFound.
    """
    if not force and (work := _work(plane, pools.known(plane, name))):
        raise Conflict(f"{work} in pool {name}, and its last hosts would go; cancel them, or kill with --force")
    return pools.patch(plane, name, {"killed": True}, by=by)


def start(plane: Plane, name: str, *, by: str) -> Pool:
    """Undo `kill`, and switch scaling on. Raises NotFound, Conflict."""

    def change() -> Pool | None:
        present = pools.known(plane, name)
        own = {key: value for key, value in settings.said(present).items() if key not in _SWITCHES}
        inherited = settings.effective(plane.stores.registry.defaults().settings, own)
        own |= {key: on for key, on in _SWITCHES.items() if getattr(inherited, key) != on}
        return pools.write(plane, name, present, own, by)

    return pools.tried(name, change)


_SWITCHES = {"killed": False, "scaling_enabled": True}


def _work(plane: Plane, pool: Pool) -> str:
    """What would be left without hosts, in words; empty for nothing."""
    waiting = min(COUNTED_MAX, arrays.waiting(plane.stores.backlog.head(pool.name, COUNTED_MAX)))
    hosts, _ = plane.stores.hosts.of_pool(pool.name)
    placed = sum(len(host.assignments) for host in hosts)
    more = " or more" if waiting == COUNTED_MAX else ""
    said = [f"{some(waiting, 'job')}{more} {'wait' if waiting != 1 else 'waits'}"] if waiting else []
    if placed:
        said.append(f"{some(placed, 'job')} {'run' if placed != 1 else 'runs'}")
    return " and ".join(said)
