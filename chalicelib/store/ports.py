"""What the control plane asks of its tables. Two families keep these promises: the PynamoDB stores and `memory.py`; one contract
suite holds them both to it.

A write that finds another state than it names returns None or False: a lost race is an outcome. Reads are strongly consistent
unless their docstring says otherwise. All times are passed in; nothing here reads a clock. Anything that DynamoDB itself refuses
(throttled, unreachable, denied) raises `StoreUnavailable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chalicelib.core.agenda import Item
from chalicelib.core.arrays import Array, ArrayEvent, Results, Tally
from chalicelib.core.backlog import Entry
from chalicelib.core.bucket import Ask, Taken
from chalicelib.core.calendar import Booking
from chalicelib.core.durations import Learned
from chalicelib.core.family import Family
from chalicelib.core.host import Assignment, Host, HostEvent, Launch
from chalicelib.core.installs import Installed
from chalicelib.core.job import End, Finish, Job, JobEvent, JobState
from chalicelib.core.pool import Pool, PoolSpec, Prospects
from chalicelib.core.progress import Progress
from chalicelib.core.quota import OwnerQuota, Quota
from chalicelib.core.schedule import Fired, Schedule
from chalicelib.core.settings import Defaults
from chalicelib.core.story import Line
from chalicelib.core.telling import Telling

HOST_FACTS = frozenset(
    {"seen_at", "rung_at", "retire_sent_at", "interrupt_at", "rebalance_at", "missed_lists", "holds", "secrets_at"}
)  # what Hosts.touch sets
PASS_FACTS = frozenset(
    {"looked_at", "list_due_at", "wake_at", "supply", "scaling", "expectation", "clocks", "asked"}
)  # what Registry.note_pass sets

TOKEN_ID_DIGITS = 16  # of a token's SHA-256 that are its id: 64 bits


def must_say(untold: bool | None) -> None:
    """Who ends a job must say whether somebody is to be told of it: forgotten, nobody would ever hear. Raises TypeError."""
    if untold is None:
        raise TypeError("a move into a final state must say whether it is `untold`")


def only(allowed: frozenset[str], facts: Mapping[str, Any]) -> None:
    """Refuse, with a TypeError, a fact that no row has: a misspelt name must not become a new attribute."""
    if unknown := facts.keys() - allowed:
        raise TypeError(f"unknown fact {', '.join(sorted(unknown))}; known are {', '.join(sorted(allowed))}")


@dataclass(frozen=True, slots=True)
class KeyHold:
    """What an idempotency key stands for: the job it was first used for, and the hash of that request's body."""

    job: str
    body_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token's row: known only by the SHA-256 of its text."""

    sha256: str
    role: str  # submitter | operator | admin
    owner: str
    created_at: float
    expires_at: float | None = None
    note: str = ""  # what it is for
    by: str = ""  # whose token made it

    @property
    def id(self) -> str:
        """Its name among people: says which it is, and does not open anything."""
        return f"token-{self.sha256[:TOKEN_ID_DIGITS]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a pool was at a minute (`at`: its first second): names and numbers as `control/samples.py` writes them."""

    at: float
    values: Mapping[str, Any]


class Jobs(Protocol):
    def put(self, job: Job, expires_at: float | None = None) -> bool:
        """Create; False if the id exists. Active until it ends (`active`). `expires_at`: of one that has ended."""

    def get(self, job_id: str) -> Job | None: ...

    def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Those that exist, by id; batched by 100."""

    def move(
        self,
        job_id: str,
        event: JobEvent,
        *,
        attempt: int,
        at: float,
        reason: str,
        host: str | None = None,
        userid: str | None = None,
        finish: Finish | None = None,
        charge: bool = False,
        fault: bool = False,
        interruption: bool = False,
        expires_at: float | None = None,
        untold: bool | None = None,
        rank: str | None = None,
        rank_before: str | None = None,
        members: tuple[str, ...] | None = None,
        peers: tuple[str, ...] | None = None,
    ) -> Job | None:
        """Apply `event` if the job is in one of `sources(event)`, at `attempt` and (when given) has `rank_before`; the job then, or None.

        Sets state, `entered[state] = at`, reason; empties `waiting_for`. host, userid, finish, rank: set when given. RELEASE and RETRY
        raise `attempt` by one, RETRY, DUE and UNBLOCK set retried_at; `charge` raises `charged`, `fault` raises `faults`,
        `interruption` raises `interruptions`. A final state leaves the `by_active` index and sets `expires_at` (when given). `untold`:
        whether somebody is to be told of the end, so that it is found by `untold` from this very write on; who ends a job must say so
        (else TypeError).

        Of a gang: `members`, set when given, forgets the ends, the cause and the peers of the attempt before; with `peers`, which is set,
        the job must have neither a cause nor `cancel_requested`.
        """

    def note_end(self, job_id: str, rank: int, end: End, *, attempt: int, state: JobState) -> Job | None:
        """Note how a member of a gang ended, if the job is in that state at that attempt and nothing is noted of that rank; the job
        then, or None. The first that is no success is the `cause`."""

    def untold(self, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        """Ids of jobs of all pools that have ended and whose listeners have not all been told. Eventually consistent."""

    def progressed(self, job_id: str, was: Progress, now: Progress) -> bool:
        """What a job that has not ended says of itself; False if another has written since `was` was read, or it has ended."""

    def tell_again(self, job_id: str, was: Telling, now: Telling) -> bool:
        """Say how far the telling of an ended job has come; False if another has said so since `was` was read.

        Given up: no more `untold`.
        """

    def delivered(self, job_id: str, at: float) -> bool:
        """All who wanted to know of its end have been told; False if that was said before."""

    def rerank(self, job_id: str, *, attempt: int, before: str, rank: str) -> Job | None:
        """Another place in the queue for a job that has not ended, is at `attempt` and has the rank `before`; the job then, or None."""

    def request_cancel(self, job_id: str) -> Job | None:
        """Set the flag on a job that has not ended; None if it has, or is unknown."""

    def wait_for(self, job_id: str, attempt: int, sentence: str) -> None:
        """Say what a pending job waits for; does nothing if it is no longer pending at `attempt`."""

    def active(self, pool: str, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        """Ids of jobs that have not ended, oldest first, and the cursor of the next page. Eventually consistent."""

    def active_of(self, owner: str, most: int = 1_000_000) -> int:
        """How many jobs of an owner have not ended, in all pools; beyond `most` it stops counting. Eventually consistent."""

    def of_pool(self, pool: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        """Ids of a pool's jobs, newest first, and the cursor of the next page. Eventually consistent.

        A page may have fewer than `limit` ids, even none, and still a cursor: other rows stand in the same index."""

    def of_owner(self, owner: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        """The same of an owner's jobs, whatever their pool."""

    def active_newest(self, pool: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        """The same of a pool's jobs that have not ended."""

    def hold_key(self, owner: str, key: str, body_hash: str, job_id: str, expires_at: float) -> KeyHold:
        """Take an idempotency key for `job_id`, or learn what it already stands for. The first taker wins, for ever the same answer."""


class Arrays(Protocol):
    def put(self, array: Array) -> bool:
        """Create; False if the id exists. Active until it ends."""

    def get(self, array_id: str) -> Array | None: ...

    def get_many(self, array_ids: Iterable[str]) -> dict[str, Array]:
        """Those that exist, by id; batched by 100."""

    def move(
        self,
        array_id: str,
        event: ArrayEvent,
        *,
        at: float,
        reason: str,
        expires_at: float | None = None,
        untold: bool | None = None,
    ) -> Array | None:
        """Apply `event` if the array is in one of `sources(event)`; the array as it is then, or None. As `Jobs.move`."""

    def untold(self, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        """As `Jobs.untold`."""

    def tell_again(self, array_id: str, was: Telling, now: Telling) -> bool:
        """As `Jobs.tell_again`."""

    def delivered(self, array_id: str, at: float) -> bool:
        """As `Jobs.delivered`."""

    def request_cancel(self, array_id: str) -> Array | None:
        """Set the flag on an array that has not ended; None if it has, or is unknown."""

    def expire(self, array_id: str) -> Array | None:
        """Say of an open array that it has waited for too long; None if it is not open."""

    def all_made(self, array_id: str) -> Array | None:
        """Say that every element has a row; the array as it is then, None if it is unknown."""

    def wait_for(self, array_id: str, sentence: str) -> None:
        """Say what an open array waits for; does nothing if it is not open any more."""

    def note_results(self, array_id: str, results: Results) -> None:
        """Say where its merged results lie; does nothing if there is no such array."""

    def active(self, pool: str, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        """Ids of arrays that have not ended, oldest first, and the cursor of the next page. Eventually consistent."""

    def active_of(self, owner: str, limit: int = 100) -> list[str]:
        """The first ids of an owner's arrays that have not ended, in all pools, oldest first. Eventually consistent."""

    def of_pool(self, pool: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        """Ids of a pool's arrays, newest first, and the cursor of the next page. Eventually consistent."""

    def count(self, array_id: str, index: int, state: JobState, expires_at: float) -> int:
        """Note that an element has ended so; how many of its chunk (`core.arrays.CHUNK`) have. Again changes nothing."""

    def tally(self, array_id: str) -> Tally:
        """Which elements were noted, and how they ended."""


class Waiters(Protocol):
    def add(self, pairs: Sequence[tuple[str, str]], expires_at: float) -> None:
        """(who waits, whom it waits for), batched. Again changes nothing."""

    def await_end(self, subject: str) -> bool:
        """Flag a job or an array as awaited; False if it has ended, or is unknown: then nobody will look for who waits for it."""

    def of(self, subject: str, after: str = "", limit: int = 1000) -> list[str]:
        """Who waits for a job or an array, by id, greater than `after`."""


class Backlog(Protocol):
    def put(self, entry: Entry) -> None:
        """Put (again): the same pool and rank is the same entry."""

    def put_if_absent(self, entry: Entry) -> bool:
        """Put an array's entry; False if there is one of its rank, which knows better how far it is."""

    def put_many(self, entries: Sequence[Entry]) -> None: ...

    def remove(self, entries: Sequence[Entry]) -> None:
        """Gone afterwards, whether they were there or not; batched by 25."""

    def head(self, pool: str, limit: int) -> list[Entry]:
        """The first `limit` entries by rank. An array's is one of them (`core.arrays.unfolded`)."""

    def advance(self, entry: Entry, next_index: int) -> bool:
        """Say that all elements of an array below `next_index` have rows; it never goes back. False if the entry is gone."""

    def has(self, entry: Entry) -> bool: ...

    def find(self, entry: Entry) -> Entry | None:
        """The entry of this pool and rank as it is in the table."""


class Submissions(Protocol):
    def create(self, jobs: Sequence[Job]) -> set[str]:
        """Create jobs and the backlog entries of the pending ones; the ids of those that existed, whose rows stay as they are.

        As few requests as DynamoDB allows, and in no order: a pass may see an entry a moment before its job. A job that existed may have
        a second entry now.
        """


class Hosts(Protocol):
    def create(self, hosts: Sequence[Host]) -> None:
        """Rows of a new launch (fresh ids, so no condition), batched by 25. A row's assignments are a map keyed `job#attempt`."""

    def register(self, host: Host) -> bool:
        """The row of one host that nobody launched by name; False if its id exists."""

    def get(self, pool: str, host_id: str) -> Host | None: ...

    def of_instance(self, instance_id: str) -> list[Host]:
        """The rows of an instance, whatever their pool: found by an index that is a moment late, each read as it is."""

    def of_pool(self, pool: str) -> tuple[list[Host], list[Launch]]:
        """Every host row and every launch row of the pool, all pages."""

    def put_launch(self, launch: Launch) -> bool:
        """False if it exists."""

    def forget(self, pool: str, ids: Sequence[str]) -> None:
        """Delete rows of hosts and launches that are over; batched by 25. DynamoDB itself may take days after `expires_at`."""

    def resend_launch(self, launch: Launch, again: Launch) -> bool:
        """Say that it is sent again: `sent_at` and `doubt_at` of `again`.

        False if another did so since `launch` was read, or it is recorded.
        """

    def narrow_launch(self, launch: Launch, narrower: Launch) -> bool:
        """Let the row ask for `narrower.hosts` only, under `narrower.token`, which nobody ever sent, in one write.

        False if another sends it since `launch` was read, or it is recorded.
        """

    def release_launch(self, launch: Launch) -> bool:
        """Say that nobody is sending it (`sent_at` = 0); False if another sends it since `launch` was read, or it is recorded."""

    def settle_launch(self, launch: Launch, expires_at: float) -> bool:
        """Mark it recorded and drop the user data; False if it already was."""

    def record(self, pool: str, host_id: str, instance_id: str, userid: str, at: float) -> bool:
        """Which instance it is, since when we know; True if it is that now (or already was), False if it is another or no row."""

    def move(
        self,
        pool: str,
        host_id: str,
        event: HostEvent,
        *,
        at: float,
        reason: str,
        empty: bool = False,
        expires_at: float | None = None,
    ) -> Host | None:
        """Apply `event` if the row is in one of `sources(event)`; with `empty`, only if it carries no assignment.

        Sets state, entered_at, reason; HELLO also ready_at and seen_at.
        """

    def assign(self, pool: str, host_id: str, assignment: Assignment, *, share: bool = False) -> bool:
        """SET one assignment, and its owner as the host's domain, if the host is launching or ready, does not carry it yet, and is that
        owner's or nobody's; with `share` also where it is another's and carries nothing."""

    def unassign(self, pool: str, host_id: str, key: str, at: float) -> Host | None:
        """REMOVE one assignment and set freed_at; the row then, or None if it did not carry it."""

    def mark(
        self,
        pool: str,
        host_id: str,
        key: str,
        *,
        accepted_at: float | None = None,
        started_at: float | None = None,
        cancel: bool = False,
        ready_at: float | None = None,
        address: str | None = None,
    ) -> bool:
        """Set single fields of one assignment; False if the host does not carry it."""

    def touch(self, pool: str, host_id: str, **facts: Any) -> None:
        """SET facts without other condition than that the row exists: seen_at, rung_at, retire_sent_at, interrupt_at, rebalance_at,
        missed_lists, holds, secrets_at.

        None removes a fact.
        """

    def note_installs(self, pool: str, host_id: str, installs: tuple[Installed, ...], at: float) -> bool:
        """SET what its agent told of installs at its time `at`; False where a later word is known already, or there is no such host."""


class Claims(Protocol):
    def take(self, userid: str, job_id: str, attempt: int, *, by: str, at: float, expires_at: float) -> bool:
        """The one write that lets an attempt begin (by "agent") or takes it back (by "control"); True for the winner only."""

    def holder(self, userid: str, job_id: str, attempt: int) -> str | None:
        """Who won: "agent", "control" or nobody yet."""


class Registry(Protocol):
    def pools(self) -> list[Pool]: ...

    def pool(self, name: str) -> Pool | None: ...

    def put_pool(
        self,
        name: str,
        spec: PoolSpec,
        *,
        version: int | None,
        settings: Mapping[str, Any] | None = None,
        defaults_version: int = 0,
    ) -> Pool | None:
        """Create (version None, only if absent) or replace the spec of that version; None if it lost the race.

        `settings` and `defaults_version` say what the spec was made of; they are replaced with it. Never touches the pass's own
        facts, nor calendar and interest.
        """

    def put_calendar(self, name: str, calendar: Sequence[Booking], *, version: int) -> Pool | None:
        """Replace the calendar of that version; None if it lost the race, or there is no such pool."""

    def note_interest(self, name: str, people: int) -> None:
        """Set how many people are looking; no new version. Does nothing if there is no such pool."""

    def note_prospects(self, name: str, prospects: Prospects) -> None:
        """Replace what is expected of spot prices; no new version. Does nothing if there is no such pool."""

    def looking(self, pool: str, viewer: str, expires_at: float) -> None:
        """Somebody is looking at this pool's front end until then; again replaces."""

    def lookers(self, pool: str, now: float, most: int = 100_000) -> int:
        """How many are looking now, all pages; beyond `most` it may stop counting."""

    def defaults(self) -> Defaults:
        """The stage's own defaults of pools; version 0 and empty where nobody ever set any."""

    def put_defaults(self, defaults: Defaults) -> bool:
        """Write them if the row is at the version before; False if it lost the race."""

    def begin_pass(self, name: str) -> Pool | None:
        """Raise `pass_no` by one and read the row, in one write; None if there is no such pool."""

    def pass_no(self, name: str) -> int | None: ...

    def note_pass(self, name: str, pass_no: int, **facts: Any) -> bool:
        """SET some of `PASS_FACTS`, only if `pass_no` is still the row's (the fence). None removes."""

    def token(self, sha256: str) -> Token | None: ...

    def put_token(self, token: Token) -> bool:
        """False if it exists."""

    def tokens(self, beginning: str = "") -> list[Token]:
        """All, or those whose SHA-256 begins so."""

    def remove_token(self, sha256: str) -> bool:
        """False if it was not there (any more)."""

    def note_use(self, sha256: str, at: float, *, before: float, expires_at: float) -> bool:
        """Remember that a token was used, unless a use after `before` is remembered; whether it was written."""

    def uses(self) -> dict[str, float]:
        """SHA-256 → when it was last used, of tokens that were."""

    def setting(self, name: str) -> Mapping[str, Any] | None: ...

    def put_setting(self, name: str, value: Mapping[str, Any]) -> None: ...


class Owners(Protocol):
    def quotas(self) -> list[OwnerQuota]:
        """Of all owners that were ever given one, by name."""

    def quota(self, owner: str) -> OwnerQuota:
        """An owner's; version 0 and no limit where nobody ever set one."""

    def put_quota(self, owner: str, quota: Quota, *, version: int, by: str, at: float) -> OwnerQuota | None:
        """Replace that version; None if it lost the race."""

    def spend(self, owner: str, day: str, attempt: str, usd: float, expires_at: float) -> None:
        """Note what an attempt (`<job>#<attempt>`) that ended on a day has cost; again replaces."""

    def spent(self, owner: str, day: str, enough: float) -> float:
        """What the attempts that ended on a day have cost; beyond `enough` it may stop adding."""


class Families(Protocol):
    def all(self) -> list[Family]:
        """The newest version of each, by name."""

    def get(self, name: str, version: int | None = None) -> Family | None:
        """A version of it; None: the newest."""

    def versions(self, name: str, limit: int = 100) -> list[Family]:
        """The newest first."""

    def put(self, family: Family) -> bool:
        """Keep it as the version after the newest; False if that is not the one before it."""


class Schedules(Protocol):
    def all(self) -> list[Schedule]: ...

    def get(self, name: str) -> Schedule | None: ...

    def put(self, schedule: Schedule, *, version: int | None) -> Schedule | None:
        """Create (version None, only if absent) or replace what was said and `next_at` of that version; None if it lost the race.

        Never touches `last_job` and `last_at`.
        """

    def delete(self, name: str, *, version: int) -> bool:
        """False if it is not at that version, or not there. Its fires stay."""

    def advance(self, name: str, at: float, next_at: float | None, last_job: str | None) -> bool:
        """The fire of `at` is done: set `last_at`, `next_at`, and `last_job` if given; False if another one is next."""

    def ran(self, name: str, at: float, job: str) -> None:
        """Somebody had it run: set `last_at` and `last_job`. Does nothing if there is no such schedule."""

    def decide(self, fired: Fired, expires_at: float) -> Fired:
        """Write down what becomes of a fire, or learn what was written down. The first writer wins, for ever the same answer."""

    def refuse(self, fired: Fired, reason: str) -> None:
        """What was to be submitted could not be accepted."""

    def fired(self, name: str, limit: int = 50) -> list[Fired]:
        """Its last fires, the newest first."""

    def fired_at(self, name: str, at: float) -> Fired | None:
        """What became of the fire of the clock that was due then."""


class Agenda(Protocol):
    def put(self, items: Sequence[Item]) -> None:
        """Put (again): the same item is one."""

    def due(self, until: float, limit: int) -> list[Item]:
        """The first `limit` that are due by then, by time."""

    def remove(self, items: Sequence[Item]) -> None:
        """Gone afterwards, whether they were there or not."""


class Story(Protocol):
    def append(self, lines: Sequence[Line], expires_at: float) -> None:
        """Batched by 25. Two lines of one subject at one moment are both kept."""

    def of(self, subject: str, limit: int = 100) -> list[Line]:
        """The last `limit` lines, oldest first."""


class Durations(Protocol):
    def add(self, pool: str, day: str, sums: Mapping[str, Learned], expires_at: float) -> None:
        """Add to the sums of a day ("2026-11-21"), each key in one write that reads nothing."""

    def of(self, pool: str, since_day: str) -> dict[str, Learned]:
        """The sums of all days from `since_day` on, by key. Eventually consistent."""


class Samples(Protocol):
    def put(self, pool: str, at: float, values: Mapping[str, Any], expires_at: float) -> None:
        """Keep the values of the minute that `at` lies in; the last put of a minute stays."""

    def of(self, pool: str, since: float, until: float, limit: int) -> list[Sample]:
        """The newest `limit` samples of the minutes from `since`'s to `until`'s, oldest first. Eventually consistent."""


class Shares(Protocol):
    def advance(self, pool: str, share: str, cost: float, *, clock: float, now: float, expires_at: float) -> float:
        """Ask for `cost` more of virtual time, and learn where it begins: where the share's last request ended, and not before `clock`.

        What a row whose `expires_at` lies before `now` says is forgotten. `core/fairness.py` says what for.
        """


class Buckets(Protocol):
    def take(self, region: str, asks: Sequence[Ask], now: float) -> Taken:
        """Tokens for launches in a region, from the one bucket that all pools share: as many as are asked for, or as there are.

        Who is overtaken again and again by others gets none, and may come again in half a second.
        """


@dataclass(frozen=True, slots=True)
class Stores:
    """All tables of a stage."""

    jobs: Jobs
    arrays: Arrays
    waiters: Waiters
    backlog: Backlog
    submissions: Submissions
    hosts: Hosts
    claims: Claims
    registry: Registry
    families: Families
    schedules: Schedules
    agenda: Agenda
    story: Story
    durations: Durations
    samples: Samples
    shares: Shares
    buckets: Buckets
    owners: Owners
