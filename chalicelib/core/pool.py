"""A pool: hosts that share one configuration, and what a pass knows of it from the pool's own row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.core.host import Offering

DEFAULT_OFFERINGS = (Offering(region="us-east-1", instance_type="c7i.large"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """What an operator sets. Durations in seconds; `slots_per_host` None: one for each vCPU."""

    offerings: tuple[Offering, ...] = DEFAULT_OFFERINGS
    hosts_min: int = 0
    hosts_max: int = 20
    slots_per_host: int | None = None
    linger_s: int = 60
    lifetime_max_s: int = 86_400
    boot_timeout_s: int = 600
    ping_every_s: int = 30
    missed_pings_s: int = 180
    idle_max_s: int = 900  # the agent shuts its machine down itself after this long without work
    unreachable_max_s: int = 900  # … or after this long without reaching us
    sandbox: str = "auto"
    log_limit_bytes: int = 1_048_576
    timeout_max_s: int = 86_400
    generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool's row. `pass_no` numbers the looks at it and fences what they write."""

    name: str
    spec: PoolSpec
    version: int = 1  # grows with each change of the spec
    pass_no: int = 0
    list_due_at: float = 0.0  # when EC2 must be listed next
    wake_at: float | None = None  # the earliest wake already ordered from the timers queue
    skips: Mapping[str, float] = field(default_factory=dict)  # offering key → not before
