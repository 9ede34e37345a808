"""Telling of a job's end: who wants to know, who has been told, when to try again, and when to give up.

A job names its listeners for all its life (`JobSpec.notify`, `Job.origin`), so what is still to be done is always derived from its row:
`listeners` without `Telling.told`. A try that reaches all of them is the last one; one that does not is repeated after a pause that
doubles, for about three hours.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

PAUSE_S = 10.0
PAUSE_MAX_S = 900.0  # SQS delays a message for no longer
TRIES_MAX = 18  # with these pauses: three hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """How far the telling has come. `fault`: what the last try met."""

    tries: int = 0  # that did not reach all
    due_at: float = 0.0  # of the next try
    told: tuple[str, ...] = ()
    fault: str = ""
    given_up: bool = False


def failed(telling: Telling, now: float, told: Collection[str], fault: str) -> Telling:
    """After a try that reached only those of `told`."""
    tries = telling.tries + 1
    pause_s = min(PAUSE_MAX_S, PAUSE_S * 2.0 ** min(tries - 1, 30))
    return replace(
        telling,
        tries=tries,
        due_at=now + pause_s,
        told=tuple(dict.fromkeys((*telling.told, *told))),
        fault=fault,
        given_up=tries >= TRIES_MAX,
    )
