"""A plan cut down to what may be asked of EC2 now: by the token bucket, or not at all while EC2 throttles us.

What is cut is not lost. A launch that is not sent leaves its jobs in the backlog, with the sentence that says what they wait for; one
that is not sent again is found by the next look; and the next look is ordered for when it can be done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from chalicelib.core.backlog import Entry
from chalicelib.core.bucket import Ask, Taken
from chalicelib.core.plan import Action, Gather, Plan, Resume, Start
from chalicelib.core.snapshot import Snapshot
from chalicelib.core.spoken import clock

TOO_MANY = "EC2 gets too many requests from this account"


def asks(plan: Plan) -> dict[str, list[Ask]]:
    """Region → what its launches ask of the bucket, in the order in which they are sent."""
    asked: dict[str, list[Ask]] = {}
    for action in plan.actions:
        if isinstance(action, Resume):
            asked.setdefault(action.launch.offering.region, []).append(Ask(len(action.launch.hosts), whole=True))
        elif isinstance(action, Start):
            asked.setdefault(action.offering.region, []).append(Ask(len(action.loads)))
        elif isinstance(action, Gather) and action.offering is not None:
            asked.setdefault(action.offering.region, []).append(Ask(action.missing, whole=True))
    return asked


def rationed(plan: Plan, taken: Mapping[str, Taken], now: float) -> Plan:
    """The plan with those launches for which there were tokens."""
    if all(got.next_at is None for got in taken.values()):
        return plan
    seen: Counter[str] = Counter()
    actions: list[Action] = []
    waits = list(plan.waits)
    for action in plan.actions:
        region = _launches_in(action)
        if region is None:
            actions.append(action)
            continue
        number, got = seen[region], taken[region]
        seen[region] += 1
        if number < got.whole:
            actions.append(action)
        elif isinstance(action, Start):
            granted = got.part if number == got.whole else 0
            if granted:
                actions.append(replace(action, loads=action.loads[:granted]))
            waits += _left(action, granted, _next_at(got, now))
        elif isinstance(action, Gather):
            waits.append((action.entry, _next_at(got, now)))
    next_at = min(got.next_at for got in taken.values() if got.next_at is not None)
    return replace(plan, actions=tuple(actions), waits=tuple(waits), wake_at=_sooner(plan.wake_at, next_at))


def backed_off(s: Snapshot, plan: Plan) -> Plan:
    """The plan without any launch, while EC2 throttles this pool."""
    until = s.pool.supply.backoff_until
    if s.now >= until or not any(map(_launches_in, plan.actions)):
        return plan
    waits = list(plan.waits)
    for action in plan.actions:
        if isinstance(action, Start):
            waits += _left(action, 0, throttled_until(until))
        elif isinstance(action, Gather) and action.missing:
            waits.append((action.entry, throttled_until(until)))
    return replace(
        plan,
        actions=tuple(action for action in plan.actions if _launches_in(action) is None),
        waits=tuple(waits),
        wake_at=_sooner(plan.wake_at, until),
    )


def _launches_in(action: Action) -> str | None:
    """In which region it asks EC2 for hosts, if it does."""
    match action:
        case Resume():
            return action.launch.offering.region
        case Start():
            return action.offering.region
        case Gather():
            return action.offering.region if action.offering is not None else None
        case _:
            return None


def _next_at(got: Taken, now: float) -> str:
    return f"EC2 takes only so many launches a second; the next one goes out at {clock(got.next_at or now)}"


def throttled_until(until: float) -> str:
    """What a job waits for while EC2 throttles its pool."""
    return f"{TOO_MANY}; nothing is launched until {clock(until)}"


def _left(action: Start, granted: int, sentence: str) -> list[tuple[Entry, str]]:
    return [(entry, sentence) for load in action.loads[granted:] for entry in load]


def _sooner(first: float | None, second: float) -> float:
    return second if first is None else min(first, second)
