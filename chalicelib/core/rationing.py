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
from chalicelib.core.plan import Action, Plan, Resume, Start
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
    return asked


def rationed(plan: Plan, taken: Mapping[str, Taken], now: float) -> Plan:
    """The plan with those launches for which there were tokens."""
    if all(got.next_at is None for got in taken.values()):
        return plan
    seen: Counter[str] = Counter()
    actions: list[Action] = []
    waits = list(plan.waits)
    for action in plan.actions:
        if not isinstance(action, Resume | Start):
            actions.append(action)
            continue
        region = action.launch.offering.region if isinstance(action, Resume) else action.offering.region
        number, got = seen[region], taken[region]
        seen[region] += 1
        if number < got.whole:
            actions.append(action)
        elif isinstance(action, Start):
            granted = got.part if number == got.whole else 0
            if granted:
                actions.append(replace(action, loads=action.loads[:granted]))
            sentence = f"EC2 takes only so many launches a second; the next one goes out at {clock(got.next_at or now)}"
            waits += _left(action, granted, sentence)
    next_at = min(got.next_at for got in taken.values() if got.next_at is not None)
    return replace(plan, actions=tuple(actions), waits=tuple(waits), wake_at=_sooner(plan.wake_at, next_at))


def backed_off(s: Snapshot, plan: Plan) -> Plan:
    """The plan without any launch, while EC2 throttles this pool."""
    until = s.pool.supply.backoff_until
    if s.now >= until or not any(isinstance(action, Resume | Start) for action in plan.actions):
        return plan
    waits = list(plan.waits)
    for action in plan.actions:
        if isinstance(action, Start):
            waits += _left(action, 0, throttled_until(until))
    return replace(
        plan,
        actions=tuple(action for action in plan.actions if not isinstance(action, Resume | Start)),
        waits=tuple(waits),
        wake_at=_sooner(plan.wake_at, until),
    )


def throttled_until(until: float) -> str:
    """What a job waits for while EC2 throttles its pool."""
    return f"{TOO_MANY}; nothing is launched until {clock(until)}"


def _left(action: Start, granted: int, sentence: str) -> list[tuple[Entry, str]]:
    return [(entry, sentence) for load in action.loads[granted:] for entry in load]


def _sooner(first: float | None, second: float) -> float:
    return second if first is None else min(first, second)
