"""The rows of the five tables (docs/contracts.md §2) as PynamoDB models: names, types and keys, nothing else.

A model here is not bound to any table. `connection.bind` makes the bound ones, so that two stages (or a test's thousand) live side by side
in one process. Attributes that are None are absent from the row.
"""

from __future__ import annotations

from typing import Any

from pynamodb.attributes import BinaryAttribute, BooleanAttribute, NumberSetAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection
from pynamodb.models import Model

from chalicelib.core.arrays import Results
from chalicelib.core.calendar import Booking
from chalicelib.core.expectation import Expectation
from chalicelib.core.family import Family
from chalicelib.core.host import Offering
from chalicelib.core.installs import Installed
from chalicelib.core.job import Finish
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec, Prospects, Scaling, Supply
from chalicelib.core.progress import Progress
from chalicelib.core.quota import Quota
from chalicelib.core.schedule import Fired, Schedule
from chalicelib.core.telling import Telling
from chalicelib.store.attributes import Assignments, Ends, Float, Floats, Int, Json, Moment, Sparse


class ByPool(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]  # PynamoDB's hook has no annotations
    """All jobs of a pool, by id and so by time of submission."""

    class Meta:
        index_name = "by_pool"
        projection = KeysOnlyProjection()

    pool = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class ByActive(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]  # as above
    """A pool's jobs that have not ended; sparse: `active_pool` is removed when a job ends, or becomes `#untold` until all are told."""

    class Meta:
        index_name = "by_active"
        projection = KeysOnlyProjection()

    active_pool = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class ByOwner(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]  # as above
    """All jobs of an owner, whatever their pool, by id and so by time of submission."""

    class Meta:
        index_name = "by_owner"
        projection = KeysOnlyProjection()

    owner = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class ByActiveOwner(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]  # as above
    """An owner's jobs that have not ended, of all pools: sparse, `active_owner` is removed when a job ends."""

    class Meta:
        index_name = "by_active_owner"
        projection = KeysOnlyProjection()

    active_owner = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class ByInstance(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]  # as above
    """The host of an instance, whatever its pool: sparse, a row without instance is not in it."""

    class Meta:
        index_name = "by_instance"
        projection = KeysOnlyProjection()

    instance_id = UnicodeAttribute(hash_key=True)


class JobsTable(Model):
    """The keys of the jobs table, which holds three kinds of row: `part` says which."""

    id = UnicodeAttribute(hash_key=True)
    part = UnicodeAttribute(range_key=True)
    pool = UnicodeAttribute(null=True)
    active_pool = UnicodeAttribute(null=True)
    active_owner = UnicodeAttribute(null=True)
    owner = UnicodeAttribute(null=True)
    expires_at = Moment(null=True)
    by_pool = ByPool()
    by_active = ByActive()
    by_owner = ByOwner()
    by_active_owner = ByActiveOwner()


class JobRow(JobsTable):
    """`part` = "job"."""

    owner = UnicodeAttribute()
    spec = Sparse(JobSpec)
    state = UnicodeAttribute()
    submitted_at = Float()
    attempt = Int()
    charged = Int()
    faults = Int(null=True)
    interruptions = Int(null=True)
    retried_at = Float(null=True)
    entered = Floats()
    reason = UnicodeAttribute(default="")
    waiting_for = UnicodeAttribute(null=True)
    cancel_requested = BooleanAttribute(default=False)
    rank = UnicodeAttribute()
    host = UnicodeAttribute(null=True)
    userid = UnicodeAttribute(null=True)
    finish = Json(Finish, null=True)
    members = Json(tuple[str, ...], null=True)
    peers = Json(tuple[str, ...], null=True)
    ends = Ends(null=True)
    cause = Int(null=True)
    array = UnicodeAttribute(null=True)
    element = Int(attr_name="index", null=True)
    awaited = BooleanAttribute(null=True)
    retry_of = UnicodeAttribute(null=True)
    schedule = UnicodeAttribute(null=True)
    origin = Json(dict[str, Any], null=True)
    delivered_at = Float(null=True)
    telling = Json(Telling, null=True)
    progress = Json(Progress, null=True)


class ArrayRow(JobsTable):
    """`part` = "array"."""

    owner = UnicodeAttribute()
    spec = Json(JobSpec)
    size = Int()
    state = UnicodeAttribute()
    submitted_at = Float()
    rank = UnicodeAttribute()
    step_ms = Int()
    listed = BooleanAttribute(default=False)
    entered = Floats()
    reason = UnicodeAttribute(default="")
    waiting_for = UnicodeAttribute(null=True)
    cancel_requested = BooleanAttribute(default=False)
    expired = BooleanAttribute(null=True)
    made = BooleanAttribute(null=True)
    awaited = BooleanAttribute(null=True)
    results = Json(Results, null=True)
    delivered_at = Float(null=True)
    telling = Json(Telling, null=True)


class TallyRow(JobsTable):
    """`part` = "tally#<chunk>" under an array's id: which of these elements have ended, by how they did."""

    succeeded = NumberSetAttribute(null=True)
    failed = NumberSetAttribute(null=True)
    timed_out = NumberSetAttribute(null=True)
    cancelled = NumberSetAttribute(null=True)
    lost = NumberSetAttribute(null=True)
    skipped = NumberSetAttribute(null=True)


class WaiterRow(JobsTable):
    """`part` = "after#<who waits>" under the id that it waits for: nothing but its key and when it expires."""


class KeyRow(JobsTable):
    """`part` = "key": an idempotency key."""

    job = UnicodeAttribute()
    body_hash = UnicodeAttribute()


class StoryRow(JobsTable):
    """`part` = "story#…": one line about the subject `id`."""

    at = Float()
    event = UnicodeAttribute()
    reason = UnicodeAttribute()


class EntryRow(Model):
    """A backlog entry; `queue` is `<pool>#<shard>`."""

    queue = UnicodeAttribute(hash_key=True)
    rank = UnicodeAttribute(range_key=True)
    job = UnicodeAttribute()
    attempt = Int()
    owner = UnicodeAttribute()
    cpu = Float()
    memory_mib = Int()
    slots = Int()
    timeout_s = Int()
    queued_at = Float()
    family = UnicodeAttribute(default="")
    needs = Json(tuple[str, ...], default=())
    interruptions = Int(default=0)
    give_up_at = Float(null=True)
    instance_types = Json(tuple[str, ...], default=())
    market = UnicodeAttribute(default="")
    size = Int(default=0)
    next_index = Int(default=0)
    step_ms = Int(default=0)
    hosts = Int(default=1)


class HostsTable(Model):
    """The keys of the hosts table, which holds hosts (`host-…`) and launches (`launch-…`)."""

    pool = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)
    instance_id = UnicodeAttribute(null=True)
    expires_at = Moment(null=True)
    by_instance = ByInstance()


class HostRow(HostsTable):
    state = UnicodeAttribute()
    offering = Json(Offering)
    launch = UnicodeAttribute()
    launch_index = Int()
    cpu = Float()
    memory_mib = Int()
    slots = Int()
    launched_at = Float()
    generation = Int()
    userid = UnicodeAttribute(null=True)
    entered_at = Float()
    ready_at = Float(null=True)
    seen_at = Float(null=True)
    freed_at = Float(null=True)
    rung_at = Float(null=True)
    retire_sent_at = Float(null=True)
    secrets_at = Float(null=True)
    interrupt_at = Float(null=True)
    rebalance_at = Float(null=True)
    recorded_at = Float(null=True)
    domain = UnicodeAttribute(null=True)
    holds = Json(frozenset[str], default=frozenset())
    installs = Json(tuple[Installed, ...], default=())
    installs_at = Float(default=0.0)
    missed_lists = Int(default=0)
    reason = UnicodeAttribute(default="")
    assignments = Assignments()


class LaunchRow(HostsTable):
    offering = Json(Offering)
    hosts = Json(tuple[str, ...])
    user_data = BinaryAttribute(legacy_encoding=False, null=True)
    image = UnicodeAttribute(null=True)
    template = UnicodeAttribute(null=True)
    created_at = Float()
    sent_at = Float()
    doubt_at = Float(default=0.0)
    tries = Int(default=1)
    whole = BooleanAttribute(null=True)
    recorded = BooleanAttribute(default=False)


class ClaimRow(Model):
    """Also written by agents, with the same attributes (docs/contracts.md §2)."""

    host = UnicodeAttribute(hash_key=True)
    attempt = UnicodeAttribute(range_key=True)
    by = UnicodeAttribute()
    at = Float()
    expires_at = Moment()


class RegistryTable(Model):
    """The keys of the registry; `kind` says which row it is."""

    kind = UnicodeAttribute(hash_key=True)
    name = UnicodeAttribute(range_key=True)
    expires_at = Moment(null=True)


class PoolRow(RegistryTable):
    """`kind` = "pool"."""

    spec = Json(PoolSpec)
    version = Int()
    pass_no = Int()
    looked_at = Float(null=True)
    list_due_at = Float(default=0.0)
    wake_at = Float(null=True)
    supply = Json(Supply, default=Supply)
    settings = Json(dict[str, Any], null=True)
    defaults_version = Int(default=0)
    calendar = Json(tuple[Booking, ...], default=())
    interest = Int(default=0)
    prospects = Json(Prospects, default=Prospects)
    scaling = Json(Scaling, default=Scaling)
    expectation = Json(Expectation, default=Expectation)
    clocks = Floats(default=dict)
    asked = Floats(default=dict)


class TokenRow(RegistryTable):
    """`kind` = "token", `name` = SHA-256 of its text."""

    role = UnicodeAttribute()
    owner = UnicodeAttribute()
    created_at = Float()
    note = UnicodeAttribute(default="")
    by = UnicodeAttribute(default="")


class UseRow(RegistryTable):
    """`kind` = "use", `name` = a token's SHA-256: apart from the token, so that who writes it cannot change what a token may do."""

    at = Float()


class QuotaRow(RegistryTable):
    """`kind` = "quota", `name` = the owner."""

    quota = Json(Quota)
    version = Int()
    by = UnicodeAttribute()
    at = Float()


class SpentRow(RegistryTable):
    """`kind` = "spent/<owner>", `name` = "<day>/<job>#<attempt>": what an attempt that ended on that day has cost."""

    usd = Float()


class FamilyRow(RegistryTable):
    """`kind` = "family": its newest version; `kind` = "family/<name>", `name` = the version: each there ever was."""

    version = Int()
    body = Json(Family)


class ScheduleRow(RegistryTable):
    """`kind` = "schedule"."""

    said = Json(Schedule)
    version = Int()
    next_at = Float(null=True)
    last_job = UnicodeAttribute(null=True)
    last_at = Float(null=True)


class FiredRow(RegistryTable):
    """`kind` = "fire/<schedule>", `name` = when it was due: what became of it."""

    body = Json(Fired)


class DueRow(RegistryTable):
    """`kind` = "due", `name` = "<second>#<kind>#<name>": nothing but its key."""


class SettingRow(RegistryTable):
    """`kind` = "setting"."""

    value = Json(dict[str, Any])


class DefaultsRow(RegistryTable):
    """`kind` = "defaults", `name` = "pools": what the stage's operator said of all pools."""

    settings = Json(dict[str, Any])
    version = Int()
    by = UnicodeAttribute()
    at = Float()


class LookingRow(RegistryTable):
    """`kind` = "looking/<pool>", `name` = the viewer: nothing but its key and when it expires."""


class LearnedRow(RegistryTable):
    """`kind` = "learned/<pool>", `name` = "<day>/<key>": sums over the jobs that finished on a day."""

    seen = Int(attr_name="count")
    total_s = Float()
    squares_s2 = Float()


class SampleRow(RegistryTable):
    """`kind` = "sample/<pool>", `name` = the minute."""

    values = Json(dict[str, Any])


class ShareRow(RegistryTable):
    """`kind` = "share/<pool>", `name` = "<priority>/<owner>": up to which virtual time it has asked."""

    finish = Float()


class BucketRow(RegistryTable):
    """`kind` = "bucket", `name` = the region: the tokens for launches that were left after a take."""

    requests = Float()
    instances = Float()
    at = Float()
    takes = Int()
