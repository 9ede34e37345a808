"""Why a host is where it is, in sentences: its state, what it carries, when it would leave, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chalicelib.core.host import Assignment, Host, HostState
from chalicelib.core.installs import words
from chalicelib.core.plan import Target
from chalicelib.core.pool import Pool
from chalicelib.core.spoken import ago, clock, count, duration, sentence
from chalicelib.core.story import Line

CARRIED_TOLD_MAX = 20

_IS = {
    HostState.LAUNCHING: "boots",
    HostState.READY: "is ready",
    HostState.DRAINING: "drains: it gets no new work",
    HostState.UNHEALTHY: "is not trusted any more",
    HostState.TERMINATING: "is being terminated",
    HostState.TERMINATED: "is terminated",
}


def why_host(
    host: Host,
    story: Sequence[Line],
    now: float,
    *,
    pool: Pool,
    coming: Sequence[str] = (),
    target: Target | None = None,
) -> list[str]:
    """Sentences, the most important first. `coming`: what the next look at the pool will do with it; `target`: what the pool wants."""
    told = [_state(host, now), _instance(host, pool), *_serves(host, pool), *_carried(host, now), *_installs(host, now)]
    told += [*_leaves(host, pool, now, target)]
    told += [*_health(host, pool, now), *(f"The next look at its pool will do this: {words}" for words in coming)]
    if len(story) > 1:
        told.append(f"Its story so far: {'; '.join(_line(line, now) for line in story[-6:])}")
    return [sentence(text) for text in told if text]


def why_gone(host_id: str, story: Sequence[Line], now: float) -> list[str]:
    """Of a host whose row is deleted: what its story still says. `story` is not empty."""
    last = story[-1]
    told = [
        f"{host_id} is over: its row is deleted, and what follows is its story",
        f"The last that was told of it, {ago(last.at, now)} ({clock(last.at)}), is {last.event}: {last.reason or 'no reason was kept'}",
        *(f"{clock(line.at)}: {line.event}: {line.reason or 'no reason was kept'}" for line in story),
    ]
    return [sentence(text) for text in told]


def _line(line: Line, now: float) -> str:
    return f"{line.event} {ago(line.at, now)}"


def _state(host: Host, now: float) -> str:
    why = f": {host.reason}" if host.reason else ""
    return f"{host.id} of pool {host.pool} {_IS[host.state]}, since {duration(now - host.entered_at)} ({clock(host.entered_at)}){why}"


def _instance(host: Host, pool: Pool) -> str:
    instance = f"instance {host.instance_id}" if host.instance_id else "an instance that EC2 has not named yet"
    if host.generation < pool.spec.generation:
        age = (
            f"generation {host.generation}, older than the pool's {pool.spec.generation}: its turn to be replaced comes"
        )
    else:
        age = f"generation {host.generation}, which is the pool's"
    return f"It is {instance}, offering {host.offering.key}, launched at {clock(host.launched_at)}; {age}"


def _serves(host: Host, pool: Pool) -> Iterator[str]:
    if host.serves is None:
        yield "It has served nobody yet: the first job that it is given decides whose host it is"
    elif pool.spec.share_hosts and not host.installs_at:
        yield f"It serves {host.serves}; once it is empty it may serve another owner, and is scrubbed before"
    else:
        yield f"It serves {host.serves}, and nobody else in its life"


def _carried(host: Host, now: float) -> Iterator[str]:
    if not host.assignments:
        if host.idle_since is not None and host.state in (HostState.READY, HostState.DRAINING):
            yield f"It carries nothing and has been idle for {duration(now - host.idle_since)}"
        else:
            yield "It carries nothing"
        return
    slots = sum(a.slots for a in host.assignments)
    cpu = sum(a.cpu for a in host.assignments)
    memory_mib = sum(a.memory_mib for a in host.assignments)
    yield (
        f"It carries {count(len(host.assignments), 'attempt')}: reserved are {slots} of {count(host.slots, 'slot')}, "
        f"{cpu:g} of {host.cpu:g} cores and {memory_mib} of {host.memory_mib} MiB"
    )
    for assignment in host.assignments[:CARRIED_TOLD_MAX]:
        yield f"{assignment.job}, attempt {assignment.attempt}, {_stage(assignment, now)}"
    if (more := len(host.assignments) - CARRIED_TOLD_MAX) > 0:
        yield f"{more} more are not listed here"


def _stage(assignment: Assignment, now: float) -> str:
    asked = ", and its cancellation was asked for" if assignment.cancel else ""
    if assignment.started_at is not None:
        return f"has run for {duration(now - assignment.started_at)} of at most {duration(assignment.timeout_s)}{asked}"
    if assignment.accepted_at:
        return f"was accepted {ago(assignment.accepted_at, now)} and has not begun{asked}"
    if assignment.inline:
        return f"went along in its user data {ago(assignment.assigned_at, now)} and has not begun{asked}"
    return f"was given to it {ago(assignment.assigned_at, now)} and is not accepted yet{asked}"


def _installs(host: Host, now: float) -> Iterator[str]:
    for one in host.installs:
        yield f"Of what jobs need installed, {words(one)} ({ago(one.at, now)})"


def _leaves(host: Host, pool: Pool, now: float, target: Target | None) -> Iterator[str]:
    """When it would leave if nothing else happens."""
    spec = pool.spec
    if target is not None and host.state in (HostState.LAUNCHING, HostState.READY):
        yield f"The pool wants {count(target.hosts, 'host')}: {target.why}"
    match host.state:
        case HostState.LAUNCHING:
            ends_at = (host.recorded_at or host.launched_at) + spec.boot_timeout_s
            yield f"It is terminated unless its agent says hello by {clock(ends_at)} ({ago(ends_at, now)})"
        case HostState.READY if host.idle_since is not None:
            until = host.idle_since + spec.linger_s
            when = ago(until, now) if until > now else f"from now on: its linger ended {ago(until, now)}"
            yield f"It may leave {when}, unless work comes or the pool still wants it (the pool's linger is {duration(spec.linger_s)})"
        case HostState.READY:
            yield "It stays while it carries anything: a host that runs an attempt is never scaled in"
        case HostState.DRAINING:
            yield "It is terminated when it is empty" if host.assignments else "It is empty, so it is terminated next"
        case HostState.UNHEALTHY:
            ends_at = host.entered_at + spec.unhealthy_max_s
            yield f"It is terminated when it is empty, and whatever it runs at {clock(ends_at)} ({ago(ends_at, now)})"
        case HostState.TERMINATING:
            sent = f"was last asked {ago(host.retire_sent_at, now)}" if host.retire_sent_at else "was not asked yet"
            yield f"EC2 {sent} to terminate it; it is asked again until it does"
        case HostState.TERMINATED:
            yield "Its row is deleted an hour after its end; its story stays"
    if host.state is HostState.READY:
        ends_at = host.launched_at + spec.lifetime_max_s
        yield f"Its life ends at {clock(ends_at)} ({ago(ends_at, now)}): then it gets no new work"


def _health(host: Host, pool: Pool, now: float) -> Iterator[str]:
    if host.state is HostState.TERMINATED:
        return
    if host.interrupt_at is not None:
        yield f"EC2 takes it back at {clock(host.interrupt_at)} ({ago(host.interrupt_at, now)})"
    elif host.rebalance_at is not None:
        yield f"EC2 said {ago(host.rebalance_at, now)} that it may soon take it back: no new work while another offering is to be had"
    if host.seen_at is not None:
        silent = now - host.seen_at > pool.spec.missed_pings_s
        yield f"Its last ping came {ago(host.seen_at, now)}" + (
            ", which is longer than the pool accepts" if silent else ""
        )
    elif host.state is not HostState.LAUNCHING:
        yield "It has never sent a ping"
    if host.missed_lists:
        yield f"EC2 did not list its instance {count(host.missed_lists, 'time')} in a row"
