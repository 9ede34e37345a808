"""The largest of several estimates, held for a quarter of an hour, as PrairieLearn scales its graders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.core.plan import Target
from chalicelib.core.scaling.bounds import bounds
from chalicelib.core.scaling.view import PoolView
from chalicelib.core.staffing import hosts_for, jobs_of_people, some

INSTANT_HOSTS = (
    "instant_hosts"  # the variable of a policy that latches: what it wants before the latch, to be remembered
)
LATCH_MAX_S = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderLoad:
    current_factor: float = field(
        default=1.0, metadata=bounds(1, 10, "", "1.5: capacity for half as many jobs again as hosts run now")
    )
    latch_s: float = field(
        default=900.0, metadata=bounds(0, LATCH_MAX_S, "s", "the largest wish of this time is still wanted")
    )
    min_hosts: int = field(default=1, metadata=bounds(0, 10_000, "hosts", "wanted even when no job is there"))


def grader_load(view: PoolView, p: GraderLoad) -> Target:
    """The largest of four estimates, ÷ slots. *Ungraded*: all jobs that wait or run. *Current*: those on hosts that run
    × `current_factor`. *Predicted*: people × jobs_per_person_h × usual_s ÷ 3600. *History*: the largest of these within `latch_s`.

    So a lull between two surges lets no host go. At least `min_hosts`. `ungraded_jobs`, `current_jobs` and `predicted_jobs` are in
    jobs; `instant_hosts` is what they want without history, `history_hosts` what history wants.
    """
    estimates = {
        "ungraded_jobs": float(view.active),
        "current_jobs": (view.on_healthy + view.on_unhealthy) * p.current_factor,
        "predicted_jobs": jobs_of_people(view.people, view.jobs_per_person_h, view.usual_s),
    }
    name, jobs = max(estimates.items(), key=lambda item: item[1])
    instant = max(p.min_hosts, hosts_for(jobs, view.slots))
    history = latched(view.memory.peaks, view.now, p.latch_s)
    why = f"the largest estimate is {name.replace('_', ' ')}: {jobs:.0f} at {view.slots:.3g} a host"
    if history > instant:
        why = f"{some(history, 'host')} had been wanted less than {p.latch_s:g} s ago; now {instant} would do"
    return Target(
        hosts=max(instant, history),
        why=why,
        variables={**estimates, INSTANT_HOSTS: float(instant), "history_hosts": float(history)},
    )


def minute_of(at: float) -> int:
    """The minute of an epoch time, under which a peak is remembered."""
    return int(at // 60)


def latched(peaks: Mapping[str, int], now: float, latch_s: float) -> int:
    """The largest peak of the minutes that reach into the last `latch_s` seconds; 0 without any."""
    return max((hosts for minute, hosts in peaks.items() if (int(minute) + 1) * 60 > now - latch_s), default=0)
