"""All that one pass sees: what a plan is made from, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.core.backlog import Entry
from chalicelib.core.durations import Learned
from chalicelib.core.groups import Group
from chalicelib.core.host import Host, Launch
from chalicelib.core.instance import Instance
from chalicelib.core.job import Job
from chalicelib.core.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`past`: hosts that ended in the last hour or so and carry nothing any more, as far as their rows are there still.

    `listed` is None when EC2 was not asked in this pass: then nothing may be concluded from an instance's absence.

    `held`: those that are in the queue among them, and that their owner's quota (core/quota.py) does not let begin now, and why: to a plan
    they are not there.

    `groups`: the pool's Auto Scaling groups, where its capacity comes from them; None: they could not be described,
    so nothing may be asked.
    `canary_at`: when the tick's last canary ping that came back was sent; silence of hosts counts only up to there.
    `gangs`: the rows of jobs on several hosts that any of `hosts` carries, by id.
    `learned`: how long jobs took, by `durations.key_of(family)`. `backlog_complete`: whether `backlog` is all there is.
    """

    now: float
    pool: Pool
    hosts: tuple[Host, ...] = ()
    past: tuple[Host, ...] = ()
    launches: tuple[Launch, ...] = ()
    backlog: tuple[Entry, ...] = ()
    backlog_complete: bool = True
    held: tuple[tuple[Entry, str], ...] = ()
    listed: tuple[Instance, ...] | None = None
    canary_at: float | None = None
    learned: Mapping[str, Learned] = field(default_factory=dict)
    groups: tuple[Group, ...] | None = ()
    gangs: Mapping[str, Job] = field(default_factory=dict)
