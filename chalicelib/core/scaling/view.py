"""What a scaling policy sees of a pool: counts and seconds, nothing that it could change."""

from __future__ import annotations

from dataclasses import dataclass, field

from chalicelib.core.pool import Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """Jobs are counted by where they are; an assigned job counts as on its host. All durations in seconds.

    `queued`: waiting jobs that no host carries (as far as was read; see `queue_complete`).
    `on_healthy`: jobs on ready and draining hosts, `on_draining` those of them on draining ones; `on_launching`, `on_unhealthy`.
    `hosts`: ready and launching hosts that may be given work: what a target is compared with. `running_hosts`: those
    of them that are ready. `busy_hosts`: those that carry something, or that this plan gives work to.
    `busy_spot`: those of them that EC2 may take back.
    `slots`: how many average jobs one more host would take at a time.
    `needed`: how many further hosts it takes so that every waiting job starts within the pool's SLO, after filling the hosts
    that are there (does it *fit*, not slots). `expected_s`: what an average waiting job takes;
    `usual_s`: what the pool's jobs take, whoever waits now. `oldest_s`: how long the one that waits longest has waited.
    `boot_s`: from the request for a host to its agent's first word. `people`: who is looking now or was booked for now.
    `cost_usd_h`: what all hosts that are there cost; None: nobody counted, each costs what the next one would.
    `memory`: what earlier passes remembered.
    """

    now: float
    queued: int = 0
    queue_complete: bool = True
    on_healthy: int = 0
    on_draining: int = 0
    on_launching: int = 0
    on_unhealthy: int = 0
    hosts: int = 0
    running_hosts: int = 0
    busy_hosts: int = 0
    busy_spot: int = 0
    slots: float = 1
    needed: int = 0
    expected_s: float = 60.0
    usual_s: float = 60.0
    oldest_s: float = 0.0
    boot_s: float = 45.0
    people: int = 0
    cost_usd_h: float | None = None
    jobs_per_person_h: float = 4.0
    memory: Scaling = field(default_factory=Scaling)

    @property
    def active(self) -> int:
        """All jobs that wait or run."""
        return self.queued + self.on_healthy + self.on_launching + self.on_unhealthy
