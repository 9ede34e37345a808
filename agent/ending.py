"""When a machine ends itself. Pure: an ordered list of rules, first match wins.

Every duration is measured on the monotonic clock. A running attempt is never cut short by these rules: the agent first stops
taking new ones ("drain") and ends when nothing runs.
"""

from __future__ import annotations

from typing import Callable, NamedTuple, Optional

from agent.manifest import Settings


class Facts(NamedTuple):
    """What is known now; seconds. `stop` is the reason given by the inbox."""

    stop: Optional[str]
    running: int
    waiting: int
    unsent: int
    age_s: float
    idle_s: float
    unreachable_s: float
    interrupted: bool = False  # EC2 takes the machine back, at a known moment


class Rule(NamedTuple):
    """`reason` in words, when it holds, and whether assignments that merely wait keep the machine alive."""

    reason: Callable[[Facts, Settings], str]
    holds: Callable[[Facts, Settings], bool]


RULES = (
    Rule(lambda f, s: "EC2 takes the machine back", lambda f, s: f.interrupted),
    Rule(lambda f, s: "told to stop: %s" % f.stop, lambda f, s: f.stop is not None),
    Rule(
        lambda f, s: "at the end of its life of %d s" % s.lifetime_max_s,
        lambda f, s: f.age_s > s.lifetime_max_s,
    ),
    Rule(
        lambda f, s: "nothing could be heard from the control plane for %d s" % s.unreachable_max_s,
        lambda f, s: f.unreachable_s > s.unreachable_max_s,
    ),
    Rule(
        lambda f, s: "idle for more than %d s" % s.idle_max_s,
        lambda f, s: f.running == 0 and f.waiting == 0 and f.unsent == 0 and f.idle_s > s.idle_max_s,
    ),
)


def draining(facts: Facts, settings: Settings) -> Optional[str]:
    """The reason to take no new attempts, None to go on."""
    for rule in RULES:
        if rule.holds(facts, settings):
            return rule.reason(facts, settings)
    return None


def over(facts: Facts, settings: Settings) -> Optional[str]:
    """The reason to shut the machine down now, None to go on."""
    return draining(facts, settings) if facts.running == 0 else None
