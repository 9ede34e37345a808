"""Step by step towards a waiting time, as Coursera's grading cluster did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from chalicelib.core.plan import Target
from chalicelib.core.scaling.bounds import bounds
from chalicelib.core.scaling.view import PoolView
from chalicelib.core.staffing import some


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingTime:
    out_above_s: float = field(default=300.0, metadata=bounds(1, 86_400, "s", "a longer wait adds a host"))
    in_below_s: float = field(default=50.0, metadata=bounds(1, 86_400, "s", "a shorter wait takes an idle host away"))
    step_every_s: float = field(default=60.0, metadata=bounds(1, 3600, "s", "at most one step in this time"))


def conflicts(p: WaitingTime) -> Iterator[tuple[str, str]]:
    """Parameters that contradict each other: field and sentence."""
    if p.in_below_s >= p.out_above_s:
        yield "in_below_s", f"must be below out_above_s, which is {p.out_above_s:g} s"


def waiting_time(view: PoolView, p: WaitingTime) -> Target:
    """W = queued × expected_s ÷ (hosts × slots). One host more where W is above `out_above_s`, one less where it is below `in_below_s`.

    At most one step in `step_every_s`; between steps the last target holds, as far as it is within a step of the hosts that are there.
    Without a host W is boot_s + queued × expected_s ÷ slots, and the first waiting job gets the first host at once. No step down into
    hosts that carry work, or while only a part of the queue is known. W is never less than what the one that waits longest has waited
    already: who fits on no host that is there would wait for ever, however short the queue. `waiting_time_s` is W.
    """
    waits_s = _waiting_time_s(view)
    hosts, why, stepped = _step(view, p, waits_s)
    if hosts < 1 and view.queued:
        hosts, why, stepped = 1, "somebody waits and there is no host: the first is not stepped towards", True
    return Target(hosts=hosts, why=why, variables={"waiting_time_s": waits_s}, stepped=stepped)


def _waiting_time_s(view: PoolView) -> float:
    if not view.queued:
        return 0.0
    if not view.hosts:
        return view.boot_s + view.queued * view.expected_s / view.slots
    return max(view.oldest_s, view.queued * view.expected_s / (view.hosts * view.slots))


def _step(view: PoolView, p: WaitingTime, waits_s: float) -> tuple[int, str, bool]:
    waits = f"the last of {some(view.queued, 'waiting job')} waits {waits_s:.0f} s" if view.queued else "nobody waits"
    if view.now - view.memory.stepped_at < p.step_every_s:
        most = view.hosts + (
            1 if view.queued else 0
        )  # what was remembered may be another policy's, or was never launched
        held = max(view.hosts - 1, min(view.memory.target, most), 0)
        return held, f"{waits}; the last step is less than {p.step_every_s:g} s old", False
    if waits_s > p.out_above_s:
        return view.hosts + 1, f"{waits}: more than {p.out_above_s:g} s, one host more", True
    if waits_s < p.in_below_s and view.hosts > view.busy_hosts and view.queue_complete:
        return view.hosts - 1, f"{waits}: less than {p.in_below_s:g} s, one idle host less", True
    return view.hosts, f"{waits}: as many hosts as there are", False
