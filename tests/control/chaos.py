"""A town where everything that may go wrong does, when told to: what `test_stateful.py` drives.

Beyond the plain town, agents ping while they live, end attempts at their timeout and shut their machines down when they are idle
or cut off for too long, as the real ones do. Messages may be late and so overtake each other, machines may hang, a function
may be overtaken by all that others do at any call, and every launch is checked against the maximum that was in force.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from fragile import Fault, Fuse, crash, fragile, unavailable
from town import Agent, Crash, Town

from chalicelib.control import ec2_events, tick
from chalicelib.core import host as host_machine
from chalicelib.core import invariants
from chalicelib.core import job as job_machine
from chalicelib.core.host import ADOPTED, Host, HostState, Launch
from chalicelib.core.job import Job, JobState
from chalicelib.core.pool import PoolSpec
from chalicelib.core.story import Line, distinct
from chalicelib.errors import BadRequest, CloudUnavailable, StoreUnavailable

LACKING = "ssm:none"  # a secret that nobody has
COUNTED = frozenset({HostState.LAUNCHING, HostState.READY, HostState.DRAINING, HostState.UNHEALTHY})
REFUSALS = (Crash, StoreUnavailable, CloudUnavailable)  # after which a client tries again
OUR_ERRORS = ("CloudUnavailable", "StoreUnavailable")  # that a pass or a tick may meet
TRIES_MAX = 60
NESTED_MAX = 12  # functions that run in the middle of each other
TIMEOUT_S = 30.0  # of a pass; no function may run longer
FUNCTION_S = 60.0  # two functions that run at the same time may tell in another order than they wrote
ROUNDS_MAX = 1000  # of deliveries at one moment
UNLUCKY_MAX = 5  # tries of a client; the next one goes well, or a batch would never be through


@dataclass
class Life:
    """What a machine's agent remembers beyond the protocol."""

    pinged_at: float
    idle_since: float


class Audited:
    """EC2, with every launch checked the moment after it was made."""

    def __init__(self, town: ChaosTown) -> None:
        self._town = town

    def __getattr__(self, name: str) -> Any:
        return getattr(self._town.cloud.compute, name)

    def launch(self, launch: Launch) -> Any:
        try:
            return self._town.cloud.compute.launch(launch)
        finally:
            self._town.audit(launch)


class AuditedGroups:
    """Auto Scaling, with every raised capacity checked the moment after it was raised."""

    def __init__(self, town: ChaosTown) -> None:
        self._town = town

    def __getattr__(self, name: str) -> Any:
        return getattr(self._town.cloud.groups, name)

    def resize(self, region: str, group: str, desired: int) -> None:
        groups = self._town.cloud.groups
        before = groups.groups[region, group].desired
        groups.resize(region, group, desired)
        if desired > before:
            self._town.audit_groups(f"{group} was asked for {desired}")


class Asked:
    """EC2 as the control plane sees it, with every launch noted at the moment in which it is sent, before the network has its way."""

    def __init__(self, town: ChaosTown, compute: Any) -> None:
        self._town = town
        self._compute = compute

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compute, name)

    def launch(self, launch: Launch) -> Any:
        self._town.asked.setdefault(launch.offering.region, []).append((self._town.now, len(launch.hosts)))
        return self._compute.launch(launch)


class ChaosTown(Town):
    """The town and its misfortunes. All of them end with `heal`."""

    def __init__(self, spec: PoolSpec, seed: int) -> None:
        super().__init__(spec, seed)
        self.broken: list[str] = []  # what must never be, and was
        self.lateness = 0.0  # share of deliveries that come later
        self.late_max_s = 30.0
        self.boots_fail = False  # machines that are launched from now on never say hello
        self.frozen: set[str] = set()  # machines that EC2 calls running and on which nothing moves
        self.mute: dict[str, list[dict[str, Any]]] = {}  # instances whose pings are kept until SQS can be reached again
        self._lives: dict[str, Life] = {}
        self._cut_off_at: dict[str, float] = {}
        self._late: set[tuple[str, str]] = set()
        self._maxima = [(self.now, spec.hosts_max)]
        cloud: Any = type("AuditedCloud", (), {})()
        for name in ("blobs", "queues", "notices", "outside", "secrets"):
            setattr(cloud, name, getattr(self.cloud, name))
        cloud.compute = Audited(self)
        cloud.groups = AuditedGroups(self)
        self.plane = replace(self.plane, cloud=cloud)
        self.asked: dict[str, list[tuple[float, int]]] = {}
        self.fuse: Fuse = fragile(self)
        cloud = self.plane.cloud
        cloud.compute = Asked(self, cloud.compute)
        self._deadlines: list[float] = []  # of the running functions; each runs in the middle of the one before it
        self.fuse.overtime = lambda: bool(self._deadlines) and self.now > self._deadlines[-1]

    # -- what people do

    def insist(self, act: Callable[[], Any]) -> Any:
        """Do as a client does: again until it is answered. None: it was refused for good."""
        chance = self.fuse.chance
        self._deadlines.append(math.inf)
        try:
            for tries in range(TRIES_MAX):
                if tries == UNLUCKY_MAX:
                    self.fuse.chance = lambda: None
                try:
                    return act()
                except BadRequest:
                    return None
                except REFUSALS:
                    self.plane.stores.teller.forget()
        finally:
            self._deadlines.pop()
            self.fuse.chance = chance
        raise AssertionError("a client was never answered")

    def hosts_max_is(self, hosts_max: int) -> None:
        """Remember since when the pool may have so many."""
        self._maxima.append((self.now, hosts_max))

    # -- faults

    def orphan(self) -> None:
        """An instance with our tags that no row knows."""
        launch = Launch(
            id=self.new_id("launch"),
            pool="default",
            offering=self.stores.registry.pools()[0].spec.offerings[0],
            hosts=("host-nobody-0",),
            user_data=b"",
            created_at=self.now,
            sent_at=self.now,
        )
        self.unmanned.add(self.cloud.compute._make(launch, 0).id)  # whatever the capacity

    def cut_off(self, instance_id: str, keep: bool) -> None:
        """The machine cannot reach SQS; its agent keeps what it says, or loses it."""
        self._cut_off_at.setdefault(instance_id, self.now)
        if keep:
            self.mute.setdefault(instance_id, [])
        else:
            self.deaf.add(instance_id)

    def reconnect(self, instance_id: str) -> None:
        """It can be heard again; what it kept is said now."""
        self._cut_off_at.pop(instance_id, None)
        self.deaf.discard(instance_id)
        kept = self.mute.pop(instance_id, [])
        agent = self.agents.get(instance_id)
        for ping in kept if agent is not None else ():
            self._say(agent, ping)

    def interrupt(self, instance_id: str, told_by: str) -> None:
        """EC2 takes a machine back in two minutes, and EventBridge or its agent or both say so."""
        ends_at = self.cloud.compute.interrupt(instance_id)
        ping = {"kind": "interrupted", "interrupt_at": ends_at, "action": "terminate"}
        self._foretell(instance_id, told_by, ec2_events.WARNING, ping)

    def recommend_rebalance(self, instance_id: str, told_by: str) -> None:
        """EC2 says that it may take a machine back, and does not."""
        self._foretell(instance_id, told_by, ec2_events.REBALANCE, {"kind": "rebalance", "notice_at": self.now})

    def _foretell(self, instance_id: str, told_by: str, kind: str, ping: dict[str, Any]) -> None:
        if told_by in ("ec2", "both"):
            event = {"detail-type": kind, "detail": {"instance-id": instance_id}}
            for _ in range(2 if self.chance.random() < self.duplicate else 1):
                self.invoke(ec2_events.receive, event)
        agent = self.agents.get(instance_id)
        if told_by in ("agent", "both") and agent is not None and agent.said_hello:
            self._say(agent, ping)

    def shut_down(self, instance_id: str) -> None:
        """Somebody ends a machine, and EC2 says that it is going before it is gone."""
        detail = {"instance-id": instance_id, "state": "shutting-down"}
        self.invoke(ec2_events.receive, {"detail-type": ec2_events.STATE_CHANGE, "detail": detail})
        self.cloud.compute.lose(instance_id)

    def meanwhile(self, _: type[Exception]) -> None:
        """All that is due elsewhere happens now, in the middle of the function that is running."""
        if len(self._deadlines) > NESTED_MAX:
            return
        self._machines()
        self._deliver()

    def ticks(self) -> None:
        """A tick beside whatever runs."""
        self.invoke(tick.run)

    def slow(self, seconds: float) -> Callable[[type[Exception]], None]:
        """This call takes so long."""

        def wait(_: type[Exception]) -> None:
            self.now += seconds

        return wait

    def any_call(self, crashes: float, unanswered: float, overtaken: float) -> None:
        """From now on each call may be the last of its function, go unanswered, or be overtaken: shares of all calls."""

        def chance() -> Fault | None:
            draw = self.chance.random()
            for share, fault in ((crashes, crash), (unanswered, unavailable), (overtaken, self.overtaken)):
                if draw < share:
                    return fault
                draw -= share
            return None

        self.fuse.chance = chance

    def overtaken(self, error: type[Exception]) -> None:
        """The call takes some seconds, and all that falls due meanwhile happens before it goes on."""
        self.now += self.chance.choice([0.0, 0.5, 5.0])
        self.meanwhile(error)

    def heal(self) -> None:
        """The world is a good one from now on."""
        self.fuse.heal()
        self.cloud.calls._faults.clear()
        self.cloud.compute._quotas.clear()
        self.duplicate = self.lateness = 0.0
        self.boots_fail = False
        self.cloud.compute.list_lag_s = 0.0
        for instance_id in [*self.deaf, *self.mute]:
            self.reconnect(instance_id)

    # -- functions

    def invoke(self, function: Any, *args: Any) -> bool:
        """What AWS fails is tried again by AWS; any other exception is a bug, and comes out."""
        self._deadlines.append(self.now + TIMEOUT_S)
        try:
            return super().invoke(function, *args)
        except (StoreUnavailable, CloudUnavailable):
            return False
        finally:
            self._deadlines.pop()

    def _comes_twice(self, message: Any) -> bool:
        """A ping of a host that is not recorded yet goes through the timers queue again and again: were each of them doubled, as no
        queue does, a single one would become millions."""
        waits = message.id.startswith("timers-") and '"kind": "ping"' in message.body
        return super()._comes_twice(message) and not (waits and json.loads(message.body)["tries"] > 3)

    def _is_late(self, queue: Any, message: Any) -> bool:
        if (queue.name, message.id) in self._late or self.chance.random() >= self.lateness:
            return False
        self._late.add((queue.name, message.id))
        message.due_at = self.now + self.chance.uniform(0.1, self.late_max_s)
        message.receives -= 1
        return True

    # -- machines

    def _boot(self, machine: Any) -> Agent:
        if self.boots_fail:
            self.frozen.add(machine.id)
        self._lives[machine.id] = Life(self.now, self.now)
        return super()._boot(machine)

    def _coming(self) -> list[float]:
        pings = [self._lives[i].pinged_at + self._ping_every_s(a) for i, a in self.agents.items() if a.said_hello]
        return [*super()._coming(), *(at for at in pings if at > self.now)]

    def _ping_every_s(self, agent: Agent) -> float:
        return float(agent.manifest["settings"]["ping_every_s"])

    def _agent(self, agent: Agent) -> bool:
        instance_id = agent.machine.id
        if instance_id in self.frozen:
            return False
        busy = super()._agent(agent)
        life = self._lives[instance_id]
        if not agent.said_hello:
            return busy
        if agent.running or agent.waiting or agent.gathered or busy:
            life.idle_since = self.now
        if self.now - life.pinged_at >= self._ping_every_s(agent):
            life.pinged_at = self.now
            running = [{"job": job, "attempt": attempt} for job, attempt in agent.running]
            self._say(agent, {"kind": "alive", "running": running, "free_slots": 1, "problems": [], "troubles": []})
            busy = True
        settings, cut_off_at = agent.manifest["settings"], self._cut_off_at.get(instance_id, self.now)
        idle_s, cut_off_s = self.now - life.idle_since, self.now - cut_off_at
        if (
            not agent.running
            and not agent.gathered
            and (idle_s > settings["idle_max_s"] or cut_off_s > settings["unreachable_max_s"])
        ):
            self._say(agent, {"kind": "bye", "reason": "idle or cut off for too long"})
            self.cloud.compute.lose(instance_id)
            busy = True
        return busy

    def _read_inbox(self, agent: Agent) -> None:
        if agent.machine.id not in self.frozen:
            super()._read_inbox(agent)

    def _run(self, agent: Agent, key: tuple[str, int], a: dict[str, Any]) -> None:
        super()._run(agent, key, a)
        started, ends = agent.running[key]
        agent.running[key] = (started, min(ends, started + a["timeout_s"]))

    def _finish(self, agent: Agent, key: tuple[str, int], started: float | None, outcome: str | None = None) -> None:
        job = self.stores.jobs.get(key[0])
        if outcome is None and job is not None and float(job.spec.command.split()[1]) > job.spec.timeout_s:
            outcome = "timed_out"
        super()._finish(agent, key, started, outcome)

    def _say(self, agent: Agent, ping: dict[str, Any]) -> None:
        if (kept := self.mute.get(agent.machine.id)) is not None:
            kept.append(ping)
        else:
            super()._say(agent, ping)

    # -- what must be

    def settle(self) -> None:
        """Everything that is due at this moment; if that never ends, functions wake each other for ever."""
        rounds, busy = 0, True
        while busy:
            busy = self._machines() | self._deliver() | self._tick()
            rounds += 1
            if rounds == ROUNDS_MAX:
                raise AssertionError(f"functions wake each other for ever, last by {self.cloud.calls.made[-5:]}")
        assert not (broken := invariants.always(self.world())), broken

    def world(self) -> invariants.World:
        """The maximum is judged at each launch: it may be lowered while hosts are there, and strangers come uninvited."""
        return replace(super().world(), hosts_max=0)

    def audit(self, launch: Launch) -> None:
        """No launch takes the pool beyond what it might have at any time since the launch was decided."""
        rows = {(host.launch, host.launch_index): host for host in self.hosts()}
        held = [rows.get((machine.launch.id, machine.index)) for machine in self.cloud.compute.alive()]
        counted = sum(host is not None and host.state in COUNTED for host in held)
        before = [most for at, most in self._maxima if at <= launch.created_at][-1:]
        allowed = max(before + [most for at, most in self._maxima if at > launch.created_at])
        if counted > allowed:
            self.broken.append(f"{counted} hosts after {launch.id}, and the pool may have {allowed}")

    def audit_groups(self, what: str) -> None:
        """No group is asked for more than the pool might have at any time since a function that runs may have decided it."""
        states = {host.instance_id: host.state for host in self.hosts()}
        alive = {machine.id for machine in self.cloud.compute.alive()}
        counted = 0
        for group in self.cloud.groups.groups.values():
            counted += max(0, group.desired - len(group.members))
            counted += sum(i in alive and states.get(i, HostState.LAUNCHING) in COUNTED for i in group.members)
        since = self.now - FUNCTION_S
        before = [most for at, most in self._maxima if at <= since][-1:]
        allowed = max(before + [most for at, most in self._maxima if at > since])
        if counted > allowed:
            self.broken.append(f"{counted} hosts after {what}, and the pool may have {allowed}")

    def surprises(self) -> list[str]:
        """What nothing that went wrong here explains."""
        return [*self.broken, *self._failed_passes(), *self._odd_stories()]

    def launch_calls(self) -> dict[str, list[tuple[float, int]]]:
        """When they were sent: a call that the network keeps for seconds meets others at EC2, which then throttles."""
        return self.asked

    def _failed_passes(self) -> Iterator[str]:
        for notice in self.cloud.notices.published:
            known = any(error in notice["reason"] for error in OUR_ERRORS)
            if notice["type"] in ("pass_failed", "tick_failed") and not known:
                yield f"{notice['type']}: {notice['reason']}"

    def _odd_stories(self) -> Iterator[str]:
        """Lines may be missing, where a function died; those that are there must be a way through the machine."""
        told: dict[str, list[Line]] = self.stores.story._lines  # every subject's
        for subject, written in told.items():
            lines = distinct(written)  # what was not answered was written again
            states: Any = HostState if subject.startswith("host-") else JobState if subject.startswith("job-") else None
            if states is None or subject.startswith(ADOPTED):  # an orphan that lives on is adopted again
                continue
            machine = host_machine.MACHINE if states is HostState else job_machine.MACHINE
            ways = reachable(machine.transitions)
            seen = [line for line in lines if line.event in set(states)]
            for earlier, later in pairwise(seen):
                if states(later.event) not in ways[states(earlier.event)] and later.at - earlier.at > FUNCTION_S:
                    yield f"{subject} was {earlier.event} and then {later.event}: {[(x.at, x.event, x.reason) for x in lines]}"
            yield from (f"{subject} became {x.event} for no reason" for x in lines if not x.reason)


def reachable(transitions: dict[Any, dict[Any, Any]]) -> dict[Any, set[Any]]:
    """state → every state that can follow it, by one transition or more."""
    ways = {state: set(follow.values()) for state, follow in transitions.items()}
    for _ in ways:
        for state, follow in ways.items():
            ways[state] = follow.union(*(ways[other] for other in follow))
    return ways


def unexplained(job: Job, began: int, cancelled: bool) -> str | None:
    """Why this final state cannot be, or None."""
    if not job.reason:
        return f"{job.id} is {job.state} for no reason"
    if job.state is JobState.CANCELLED and not cancelled:
        return f"{job.id} is cancelled and nobody asked for it"
    if job.state is JobState.FAILED and LACKING in job.spec.secrets.values():
        return None if "there is none of this name" in job.reason and not began else f"{job.id}: {job.reason}"
    if job.state is JobState.FAILED and not job.spec.command.startswith("fail"):
        return f"{job.id} failed and its command does not: {job.reason}"
    if job.state is JobState.SUCCEEDED and job.spec.command.startswith("fail"):
        return f"{job.id} succeeded and its command fails"
    if job.state in (JobState.SUCCEEDED, JobState.FAILED, JobState.TIMED_OUT) and not began:
        return f"{job.id} is {job.state} and never began"
    if job.state is JobState.SKIPPED and job.spec.queue_ttl_s is None and not job.spec.after:
        return f"{job.id} is skipped, may wait for ever, and waited for nobody"
    # A launch that stayed in doubt for so long that what it brought may have come and gone (launch_answers.looked_up): nobody can tell.
    forgotten = job.reason.startswith("EC2 does not list its instance any more")
    told = job.gang and bool(job.peers)  # hosts that were told to begin may have ended before they did
    if job.state is JobState.LOST and not began and job.faults < 10 and not forgotten and not told:
        return f"{job.id} is lost and never began: {job.reason}"
    return None


def carried_by(hosts: list[Host]) -> dict[str, list[str]]:
    """job → the hosts whose rows carry it."""
    carried: dict[str, list[str]] = {}
    for host in hosts:
        for a in host.assignments:
            carried.setdefault(a.job, []).append(host.id)
    return carried
