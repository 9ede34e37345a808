"""A state machine is a table: state → event → state. All states are rows; final states are the empty ones.

An event leads to one state only, whatever it leaves. So a conditional write can name the states that it may leave (`sources`)
and the state that it sets (`target`) without having read the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


class IllegalTransition(Exception):
    """The table has no entry for this event in this state."""


@dataclass(frozen=True, slots=True)
class Machine(Generic[S, E]):
    """`noun` is what the machine is about, for its error."""

    noun: str
    transitions: Mapping[S, Mapping[E, S]]

    def after(self, state: S, event: E) -> S:
        """The state that `event` leads to; raises IllegalTransition where the table has no entry."""
        try:
            return self.transitions[state][event]
        except KeyError:
            raise IllegalTransition(f"a {self.noun} that is {state} cannot {event}") from None

    def sources(self, event: E) -> frozenset[S]:
        """The states that `event` may leave."""
        return frozenset(state for state, row in self.transitions.items() if event in row)

    def target(self, event: E) -> S:
        """The one state that `event` leads to."""
        return next(row[event] for row in self.transitions.values() if event in row)

    @property
    def finals(self) -> frozenset[S]:
        """The states that nothing leaves."""
        return frozenset(state for state, row in self.transitions.items() if not row)
