"""Least cost such that the predicted wait stays under the pool's SLO. Ours."""

from __future__ import annotations

from dataclasses import dataclass, field

from chalicelib.core.plan import Target
from chalicelib.core.scaling.bounds import bounds
from chalicelib.core.scaling.view import PoolView
from chalicelib.core.staffing import hosts_for, some


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    margin: float = field(default=1.0, metadata=bounds(1, 10, "", "1.2: a fifth more hosts than the forecast needs"))


def slo(view: PoolView, p: Slo) -> Target:
    """⌈(busy + needed) × margin⌉ hosts: those that carry work, and as many more as it takes so that every waiting job starts within
    the pool's `slo_wait_s`.

    How many are needed comes from a forecast: learned durations per family say when each running job ends; a waiting job that fits
    into what falls free soon enough needs no host of its own. Idle hosts are surplus, and leave after the pool's `linger_s`.
    `busy_hosts` and `needed_hosts` are the two numbers.
    """
    wanted = view.busy_hosts + view.needed
    why = f"{some(view.busy_hosts, 'host')} with work"
    if view.needed:
        why += f" and {view.needed} more for jobs that would wait too long without"
    if p.margin > 1.0:
        why += f", times {p.margin:g}"
    return Target(
        hosts=hosts_for(wanted * p.margin, 1),
        why=why,
        variables={"busy_hosts": float(view.busy_hosts), "needed_hosts": float(view.needed)},
    )
