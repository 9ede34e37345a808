"""Waiting for others: what becomes of a job or an array that was told to begin `after` some others have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

SUCCEEDED = "succeeded"
UNKNOWN = "unknown"  # its row is no more: it ended long ago


class Fate(StrEnum):
    WAIT = "wait"
    UNBLOCK = "unblock"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Ruling:
    fate: Fate
    reason: str


def waits(after: Sequence[str]) -> str:
    """What is told of who has just been submitted, and has others to wait for."""
    return f"submitted; waits for {_some(after)}"


def _some(ids: Sequence[str]) -> str:
    return ids[0] + (f" and {len(ids) - 1} more" if len(ids) > 1 else "")


def ruling(after: Sequence[str], after_on: str, ends: Mapping[str, str | None]) -> Ruling:
    """`ends`: id → its final state, None while it has not ended; one that is missing here is known to nobody any more.

    The first that ended badly decides at once, even while others go on: nothing could make it good.
    """
    ended = {one: ends.get(one, UNKNOWN) for one in after}
    if after_on == "success":
        for one, state in ended.items():
            if state is not None and state != SUCCEEDED:
                said = "is not known any more" if state == UNKNOWN else f"is {state.replace('_', ' ')}"
                return Ruling(Fate.SKIP, f"it was to begin after {one} succeeds, and that {said}")
    going = [one for one, state in ended.items() if state is None]
    if going:
        return Ruling(Fate.WAIT, f"{_some(going)} to {'succeed' if after_on == 'success' else 'end'}")
    return Ruling(Fate.UNBLOCK, "all that it waited for has ended")
