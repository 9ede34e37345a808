"""How far an attempt says that it is, and whether it has stalled: alive, and without progress for longer than its `stall_s`. Pure.

Progress is what is new: the same percentage and the same words once more are none. Times are of the clock that a sleeping machine
does not stop (CLOCK_BOOTTIME): it outlives the agent, and nobody sets it.
"""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional

from agent.job_socket import Progress

TOLD_EVERY_S = 2.0  # news is told at most so often


class State(NamedTuple):
    """`moved_at`: when it last made progress, or began. `told_at`, `news`: when a ping last said all this, and whether it would be
    another now."""

    moved_at: float
    percent: Optional[float] = None
    note: str = ""
    stalled: bool = False
    told_at: float = 0.0
    news: bool = False


def said(state: State, progress: Progress, now: float) -> State:
    """Its command says how far it is."""
    if (progress.percent, progress.note) == (state.percent, state.note):
        return state
    return state._replace(moved_at=now, percent=progress.percent, note=progress.note, stalled=False, news=True)


def looked(state: State, stall_s: float, now: float) -> State:
    """Time has passed. `stall_s` 0: it never stalls."""
    if not stall_s or state.stalled or now - state.moved_at <= stall_s:
        return state
    return state._replace(stalled=True, news=True)


def is_due(state: State, now: float, regular: bool) -> bool:
    """Whether a ping should say it: with the regular ones, and soon when it is news."""
    return regular or (state.news and now - state.told_at >= TOLD_EVERY_S)


def fields(state: State, now: float) -> dict[str, Any]:
    """What a ping says of it. `moved_s`: for how long there has been no progress; of an attempt that never told any, since it began."""
    return {
        "percent": state.percent,
        "note": state.note,
        "moved_s": round(max(0.0, now - state.moved_at), 1),
        "stalled": state.stalled,
    }


def kept(state: State) -> dict[str, Any]:
    """As it is written down for an agent that comes after this one."""
    return {"moved_at": state.moved_at, "percent": state.percent, "note": state.note, "stalled": state.stalled}


def resumed(document: Mapping[str, Any], now: float) -> State:
    """What an agent before this one wrote down; what it did not live to tell is told again."""
    moved_at = document.get("moved_at")
    percent = document.get("percent")
    return State(
        moved_at=min(now, float(moved_at)) if isinstance(moved_at, (int, float)) else now,
        percent=float(percent) if isinstance(percent, (int, float)) else None,
        note=str(document.get("note") or ""),
        stalled=document.get("stalled") is True,
        news=True,
    )
