"""Square-root staffing, from PrairieLearn's notes on scaling."""

from __future__ import annotations

from dataclasses import dataclass, field

from chalicelib.core.plan import Target
from chalicelib.core.scaling.bounds import bounds
from chalicelib.core.scaling.view import PoolView
from chalicelib.core.staffing import hosts_for, some, with_square_root


@dataclass(frozen=True, slots=True, kw_only=True)
class SquareRoot:
    min_hosts: int = field(default=0, metadata=bounds(0, 10_000, "hosts", "wanted even when no job is there"))


def square_root(view: PoolView, p: SquareRoot) -> Target:
    """⌈(n + 2√n) ÷ slots⌉ hosts for n jobs that wait or run: two standard deviations of room beyond a Poisson load of n.

    100 jobs want room for 120. `desired_jobs` is n + 2√n.
    """
    jobs = with_square_root(view.active)
    return Target(
        hosts=max(p.min_hosts, hosts_for(jobs, view.slots)),
        why=f"{some(view.active, 'job')} and room for the next: {jobs:.0f} at {view.slots:.3g} a host",
        variables={"desired_jobs": jobs},
    )
