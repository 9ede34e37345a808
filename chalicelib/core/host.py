"""A host: our record of an EC2 instance, its state machine, and the attempts placed on it.

Nobody ever saves a host row whole: a pass SETs single assignments, pings REMOVE them, `seen_at` is written without condition.
A host is idle when it carries no assignment; `freed_at` is when it last lost one, so idleness needs no write of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from chalicelib.core.installs import Installed
from chalicelib.core.job_spec import Reservation
from chalicelib.core.machine import Machine


class HostState(StrEnum):
    LAUNCHING = "launching"
    READY = "ready"
    DRAINING = "draining"
    UNHEALTHY = "unhealthy"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


class HostEvent(StrEnum):
    HELLO = "hello"  # its agent speaks
    DRAIN = "drain"  # gets no new work
    RECAPTURE = "recapture"  # gets work again
    SICKEN = "sicken"  # no longer trusted
    RETIRE = "retire"  # is being terminated
    VANISH = "vanish"  # EC2 has it no more, or never had it


_S, _E = HostState, HostEvent

TRANSITIONS: dict[HostState, dict[HostEvent, HostState]] = {
    _S.LAUNCHING: {
        _E.HELLO: _S.READY,
        _E.SICKEN: _S.UNHEALTHY,
        _E.RETIRE: _S.TERMINATING,
        _E.VANISH: _S.TERMINATED,
    },
    _S.READY: {_E.DRAIN: _S.DRAINING, _E.SICKEN: _S.UNHEALTHY, _E.VANISH: _S.TERMINATED},
    _S.DRAINING: {
        _E.RECAPTURE: _S.READY,
        _E.SICKEN: _S.UNHEALTHY,
        _E.RETIRE: _S.TERMINATING,
        _E.VANISH: _S.TERMINATED,
    },
    _S.UNHEALTHY: {_E.RETIRE: _S.TERMINATING, _E.VANISH: _S.TERMINATED},
    _S.TERMINATING: {_E.VANISH: _S.TERMINATED},
    _S.TERMINATED: {},
}

MACHINE = Machine("host", TRANSITIONS)
after, sources, target = MACHINE.after, MACHINE.sources, MACHINE.target
WORKING: frozenset[HostState] = frozenset({_S.LAUNCHING, _S.READY})  # may be given assignments
LIVE: frozenset[HostState] = frozenset(_S) - {_S.TERMINATED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """Where and how an instance can be had. `zone` None: any of the region; `market`: "spot" or "on_demand".

    `max_price_usd_h`: above it EC2 takes a spot instance back, or does not give it; None: the on-demand price.
    """

    region: str
    instance_type: str
    market: str = "on_demand"
    zone: str | None = None
    max_price_usd_h: float | None = None

    @property
    def key(self) -> str:
        return f"{self.region}/{self.zone or '*'}/{self.instance_type}/{self.market}"

    def asked_with(self, image: str | None, template: str | None) -> str:
        """What EC2 refused, where it refused: the offering with an image and a launch template of the pool's own is another request."""
        price = None if self.max_price_usd_h is None else f"{self.max_price_usd_h:g}"
        return " ".join(said for said in (self.key, price, image, template) if said)


ADOPTED = "host-adopted-"  # how ids of hosts begin whose instance was found without a row

GIVEN_BACK = 0.0  # an `accepted_at`: accepted once, then given back for want of URLs that still hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """An attempt placed on a host. `inline`: it went along in the user data, so the host knows it from boot.

    Of a gang: `rank` is this host's number among its members; `ready_at`: since when it has the claim and waits for the others;
    `address`: where its peers reach it.
    """

    job: str
    attempt: int
    cpu: float
    memory_mib: int
    slots: int
    timeout_s: int
    assigned_at: float
    inline: bool = False
    accepted_at: float | None = None
    started_at: float | None = None
    cancel: bool = False
    family: str = ""
    owner: str = ""
    rank: int | None = None
    ready_at: float | None = None
    address: str | None = None

    @property
    def key(self) -> str:
        return f"{self.job}#{self.attempt}"

    @property
    def held(self) -> bool:
        """Whether its host has all that it needs to begin it, or has begun."""
        return bool(self.accepted_at) or self.started_at is not None

    @property
    def reservation(self) -> Reservation:
        return Reservation(cpu=self.cpu, memory_mib=self.memory_mib, slots=self.slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The record of a host. Times are epoch seconds; cpu in cores; memory in MiB (what jobs may reserve of it)."""

    id: str
    pool: str
    state: HostState
    offering: Offering
    launch: str
    launch_index: int
    cpu: float
    memory_mib: int
    slots: int
    launched_at: float
    generation: int = 0
    instance_id: str | None = None
    userid: str | None = None  # "<role id>:<instance id>"
    entered_at: float = 0.0  # when it entered its present state
    ready_at: float | None = None
    seen_at: float | None = None
    freed_at: float | None = None
    rung_at: float | None = None
    retire_sent_at: float | None = None
    secrets_at: float | None = None  # since when its inbox holds values of secrets; None: it holds none
    interrupt_at: float | None = None  # when EC2 takes it back: the earliest moment that anybody named
    rebalance_at: float | None = None  # when EC2 said that it may soon take it back
    recorded_at: float | None = None  # when EC2's answer to its launch was written down
    domain: str | None = None  # the owner whose jobs it serves, since its first assignment; None: it has served nobody
    holds: frozenset[str] = frozenset()  # SHA-256 sums of uploads that its agent keeps
    installs: tuple[Installed, ...] = ()  # what it ran for jobs, as its agent told …
    installs_at: float = 0.0  # … at this time of its own
    missed_lists: int = 0  # how often in a row EC2's list did not have it
    reason: str = ""
    assignments: tuple[Assignment, ...] = ()

    @property
    def serves(self) -> str | None:
        """Whose host it is. A row that was written before hosts had a domain says it by what it carries."""
        return self.domain or next((a.owner for a in self.assignments if a.owner), None)

    @property
    def idle_since(self) -> float | None:
        """Since when it has had nothing to do; None while it has something."""
        if self.assignments:
            return None
        return max(self.freed_at or 0.0, self.ready_at or self.launched_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One RunInstances request, kept byte for byte until EC2's answer is on the host rows.

    `sent_at`: when the last function took it upon itself to send it. While that one may still be at it no other does: EC2 does not
    remember a refusal by its token, so of two requests one could be refused, and its jobs given away, while the other starts them.
    0: nobody is at it, and whoever may sends it at once. `doubt_at`: when it was last sent by a function that did not say what became of
    it; 0: EC2 answered each time, or was never asked. `tries`: grows when EC2 would not launch so many and the row was narrowed to
    the first of its hosts; what was asked for before was refused and is never asked for again. `whole`: of fewer hosts it is of no use.
    """

    id: str
    pool: str
    offering: Offering
    hosts: tuple[str, ...]
    user_data: bytes
    image: str | None = None
    template: str | None = None  # a launch template other than the stage's own: "name" or "name:version"
    created_at: float
    sent_at: float
    doubt_at: float = 0.0
    tries: int = 1
    whole: bool = False
    recorded: bool = False

    @property
    def token(self) -> str:
        """EC2's ClientToken: one for each set of hosts that was asked for."""
        return self.id if self.tries == 1 else f"{self.id}-{self.tries}"
