"""What a pass decided: actions with reasons, in the order in which they are to be performed.

An action is a value; `control/perform.py` performs it and `spillway plan` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.core.backlog import Entry
from chalicelib.core.host import Assignment, Host, Launch, Offering
from chalicelib.core.instance import Instance
from chalicelib.core.pool import Scaling, Supply


@dataclass(frozen=True, slots=True)
class Resume:
    """Send a launch again, byte for byte: nobody knows whether EC2 got it."""

    launch: Launch
    reason: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Terminate an instance of ours that no row knows."""

    instance: Instance
    reason: str


@dataclass(frozen=True, slots=True)
class Missed:
    """EC2's list has or has not this host; `missed_lists` is its new count."""

    host: Host
    missed_lists: int
    reason: str


@dataclass(frozen=True, slots=True)
class Vanish:
    """EC2 has this host no more, or never had it."""

    host: Host
    reason: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Take an attempt off a host that is gone: back to the backlog if it never began."""

    host: Host
    assignment: Assignment
    reason: str


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Take an attempt back from a host that is not trusted, or because it was cancelled, if it has not begun there."""

    host: Host
    assignment: Assignment
    reason: str


@dataclass(frozen=True, slots=True)
class Sicken:
    host: Host
    reason: str


@dataclass(frozen=True, slots=True)
class Drain:
    host: Host
    reason: str


@dataclass(frozen=True, slots=True)
class Recapture:
    host: Host
    reason: str


@dataclass(frozen=True, slots=True)
class Retire:
    """Terminate: the row first, EC2 second. On a host that is terminating already: tell EC2 again."""

    host: Host
    reason: str


@dataclass(frozen=True, slots=True)
class Expire:
    """End a waiting job that was to wait no longer."""

    entry: Entry
    reason: str


@dataclass(frozen=True, slots=True)
class Assign:
    entry: Entry
    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """Launch hosts of one offering in one request; `loads` is what each takes along in its user data."""

    offering: Offering
    loads: tuple[tuple[Entry, ...], ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Gather:
    """Place a gang: on these hosts that are there, and on so many `missing` ones, which are launched of one offering in one request."""

    entry: Entry
    hosts: tuple[str, ...]
    offering: Offering | None
    missing: int
    reason: str


@dataclass(frozen=True, slots=True)
class Go:
    """Tell all members of a gang to begin: each has the claim and said so. `hosts`, and their `addresses`, by rank."""

    job: str
    attempt: int
    hosts: tuple[Host, ...]
    addresses: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Tell a member of a gang to end what it runs: another one has ended badly, or the job is cancelled."""

    host: Host
    assignment: Assignment
    reason: str


@dataclass(frozen=True, slots=True)
class Resize:
    """Set the desired capacity of an Auto Scaling group, as if nobody left it by the same plan: it is one less for each who has by then.

    `asked_at`: since when what it owes is waited for; `gave_up`: offerings that it serves and did not deliver.
    """

    group: str
    region: str
    before: int
    desired: int
    asked_at: float
    gave_up: tuple[Offering, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Take a dead instance out of its Auto Scaling group, and its place with it."""

    group: str
    region: str
    instance_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ring:
    """Write these hosts' inboxes and ring their doorbells."""

    hosts: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Wipe:
    """Write a host's inbox again, now that something of what it was handed with secrets has begun: without what that needed."""

    host: Host
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """How many hosts are wanted, why, and what that was computed from (name → number, published each minute)."""

    hosts: int
    why: str
    variables: Mapping[str, float] = field(default_factory=dict)
    stepped: bool = False  # whether a policy that goes step by step made a step


Action = (
    Resume
    | Adopt
    | Missed
    | Vanish
    | Settle
    | Reclaim
    | Sicken
    | Drain
    | Recapture
    | Retire
    | Expire
    | Assign
    | Start
    | Gather
    | Go
    | Halt
    | Resize
    | Dismiss
    | Ring
    | Wipe
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`waits`: who was looked at and not placed, with the sentence that says why; `begins`: rank → when one of them is believed to begin,
    where that can be told. `wake_at`: when something falls due next."""

    actions: tuple[Action, ...] = ()
    waits: tuple[tuple[Entry, str], ...] = ()
    begins: Mapping[str, float] = field(default_factory=dict)
    wake_at: float | None = None
    target: Target | None = None
    scaling: Scaling | None = None  # what the pool's row is to remember
    supply: Supply | None = None  # … and of where hosts come from

    @property
    def placed(self) -> list[Entry]:
        """The entries that get a host, one that is there or a new one."""
        on_hosts = [action.entry for action in self.actions if isinstance(action, Assign)]
        loads = [load for action in self.actions if isinstance(action, Start) for load in action.loads]
        gangs = [action.entry for action in self.actions if isinstance(action, Gather)]
        return on_hosts + gangs + [entry for load in loads for entry in load]

    def kinds(self) -> list[type[Action]]:
        return [type(action) for action in self.actions]
