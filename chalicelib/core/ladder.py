"""Where the next host is tried: down the pool's list of offerings, past what is closed for a while.

Theory of operation. The pool's list IS the ladder, in the operator's order: spot offerings by rank, on-demand as their backup, then
the next region the same way. Only where the pool says `rank_spot`, spot offerings that stand next to each other go by what the broker
expects a slot of each to cost (`Pool.prospects`, an hour old at most; what EC2 told no price of comes last). A new host is tried on the
first rung that is open and large enough for the job that it is opened for; a rung that EC2 refuses is closed, and the next pass, at once,
is one rung further down. What closes rungs:

1. *Offering memory*: EC2 refused it (`Supply.skips`, written with the launch's answer; 180 s after a capacity error).
2. *Circuit breaker*: EC2 took back two spot hosts of the pool within 15 minutes; then all its spot is closed until 30 minutes after the
   second. Derived from rows - every host keeps when it was taken back, and its row stays for an hour after its end - so an event that
   comes twice, late or out of order counts once. `Supply.spot_until` remembers what outlives the rows.
3. *The interruption ladder*: an attempt that EC2 interrupted is tried again on demand (`bound`), as long as the pool has an on-demand
   offering that is large enough. Not for ever: one that found no such host for 15 minutes takes what there is.

*Protected mode* closes nothing, but slows all down: when ten hosts that were launched since the last hello had an instance and never
said a word, something is wrong with image, template or network, and more of them would only burn money. Then one host at a time is
launched, a probe, at most one in three minutes; the first hello ends it. In which order their ends became known does not matter.
The same protects a pool on five of whose hosts an install has failed since one was last ready anywhere: until one is, or until the rows of
those hosts are gone, an hour after their ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import Capacity, capacity, knows
from chalicelib.core.constraint import Constraint
from chalicelib.core.host import Host, HostState, Offering
from chalicelib.core.installs import failing
from chalicelib.core.rationing import throttled_until
from chalicelib.core.snapshot import Snapshot
from chalicelib.core.spoken import count, sentence

BREAKER_WITHIN_S = 900.0  # two interruptions in so long …
BREAKER_S = 1800.0  # … and no spot is tried for so long after the second
BOOT_FAILURES_MAX = 10  # in a row: then the next host is a probe
PROBE_EVERY_S = 180.0
ON_DEMAND_PATIENCE_S = 900.0  # so long an interrupted attempt waits for an on-demand host and takes no other
RANKS_HOLD_S = 3600.0  # prices that EC2 told longer ago order nothing
SPOT, ON_DEMAND = "spot", "on_demand"
INSTALL_FAILURES_MAX = 5  # hosts on which an install failed, and none where one was ready since
BOOTS, INSTALLS = "boots", "installs"
PROTECTED = {
    BOOTS: f"protected mode: {BOOT_FAILURES_MAX} hosts in a row had an instance and never said hello, so one host at a time is tried",
    INSTALLS: f"protected mode: installs failed on {INSTALL_FAILURES_MAX} hosts and were ready on none, so one host at a time is tried",
}
ADVICE = {
    BOOTS: "Look at what a new instance prints (its console output), at the image and launch template of the pool, and at its way to SQS, "
    "S3 and DynamoDB; or set scaling_enabled to false. The first hello ends it, or `spillway pool restart` when you have mended it",
    INSTALLS: "Look at what the installs print (`spillway logs HOST --install`), at what they fetch, and at the hosts' way to it. The "
    "first install that is ready ends it, or `spillway pool restart` when you have mended it",
}
OVER = {BOOTS: "a host has said hello", INSTALLS: "no more installs fail"}

_FAILED = frozenset({HostState.UNHEALTHY, HostState.TERMINATING, HostState.TERMINATED})


@dataclass(frozen=True, slots=True)
class Rung:
    """An offering of the pool, what a host of it holds, and until when it is not tried (0: it may be tried now) and why."""

    offering: Offering
    size: Capacity
    closed_until: float = 0.0
    why: str = ""

    def holds(self, entry: Entry) -> bool:
        """Whether a host of it is large enough."""
        return (
            entry.cpu <= self.size.cpu and entry.memory_mib <= self.size.memory_mib and entry.slots <= self.size.slots
        )


def rungs(s: Snapshot) -> list[Rung]:
    """The whole ladder, in order. Types that the catalogue does not have are left out: nobody knows what they hold."""
    pool, found = s.pool, []
    for offering in _ranked(s):
        until = pool.supply.skips.get(offering.asked_with(pool.spec.image, pool.spec.launch_template), 0.0)
        why = "EC2 refused it"
        if offering.market == SPOT and pool.supply.spot_until > until:
            until, why = pool.supply.spot_until, f"EC2 took back two spot hosts within {BREAKER_WITHIN_S / 60:.0f} min"
        is_open = until <= s.now
        found.append(Rung(offering, capacity(offering, pool.spec), 0.0 if is_open else until, "" if is_open else why))
    return found


def _ranked(s: Snapshot) -> list[Offering]:
    """The pool's known offerings; of each run of spot, the one whose slots are expected to cost least comes first."""
    spec, usd_h = s.pool.spec, _expected(s)

    def expected(offering: Offering) -> float:
        return usd_h.get(offering.key, math.inf) / capacity(offering, spec).slots

    found: list[Offering] = []
    for market, run in groupby((o for o in spec.offerings if knows(o, spec)), lambda offering: offering.market):
        beside = list(run)
        found += sorted(beside, key=expected) if market == SPOT else beside
    return found


def _expected(s: Snapshot) -> Mapping[str, float]:
    """`Offering.key` → USD an hour, where the pool ranks its spot offerings and EC2 told their prices lately; else nothing."""
    fresh = s.pool.spec.rank_spot and s.now - s.pool.prospects.at <= RANKS_HOLD_S
    return s.pool.prospects.usd_h if fresh else {}


def usable(s: Snapshot) -> list[tuple[Offering, Capacity]]:
    """The offerings that may be tried now, from the top of the ladder down, with what a host of each offers to jobs."""
    return [(rung.offering, rung.size) for rung in rungs(s) if not rung.closed_until]


def elsewhere(s: Snapshot, offering: Offering) -> bool:
    """Whether another host could be had now that is not of this offering: then one that EC2 may soon take back can be given up."""
    return s.pool.supply.protected_at is None and any(other != offering for other, _ in usable(s))


# -- what is remembered


def current(s: Snapshot) -> Snapshot:
    """The same with what its rows tell of interruptions and boots added to what the pool remembers of them: all else here asks that."""
    supply = s.pool.supply
    rows = (*s.hosts, *s.past)
    spot_until = max(supply.spot_until, _breaker(rows))
    protected_at, by = _protected_at(rows, s), BOOTS
    if protected_at is None:
        protected_at, by = _installs_fail(rows, s), INSTALLS
    known = replace(supply, spot_until=spot_until, protected_at=None, protected_generation=0, protected_by=BOOTS)
    if protected_at is not None:
        known = replace(known, protected_at=protected_at, protected_generation=s.pool.spec.generation, protected_by=by)
    return s if known == supply else replace(s, pool=replace(s.pool, supply=known))


def _breaker(rows: Sequence[Host]) -> float:
    """Until when the interruptions that rows tell of close spot; 0 where they are too few or too far apart."""
    taken_at = sorted(h.interrupt_at for h in rows if h.interrupt_at is not None and h.offering.market == SPOT)
    return max(
        (later + BREAKER_S for first, later in pairwise(taken_at) if later - first <= BREAKER_WITHIN_S), default=0.0
    )


def _protected_at(rows: Sequence[Host], s: Snapshot) -> float | None:
    """Since when hosts are launched one at a time, or None. A restart ends it: what was wrong with the old generation may be mended."""
    supply, generation = s.pool.supply, s.pool.spec.generation
    mine = supply.protected_generation == generation and supply.protected_by == BOOTS
    before = supply.protected_at if mine else None
    rows = [row for row in rows if row.generation == generation]
    last_hello = max((h.ready_at for h in rows if h.ready_at is not None), default=0.0)
    failed = sum(h.state in _FAILED and h.launched_at > last_hello and _never_spoke(h, s) for h in rows)
    if failed >= BOOT_FAILURES_MAX:
        return s.now if before is None else before
    return None if before is not None and last_hello > before else before


def _installs_fail(rows: Sequence[Host], s: Snapshot) -> float | None:
    """Since when installs fail on so many hosts that more of them would only fail too, or None."""
    supply, generation = s.pool.supply, s.pool.spec.generation
    if failing([row for row in rows if row.generation == generation]) < INSTALL_FAILURES_MAX:
        return None
    mine = supply.protected_generation == generation and supply.protected_by == INSTALLS
    return supply.protected_at if mine and supply.protected_at is not None else s.now


def _never_spoke(host: Host, s: Snapshot) -> bool:
    """It had an instance and its time to boot, its agent never said a word, and that is not because EC2 took it back."""
    if host.userid is None or host.interrupt_at is not None or host.ready_at is not None or host.seen_at is not None:
        return False
    lived_s = (host.retire_sent_at or math.inf) - (host.recorded_at or host.launched_at)
    return lived_s >= s.pool.spec.boot_timeout_s  # we ended no other one before its time: a person may have


def probe_at(s: Snapshot) -> float | None:
    """In protected mode, when the next host may be launched: a past time for now, infinity while one boots. None: not protected."""
    if s.pool.supply.protected_at is None:
        return None
    if any(host.state is HostState.LAUNCHING for host in s.hosts):
        return math.inf
    launched = [host.launched_at for host in (*s.hosts, *s.past) if host.userid is not None]
    return max(launched, default=0.0) + PROBE_EVERY_S


def launches_max(s: Snapshot) -> int | None:
    """How many hosts may be launched now, as far as boots went well; None: as many as the pool may have."""
    at = probe_at(s)
    return None if at is None else int(at <= s.now)


# -- who may not go anywhere


def bound(s: Snapshot, entries: Sequence[Entry]) -> Mapping[str, Constraint]:
    """Rank → what binds an entry: what its user asked for, and, where EC2 took an earlier attempt's host back, to be on demand."""
    special = [entry for entry in entries if entry.interruptions or entry.instance_types or entry.market]
    if not special:
        return {}
    spec, known = s.pool.spec, dict[tuple[tuple[str, ...], str], Constraint]()
    backup = [Rung(o, capacity(o, spec)) for o in spec.offerings if o.market != SPOT and knows(o, spec)]
    found: dict[str, Constraint] = {}
    for entry in special:
        asked = (entry.instance_types, entry.market)
        own = known.setdefault(asked, Constraint(*asked))
        if (
            entry.interruptions
            and spec.interruption_ladder
            and s.now - entry.queued_at <= ON_DEMAND_PATIENCE_S
            and any(own.takes(rung.offering) and rung.holds(entry) for rung in backup)
        ):
            found[entry.rank] = Constraint(entry.instance_types, ON_DEMAND)
        elif asked != ((), ""):
            found[entry.rank] = own
    return found


def backed_up(entry: Entry, must: Constraint | None) -> str:
    """The beginning of a sentence about an entry that waits for a host on demand because EC2 took another one back; else empty."""
    if must is None or not entry.interruptions or must.market != ON_DEMAND or entry.market:
        return ""
    return f"EC2 took back the host of {count(entry.interruptions, 'attempt')}, so it is tried again on demand; "


# -- in words


def words(ladder: Sequence[Rung]) -> str:
    """Which of these rungs is tried and what comes next: "no c7i.large spot in us-east-1a/b until 14:03 UTC, on-demand next"."""
    if not ladder:
        return "no offering of the pool is large enough for it"
    first_open = next((n for n, rung in enumerate(ladder) if not rung.closed_until), None)
    if first_open is None:
        soonest = min(ladder, key=lambda rung: rung.closed_until)
        said = f"{', '.join(_closed(ladder))}; next is {name(soonest.offering)}"
        return f"{said}, at {_clock(soonest.closed_until)} UTC" if len(ladder) > 1 else ", ".join(_closed(ladder))
    tried = ladder[first_open].offering
    if first_open:
        return f"{', '.join(_closed(ladder[:first_open]))}, {_beside(tried, ladder[first_open - 1].offering)} next"
    following = next((rung.offering for rung in ladder[1:] if not rung.closed_until), None)
    if following is None:
        return f"{name(tried)} is tried next"
    return f"{name(tried)} is tried next, {_beside(following, tried)} after it"


def passed(ladder: Sequence[Rung], offering: Offering) -> str:
    """Why a host is of this offering and not of one further up; empty where none further up is closed."""
    above = ladder[: next((n for n, rung in enumerate(ladder) if rung.offering == offering), 0)]
    return ", ".join(_closed([rung for rung in above if rung.closed_until]))


def name(offering: Offering) -> str:
    """`c7i.large spot in us-east-1a`."""
    return f"{offering.instance_type} {_market(offering)} in {offering.zone or offering.region}"


def _market(offering: Offering) -> str:
    return "spot" if offering.market == SPOT else "on-demand"


def _beside(offering: Offering, other: Offering) -> str:
    """The offering after another one was named: what is the same is not said again."""
    if (offering.region, offering.instance_type) == (
        other.region,
        other.instance_type,
    ) and offering.market != other.market:
        return _market(offering)
    return name(offering)


def _closed(closed: Sequence[Rung]) -> Iterator[str]:
    """One clause for rungs that differ in their zone only."""
    groups: dict[tuple[str, str, str, str, str], list[Offering]] = {}
    for rung in closed:
        o = rung.offering
        groups.setdefault((o.instance_type, o.market, o.region, _clock(rung.closed_until), rung.why), []).append(o)
    for (_, _, region, until, why), alike in groups.items():
        zones = [o.zone or region for o in alike]
        where = "/".join([zones[0], *(zone.removeprefix(region) or zone for zone in zones[1:])])
        yield f"no {alike[0].instance_type} {_market(alike[0])} in {where} until {until} UTC ({why})"


def states(s: Snapshot) -> list[str]:
    """What keeps launches back, and a sentence on each rung, from the top down: what `spillway plan` shows."""
    said, ladder = [], rungs(s)
    if s.pool.supply.backoff_until > s.now:
        said.append(throttled_until(s.pool.supply.backoff_until))
    if s.pool.supply.protected_at is not None:
        said.append(protection(s))
    turn = "is tried next"
    for rung in ladder:
        if rung.closed_until:
            said.append(f"{name(rung.offering)} is not tried until {_clock(rung.closed_until)} UTC: {rung.why}")
        else:
            usd_h = _expected(s).get(rung.offering.key)
            expected = f"; {usd_h:.3g} USD an hour are expected" if usd_h else ""
            said.append(f"{name(rung.offering)} {turn}{expected}")
            turn = "is tried after that"
    if ladder and all(rung.closed_until for rung in ladder):
        soonest = min(ladder, key=lambda rung: rung.closed_until)
        said.append(
            f"No host can be launched until {_clock(soonest.closed_until)} UTC; next is {name(soonest.offering)}"
        )
    return [sentence(text) for text in said]


def protection(s: Snapshot) -> str:
    """What protected mode is, for those who wait because of it."""
    since, at = s.pool.supply.protected_at or s.now, probe_at(s) or s.now
    following = "one boots now" if at == math.inf else f"the next at {_clock(max(at, s.now))} UTC"
    return f"{PROTECTED[s.pool.supply.protected_by]} since {_clock(since)} UTC, {following}"


def _clock(at: float) -> str:
    seconds = int(at) % 86_400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
