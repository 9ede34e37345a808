"""A plan in words: each kind of action as a sentence, for people who ask what would be done and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from chalicelib.core import plan as do
from chalicelib.core.plan import Action, Plan
from chalicelib.core.spoken import count, sentence


def subject(action: Action) -> str:
    """The id of what an action is about: a job, host, instance, launch or offering; of several hosts, the first."""
    match action:
        case do.Assign() | do.Expire() | do.Gather():
            return action.entry.job
        case do.Go():
            return action.job
        case do.Settle() | do.Reclaim() | do.Halt():
            return action.assignment.job
        case do.Resume():
            return action.launch.id
        case do.Adopt():
            return action.instance.id
        case do.Start():
            return action.offering.key
        case do.Resize():
            return action.group
        case do.Dismiss():
            return action.instance_id
        case do.Ring():
            return next(iter(action.hosts), "")
        case _:
            return action.host.id


def words(action: Action) -> str:
    """What would be done, and why: one sentence."""
    return sentence(f"{_WORDS[type(action)](action)}, because {_clause(action.reason)}")


def hosts_of(action: Action) -> Iterator[str]:
    """The ids of the hosts that an action concerns; those that a launch would make have none yet."""
    if isinstance(action, do.Ring):
        yield from action.hosts
    elif isinstance(action, do.Assign):
        yield action.host
    elif isinstance(action, do.Gather):
        yield from action.hosts
    elif isinstance(action, do.Go):
        yield from (host.id for host in action.hosts)
    elif isinstance(action, do.Resume):
        yield from action.launch.hosts
    elif not isinstance(action, do.Expire | do.Adopt | do.Start | do.Resize | do.Dismiss):
        yield action.host.id


def jobs_of(action: Action) -> Iterator[str]:
    """The ids of the jobs that an action concerns."""
    if isinstance(action, do.Assign | do.Expire | do.Gather):
        yield action.entry.job
    elif isinstance(action, do.Go):
        yield action.job
    elif isinstance(action, (do.Halt, do.Settle | do.Reclaim)):
        yield action.assignment.job
    elif isinstance(action, do.Start):
        yield from (entry.job for load in action.loads for entry in load)


def concerning_host(plan: Plan, host: str) -> list[Action]:
    return [action for action in plan.actions if host in hosts_of(action)]


def concerning_job(plan: Plan, job: str) -> list[Action]:
    return [action for action in plan.actions if job in jobs_of(action)]


def _clause(reason: str) -> str:
    return reason.strip().rstrip(".") or "the plan does not say why"


def _start(action: do.Start) -> str:
    jobs = sum(len(load) for load in action.loads)
    return f"launch {count(len(action.loads), 'host')} of {action.offering.key} with {count(jobs, 'job')}"


def _gather(action: do.Gather) -> str:
    placed = f"place {action.entry.job} (attempt {action.entry.attempt}) on {count(action.entry.hosts, 'host')} at once"
    if action.offering is None:
        return f"{placed}: {', '.join(action.hosts)}"
    there = f"{', '.join(action.hosts)} and " if action.hosts else ""
    return f"{placed}: {there}{count(action.missing, 'new one')} of {action.offering.key}"


def _missed(action: do.Missed) -> str:
    if not action.missed_lists:
        return f"note that EC2 lists host {action.host.id}"
    return f"note that EC2 did not list host {action.host.id} ({count(action.missed_lists, 'time')} in a row)"


_WORDS: dict[type[Any], Callable[[Any], str]] = {
    do.Resume: lambda a: f"send launch {a.launch.id} of {count(len(a.launch.hosts), 'host')} to EC2 again",
    do.Adopt: lambda a: f"terminate instance {a.instance.id} in {a.instance.region}",
    do.Missed: _missed,
    do.Vanish: lambda a: f"give up host {a.host.id}",
    do.Settle: lambda a: f"take {a.assignment.job} (attempt {a.assignment.attempt}) off host {a.host.id}",
    do.Reclaim: lambda a: f"take {a.assignment.job} (attempt {a.assignment.attempt}) back from host {a.host.id}",
    do.Sicken: lambda a: f"trust host {a.host.id} no more",
    do.Drain: lambda a: f"give host {a.host.id} no new work",
    do.Recapture: lambda a: f"give host {a.host.id} work again",
    do.Retire: lambda a: f"terminate host {a.host.id}",
    do.Expire: lambda a: f"skip {a.entry.job}",
    do.Assign: lambda a: f"place {a.entry.job} (attempt {a.entry.attempt}) on host {a.host}",
    do.Start: _start,
    do.Gather: _gather,
    do.Go: lambda a: f"tell {count(len(a.hosts), 'host')} to begin {a.job} (attempt {a.attempt})",
    do.Halt: lambda a: f"tell host {a.host.id} to end {a.assignment.job} (attempt {a.assignment.attempt})",
    do.Resize: lambda a: f"bring group {a.group} from {a.before} to {count(a.desired, 'host')}",
    do.Dismiss: lambda a: f"take instance {a.instance_id} out of group {a.group}",
    do.Wipe: lambda a: f"take secrets out of the inbox of host {a.host.id}",
    do.Ring: lambda a: f"ring {count(len(a.hosts), 'host')}",
}
