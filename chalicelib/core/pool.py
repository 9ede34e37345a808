"""A pool: hosts that share one configuration, and what a pass knows of it from the pool's own row.

All of `PoolSpec` is a runtime setting: changed through API and CLI, in force from the next pass on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.core.calendar import Booking
from chalicelib.core.expectation import Expectation
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
    sandbox: str = "auto"  # auto (bubblewrap where it is) | bwrap | docker | none
    container_user: str = (
        "job"  # whom containers run as: job (a user of the attempt's own) | image (whom the image says)
    )
    container_image: str | None = None  # what jobs that name no image run in, where the sandbox is docker
    log_limit_bytes: int = 1_048_576
    timeout_max_s: int = 86_400
    job_ttl_s: int = 7_776_000  # 90 days: so long the row of a job is kept after its end
    generation: int = 0
    rolling_share: float = 0.25  # of the ready hosts, at most so many at a time are drained for a newer generation
    policy: str = "slo"  # a name in core.scaling.POLICIES …
    parameters: Mapping[str, float] = field(default_factory=dict)  # … and what it is told; the rest has its defaults
    slo_wait_s: int = 30  # how long a job may wait for its start while hosts are there
    scale_in_agree_s: int = 30  # every look during so long must find too many hosts before one leaves
    scaling_enabled: bool = True  # off: nothing is launched and nothing leaves by policy
    killed: bool = (
        False  # a person wants no host: nothing is launched, and hosts leave when what runs on them has ended
    )
    hosts_desired: int | None = None  # a person's number, in place of the policy's
    budget_usd_h: float | None = None  # what all hosts of the pool may cost an hour, at list price
    placement: str = "best_fit"  # best_fit | spread | random
    estimated_s: float | None = None  # how long a job takes; None: learned per family
    jobs_per_person_h: float = 4.0  # what one person submits in an hour, for bookings and interest
    image: str | None = None  # an AMI in place of the launch template's own
    launch_template: str | None = None  # "name" or "name:version", in place of the stage's own
    types: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # instance types that this release does not know, or knows otherwise: name → vcpus, memory_mib, price_usd_h, arch
    disk_mib_per_slot: int = 2048  # what a job may ask for as `disk_mib`, for each of its slots
    images: str = "refuse"  # jobs that name a container's image: refuse | ignore (the hosts' own image is that one)
    share_hosts: bool = False  # whether a host may serve another owner once it is empty; it is scrubbed between
    debug_logging: bool = False
    unhealthy_max_s: int = 43_200
    overdue_grace_s: int = 120  # after an attempt's own timeout: uploads, a slow queue
    capacity: str = (
        "ec2"  # ec2: RunInstances, the job in the user data | asg: two Auto Scaling groups, spot and on-demand backup
    )
    rank_spot: bool = (
        False  # spot offerings that stand next to each other are tried in the order of what each slot may cost
    )
    interruption_ladder: bool = True  # an attempt that EC2 interrupted is tried again on demand
    spot_headroom: float = (
        0.0  # share of the spot hosts with work that is kept ready beside them, for those that EC2 takes back
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What passes remember of their targets, so that the next one can wait for agreement; written with the pass's own facts.

    `peaks`: minute (as text) → highest target seen in it, for policies that latch.
    """

    target: int = 0
    why: str = ""
    at: float = 0.0
    stepped_at: float = 0.0  # when a policy that goes step by step made its last step
    surplus_since: float | None = None  # since when every look has found more hosts than wanted
    peaks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What passes remember of where hosts come from (core/ladder.py); written with the pass's own facts. Times: 0 or None for never.

    `skips`: `Offering.asked_with` → not before. `spot_until`: until then no spot is tried. `protected_at`: since when so many boots, or
    installs (`protected_by`: "boots", "installs"), of generation `protected_generation` have failed that hosts are launched one at a
    time. `backoff_s`, `backoff_until`: EC2 throttled us,
    and how long nothing is asked of it.
    """

    skips: Mapping[str, float] = field(default_factory=dict)
    spot_until: float = 0.0
    protected_at: float | None = None
    protected_generation: int = 0
    protected_by: str = "boots"
    backoff_s: float = 0.0
    backoff_until: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospects:
    """What the broker expects spot to cost soon, by `Offering.key` in USD an hour. `at`: when EC2 told the prices; 0 for never."""

    at: float = 0.0
    usd_h: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool's row. `pass_no` numbers the looks at it and fences what they write."""

    name: str
    spec: PoolSpec
    version: int = 1  # grows with each change of the spec or the calendar
    settings: Mapping[str, Any] | None = (
        None  # what the operator said of `spec`; the rest is the stage's defaults, then ours
    )
    defaults_version: int = 0  # of the stage's defaults that `spec` was made with
    calendar: tuple[Booking, ...] = ()
    interest: int = 0  # people who were looking when the tick last counted
    prospects: Prospects = Prospects()  # what the tick last learned of spot prices, where `rank_spot` asks for it
    pass_no: int = 0
    looked_at: float | None = None  # when the last pass that had seen everything began
    list_due_at: float = 0.0  # when EC2 must be listed next
    wake_at: float | None = None  # the earliest wake already ordered from the timers queue
    supply: Supply = Supply()
    scaling: Scaling = Scaling()
    expectation: Expectation = field(default_factory=Expectation)  # how soon jobs begin, as the last pass saw it
    asked: Mapping[str, float] = field(
        default_factory=dict
    )  # region/name of an Auto Scaling group → since when what it owes is waited for
    clocks: Mapping[str, float] = field(default_factory=dict)  # priority class → virtual time served (core/fairness.py)
