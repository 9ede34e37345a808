"""Assignments of the user data whose signed addresses come by the inbox, and when to look there for them.

Addresses are written after RunInstances answers, which may be after this host has booted: so at first the inbox is looked into often,
then ever more seldom, and after two minutes what still lacks its addresses is given back.
"""

from __future__ import annotations

import math

from agent.manifest import Assignment

WAIT_MAX_S = 120.0
FIRST_S = 0.2
EVERY_MAX_S = 5.0
GROWTH = 1.6


class Held:
    """`assignments` by key. Times are on the monotonic clock; `next_look_at` is infinite when nothing is waited for."""

    def __init__(self, now: float) -> None:
        self.assignments: dict[str, Assignment] = {}
        self.next_look_at = math.inf
        self._ends_at = now + WAIT_MAX_S
        self._delay_s = FIRST_S

    def look_often(self, now: float) -> None:
        """From now on."""
        self.next_look_at = now

    def looked(self, now: float) -> bool:
        """A look is being taken; False when it is of no use any more."""
        if now >= self._ends_at:
            self.next_look_at = math.inf
            return False
        self.next_look_at = now + self._delay_s
        self._delay_s = min(EVERY_MAX_S, self._delay_s * GROWTH)
        return True

    def found(self) -> None:
        """An inbox was there; no need to hurry when it had all that was waited for."""
        if not self.assignments:
            self.next_look_at = math.inf
