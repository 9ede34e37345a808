"""Auto Scaling groups: what a pool with `capacity: asg` asks of them, and what it must not ask twice.

Theory of operation. Such a pool has two groups in each region, one for spot and one for on-demand backup. Nobody knows the hosts that
were asked for by name before they speak: a host row comes with a host's first ping. So a plan counts what is *on its way* - desired
capacity less the members whose rows are there - as hosts that boot (`expected`), and everything that counts hosts counts them: one job
never causes two. Jobs are placed on them in thought only; they stay in the backlog until the host says hello.

The group replaces nothing of itself (its processes for that are suspended, `infra/groups.py`): desired capacity is ours alone. A member
that is dead keeps its place until it is `Dismiss`ed with decrement. Who is dead our rows say: Auto Scaling calls a member unhealthy, and
never again healthy, for one status check that failed, though it may go on working; its word counts only where there is no row.

What a group does not deliver within `GIVE_UP_S` is given up: desired capacity goes down to what is there, and its offerings are skipped
like those that EC2 refused. Asking for more meanwhile does not put that off, unless the group delivers. Where EC2 is known to have refused
the group something since it was asked, its other zones and types get `REFUSED_S` in all: the backup is not kept waiting for minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import capacity, knows
from chalicelib.core.host import LIVE, Host, HostState, Offering
from chalicelib.core.plan import Dismiss, Resize, Start
from chalicelib.core.pool import Pool, PoolSpec

if TYPE_CHECKING:
    from chalicelib.core.snapshot import Snapshot

GIVE_UP_S = 180.0  # an instance that a group can have is there after some seconds
REFUSED_S = 20.0
SKIP_S = 180.0
EXPECTED = "expected-"  # how ids of hosts begin that are on their way
SUSPENDED = frozenset({"AZRebalance", "ReplaceUnhealthy"})  # what a group must not do of itself (ADR 9)
MARKETS = {"spot": "spot", "on_demand": "on-demand"}  # market → how the group's name ends


Place = tuple[str, str]  # region, market: what there is one group for


def place_of(offering: Offering) -> Place:
    return offering.region, offering.market


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An instance of a group. `state`: the group's word for its life (Pending…, InService, Terminating…); `healthy`: EC2 has it running."""

    instance_id: str
    group: str
    state: str
    instance_type: str = ""
    zone: str | None = None
    protected: bool = False
    healthy: bool = True
    version: str = ""  # of the launch template that it booted with

    @property
    def counts(self) -> bool:
        """Whether it takes a place of the desired capacity."""
        return self.state.startswith("Pending") or self.state == "InService"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group as Auto Scaling describes it. `market`: spot or on_demand."""

    name: str
    region: str
    market: str
    desired: int
    size_max: int
    members: tuple[Member, ...] = ()
    version: str = ""  # of the launch template that it launches with
    acts: bool = False  # whether it does of itself what must be suspended
    refused_at: float = 0.0  # when EC2 last refused it an instance, as far as we were told

    def outdates(self, member: Member) -> bool:
        """Whether a member booted with an older launch template; False where it cannot be told ("$Latest" is no version)."""
        return member.version.isdigit() and self.version.isdigit() and int(member.version) < int(self.version)

    @property
    def key(self) -> str:
        """Its name is the same in each region."""
        return group_key(self.region, self.name)

    @property
    def counted(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.counts)

    @property
    def missing(self) -> int:
        """How many hosts it was asked for and has not launched."""
        return max(0, self.desired - len(self.counted))

    def patience_s(self, asked_at: float) -> float:
        """How long what is missing is waited for."""
        return REFUSED_S if self.refused_at > asked_at else GIVE_UP_S


# What hosts of a group are told by its launch template, which `spillway pool groups` makes.
IN_TEMPLATE = (
    "offerings",
    "image",
    "slots_per_host",
    "ping_every_s",
    "idle_max_s",
    "linger_s",  # never shorter than what a host waits for work
    "lifetime_max_s",
    "unreachable_max_s",
    "sandbox",
    "container_image",
    "container_user",
    "images",
    "log_limit_bytes",
)


def out_of_step(before: PoolSpec, after: PoolSpec) -> list[str]:
    """Settings that hosts of the pool's groups will hear of only once their launch templates are made again."""
    if before.capacity != "asg" or after.capacity != "asg":
        return []
    return [name for name in IN_TEMPLATE if getattr(before, name) != getattr(after, name)]


def group_name(stage: str, pool: str, market: str) -> str:
    """The name of a pool's group in each region."""
    return f"spillway-{stage}-{pool}-{MARKETS[market]}"


def group_key(region: str, name: str) -> str:
    """What tells groups of all regions apart."""
    return f"{region}/{name}"


def names(stage: str, pool: str) -> dict[str, str]:
    """Group name → market, of a pool."""
    return {group_name(stage, pool, market): market for market in MARKETS}


def of_group(launch: str) -> bool:
    """Whether a host's or an instance's `launch` is the name of a group: that of a RunInstances begins otherwise, or is empty."""
    return bool(launch) and not launch.startswith("launch-")


def host_id(instance_id: str) -> str:
    """The id of a group's host, which it can know itself: its user data is the same for all."""
    return f"host-{instance_id}"


@dataclass(frozen=True, slots=True)
class OnTheWay:
    """What a group owes: `booting` members have no row yet, `missing` ones are not there at all; `late`: longer than it may take."""

    group: Group
    booting: int
    missing: int
    late: bool
    dead: tuple[Member, ...]

    @property
    def base(self) -> int:
        """What is there and what still comes: more hosts are asked for on top of that. A group may have more than is desired of it:
        what came just when it was given up, and is protected."""
        return len(self.group.counted) + (0 if self.late else self.missing)


def on_the_way(s: Snapshot) -> list[OnTheWay]:
    """Of each group of the pool."""
    rows = {host.instance_id: host for host in (*s.past, *s.hosts) if host.instance_id}
    found = []
    for group in s.groups or ():
        counted = group.counted
        dead = tuple(
            m for m in counted if ((row := rows.get(m.instance_id)) and row.state not in LIVE) or not (row or m.healthy)
        )
        booting = sum(m.instance_id not in rows and m.healthy for m in counted)
        asked_at = s.pool.asked.get(group.key, 0.0)
        late = s.now - asked_at >= group.patience_s(asked_at) or s.pool.spec.killed
        found.append(OnTheWay(group, booting, group.missing, bool(group.missing) and late, dead))
    return found


def seen(s: Snapshot, owed: Sequence[OnTheWay]) -> Snapshot:
    """The snapshot with what is on its way as hosts that boot, and with the offerings skipped whose group does not deliver."""
    expected = [host for each in owed for host in _expected(s, each)]
    skips = {
        offering.asked_with(s.pool.spec.image, s.pool.spec.launch_template): s.now + SKIP_S
        for offering in given_up(s, owed)
    }
    if not expected and not skips:
        return s
    pool = replace(s.pool, supply=replace(s.pool.supply, skips={**s.pool.supply.skips, **skips}))
    return replace(s, pool=pool, hosts=(*s.hosts, *expected))


def given_up(s: Snapshot, owed: Iterable[OnTheWay]) -> tuple[Offering, ...]:
    """Offerings of groups that do not deliver; not where a person wants none."""
    late = {(each.group.region, each.group.market) for each in owed if each.late and not s.pool.spec.killed}
    return tuple(o for o in s.pool.spec.offerings if place_of(o) in late)


def _expected(s: Snapshot, owed: OnTheWay) -> Iterator[Host]:
    offering = _offering(s.pool, owed.group)
    if offering is None:
        return
    size = capacity(offering, s.pool.spec)
    for number in range(owed.booting + (0 if owed.late else owed.missing)):
        yield Host(
            id=f"{EXPECTED}{owed.group.key}-{number:04d}",
            pool=s.pool.name,
            state=HostState.LAUNCHING,
            offering=offering,
            launch=owed.group.name,
            launch_index=number,
            cpu=size.cpu,
            memory_mib=size.memory_mib,
            slots=size.slots,
            launched_at=s.pool.asked.get(owed.group.key, s.now),
            generation=s.pool.spec.generation,
        )


def _offering(pool: Pool, group: Group) -> Offering | None:
    """What a host of the group most likely is: the first offering that it serves."""
    return next(
        (
            o
            for o in pool.spec.offerings
            if (o.region, o.market) == (group.region, group.market) and knows(o, pool.spec)
        ),
        None,
    )


def dismissals(owed: Iterable[OnTheWay]) -> Iterator[Dismiss]:
    """Dead members, which would keep their places in their groups."""
    for each in owed:
        for member in each.dead:
            yield Dismiss(
                each.group.name, each.group.region, member.instance_id, "it is dead, and keeps a place in its group"
            )


def resizes(
    s: Snapshot, owed: Iterable[OnTheWay], starts: Iterable[Start], after: Mapping[Place, str]
) -> tuple[list[Resize], list[tuple[Entry, str]]]:
    """Launches as desired capacities, and what those who are to get these hosts wait for. `after`: what is tried next, as an end of
    that sentence."""
    by_place = {(each.group.region, each.group.market): each for each in owed}
    more: dict[Place, int] = dict.fromkeys(by_place, 0)
    reasons: dict[Place, str] = {}
    waits: list[tuple[Entry, str]] = []
    for start in starts:
        place = place_of(start.offering)
        entries = [entry for load in start.loads for entry in load]
        if place not in by_place:
            lack = "cannot be asked now" if s.groups is None else "has no Auto Scaling group for it"
            waits += [
                (e, f"{start.offering.key} {lack}; `spillway pool groups` makes the pool's groups") for e in entries
            ]
            continue
        more[place] += len(start.loads)
        reasons.setdefault(place, start.reason)
        waits += [
            (e, f"group {by_place[place].group.name} is asked for a host for it{after.get(place, '')}") for e in entries
        ]
    actions = []
    for place, each in by_place.items():
        group = each.group
        desired = min(max(group.size_max, group.desired), each.base + more[place])
        if desired != group.desired and (more[place] or each.late):
            why = reasons.get(place) or _gave_up(s, each)
            since = _waited_for_since(s, each) if more[place] else s.pool.asked.get(group.key, 0.0)
            actions.append(Resize(group.name, group.region, group.desired, desired, since, given_up(s, [each]), why))
    actions.sort(key=lambda action: action.desired > action.before)  # what is given up makes room for what is asked for
    return actions, waits


def _waited_for_since(s: Snapshot, each: OnTheWay) -> float:
    """Since when a group that is asked for more is waited for: from now on, unless it owes and has delivered nothing since it was asked."""
    asked_at = s.pool.asked.get(each.group.key, 0.0)
    rows = (h for h in (*s.hosts, *s.past) if group_key(h.offering.region, h.launch) == each.group.key)
    delivers = not each.missing or each.booting or any((h.recorded_at or 0.0) > asked_at for h in rows)
    return s.now if delivers else asked_at


def _gave_up(s: Snapshot, each: OnTheWay) -> str:
    if s.pool.spec.killed:
        return "a person killed the pool's hosts"
    patience_s = each.group.patience_s(s.pool.asked.get(each.group.key, 0.0))
    return f"it did not deliver {each.missing} of {each.group.desired} hosts within {patience_s:.0f} s"
