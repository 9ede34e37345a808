"""A fixed share of spare room, as PrairieLearn ships it for its workspace hosts."""

from __future__ import annotations

from dataclasses import dataclass, field

from chalicelib.core.plan import Target
from chalicelib.core.scaling.bounds import bounds
from chalicelib.core.scaling.view import PoolView
from chalicelib.core.staffing import hosts_for, some


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    factor: float = field(default=1.3, metadata=bounds(1, 10, "", "1.3: room for 30 % more jobs than are active"))
    min_hosts: int = field(default=1, metadata=bounds(0, 10_000, "hosts", "wanted even when no job is there"))


def headroom(view: PoolView, p: Headroom) -> Target:
    """⌈(on healthy hosts + launching or queued + active × (factor − 1)) ÷ slots⌉ hosts, at least `min_hosts`.

    Jobs on unhealthy hosts keep their host, so they need no other; but they count as activity. 100 on healthy hosts, 50 launching
    and 100 on unhealthy hosts with factor 1.5 are 150 + 250 × 0.5 = 275 jobs. `desired_jobs` is that number.
    """
    jobs = view.on_healthy + view.on_launching + view.queued + view.active * (p.factor - 1.0)
    return Target(
        hosts=max(p.min_hosts, hosts_for(jobs, view.slots)),
        why=f"{some(view.active, 'job')} with headroom {p.factor:g} take room for {jobs:.1f} at {view.slots:.3g} a host",
        variables={"desired_jobs": jobs},
    )
