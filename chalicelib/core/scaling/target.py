"""How many hosts a pool is to have: a policy's wish or a person's number, raised by what is booked, within what the pool may have.

Theory of operation. A policy is a wish: it knows nothing of limits. `wanted` asks it (or the person who overrode it), raises the
wish to the calendar's floor, adds what is spared for interruptions, then keeps the limits: at least `hosts_min`, at most `hosts_max`
and what the budget pays for - the budget last, since money that is not there cannot be spent. Whatever changed the number is said in
`why`, in that order. A policy does not see the hosts that are spared: one that steps from what is there would take them for its own.

The answer comes with what the pool's row is to remember, so that the next look can hold a step, latch a peak and wait for
agreement. It must be safe to look again at once: with the memory of this answer, the same view gets the same answer.
"""

from __future__ import annotations

import math
from dataclasses import replace

from chalicelib.core.plan import Target
from chalicelib.core.pool import Pool, PoolSpec, Scaling
from chalicelib.core.scaling.grader_load import INSTANT_HOSTS, minute_of
from chalicelib.core.scaling.parameters import parameters_of
from chalicelib.core.scaling.policies import DEFAULT, POLICIES
from chalicelib.core.scaling.view import PoolView
from chalicelib.core.staffing import GRAIN, some

KILLED = "a person killed its hosts; `spillway pool start` brings them back"
PEAKS_MAX = 16  # minutes of peaks that are kept: what a latch of 15 minutes can reach into


def wanted(
    view: PoolView, pool: Pool, price_usd_h: float | None, floor: tuple[int, str] = (0, "")
) -> tuple[Target, Scaling]:
    """How many hosts, and what to remember.

    `price_usd_h`: what one more host would cost an hour, None where nothing can be launched. `floor`: the calendar's hosts and sentence.
    A killed pool wants none, whatever is booked. One whose scaling is switched off wants what it has. The floor raises a person's
    number as well: whoever wants less takes the booking back, or lowers `hosts_max`.
    """
    spec = pool.spec
    if spec.killed:
        target = _published(Target(hosts=0, why=KILLED), 0)
    elif not spec.scaling_enabled:
        target = _published(Target(hosts=view.hosts, why="scaling is switched off"), view.hosts)
    else:
        spared = _spared(view, spec)
        wish = _with_spared(_at_least(_wish(_without(view, spared), spec), *floor), view, spared)
        target = _published(_within(wish, view, spec, price_usd_h), wish.hosts)
    return target, _memory(view, target)


def affordable(spec: PoolSpec, price_usd_h: float | None, hosts: int = 0, cost_usd_h: float = 0.0) -> int | None:
    """How many hosts the budget pays for; None without a budget, or where it has something left and no price is known.

    `hosts` are there, and all that is there costs `cost_usd_h`. They were launched at their own prices: that the next one would be of a
    dearer offering must not send away those that the budget pays for.
    """
    if spec.budget_usd_h is None:
        return None
    left_usd_h = spec.budget_usd_h - cost_usd_h
    if hosts and left_usd_h < -GRAIN:
        return max(0, hosts - math.ceil(-left_usd_h * hosts / cost_usd_h - GRAIN))
    if not price_usd_h:
        return None
    return hosts + max(0, math.floor(left_usd_h / price_usd_h + GRAIN))


def _wish(view: PoolView, spec: PoolSpec) -> Target:
    """What a person or the policy wants."""
    if spec.hosts_desired is not None:
        return Target(hosts=spec.hosts_desired, why=f"a person asked for {some(spec.hosts_desired, 'host')}")
    if spec.policy not in POLICIES:  # a row that newer code wrote: jobs must start all the same
        wish = POLICIES[DEFAULT].decide(view, parameters_of(DEFAULT, {}))
        return replace(wish, why=f"there is no policy {spec.policy!r}, so {DEFAULT} decides: {wish.why}")
    wish = POLICIES[spec.policy].decide(view, parameters_of(spec.policy, spec.parameters))
    return replace(wish, why=f"{spec.policy} wants {wish.hosts}: {wish.why}")


def _at_least(wish: Target, hosts: int, why: str) -> Target:
    if hosts <= wish.hosts:
        return wish
    return replace(wish, hosts=hosts, why=f"{wish.why}; {why}")


def _spared(view: PoolView, spec: PoolSpec) -> int:
    """How many hosts are kept ready beside the spot hosts with work, so that whoever EC2 interrupts waits for no boot."""
    return math.ceil(spec.spot_headroom * view.busy_spot - GRAIN) if spec.hosts_desired is None else 0


def _without(view: PoolView, spared: int) -> PoolView:
    """The view without the hosts that are spared, as far as they are there, and without them in the last target."""
    if not spared:
        return view
    memory = replace(view.memory, target=max(0, view.memory.target - spared))
    return replace(view, hosts=max(view.busy_hosts, view.hosts - spared), memory=memory)


def _with_spared(wish: Target, view: PoolView, spared: int) -> Target:
    if not spared:
        return wish
    why = f"{some(spared, 'host')} more beside {some(view.busy_spot, 'spot host')} with work, for those that EC2 takes back"
    variables = {**wish.variables, "spot_headroom_hosts": float(spared)}
    return replace(wish, hosts=wish.hosts + spared, why=f"{wish.why}; {why}", variables=variables)


def _within(wish: Target, view: PoolView, spec: PoolSpec, price_usd_h: float | None) -> Target:
    """The wish within the pool's limits; each that bites says so."""
    hosts, says = wish.hosts, [wish.why]
    if hosts < spec.hosts_min:
        hosts = spec.hosts_min
        says.append(f"the pool must have at least {hosts}")
    if hosts > spec.hosts_max:
        hosts = spec.hosts_max
        says.append(f"the pool may have {hosts}")
    there = (view.hosts, view.cost_usd_h) if view.cost_usd_h is not None else (0, 0.0)
    pays_for = affordable(spec, price_usd_h, *there)
    if pays_for is not None and hosts > pays_for:
        hosts = pays_for
        each = f", the next at {price_usd_h:g} USD" if price_usd_h else ""
        says.append(f"the budget of {spec.budget_usd_h:g} USD an hour pays for {hosts}{each}")
    elif spec.budget_usd_h is not None and pays_for is None and hosts > view.hosts:
        hosts = view.hosts
        says.append("there is a budget and no price is known for another host, so none is added")
    return replace(wish, hosts=hosts, why="; ".join(says))


def _published(target: Target, desired: int) -> Target:
    """With the variables that every policy publishes: hosts before and after the limits."""
    always = {"desired_hosts": float(desired), "target_hosts": float(target.hosts)}
    return replace(target, variables={**target.variables, **always})


def _memory(view: PoolView, target: Target) -> Scaling:
    before = view.memory
    surplus = view.hosts > target.hosts
    since = before.surplus_since if before.surplus_since is not None else view.now
    return Scaling(
        target=target.hosts,
        why=target.why,
        at=view.now,
        stepped_at=view.now if target.stepped else before.stepped_at,
        surplus_since=since if surplus else None,
        peaks=_peaks(view, target),
    )


def _peaks(view: PoolView, target: Target) -> dict[str, int]:
    """The peaks of the last minutes, with what a policy that latches wants now: before its latch, else no peak would ever pass."""
    instant = target.variables.get(INSTANT_HOSTS)
    if instant is None:
        return {}
    minute = minute_of(view.now)
    kept = {m: hosts for m, hosts in view.memory.peaks.items() if minute - PEAKS_MAX < int(m) <= minute}
    kept[str(minute)] = max(int(instant), kept.get(str(minute), 0))
    return kept
