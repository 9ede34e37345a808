"""What operators send about pools, as strict structs: settings, merge patches, bookings; and what front ends send: interest.

A settings document is sparse: what was left out is UNSET, not a default, because it is inherited (core/settings.py). Durations in seconds.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chalicelib.api.wire import SPEC_BYTES_MAX, Epoch, Moment, Strict, convert, epoch_s, refuse
from chalicelib.core import settings
from chalicelib.core.calendar import Booking
from chalicelib.core.host import HostState
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import BadRequest, Fault, TooLarge

HOUR_S = 3600.0
Place = Annotated[str, Meta(max_length=64)]
ContainerImage = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}\Z")]
Ratio = Annotated[float, Meta(gt=0, le=1)]

BOOKING_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_VERSION = re.compile(r'^(?:W/)?"(\d{1,15})"\Z')


class OfferingWire(Strict, frozen=True, kw_only=True):
    """Texts are only kept short here: whether there are such regions, types and zones is said in sentences by core/offering_faults.py."""

    region: Place
    instance_type: Place
    market: Place = "on_demand"
    zone: Place | None = None
    max_price_usd_h: Annotated[float, Meta(gt=0, le=1000)] | None = None


class TypeWire(Strict, frozen=True, kw_only=True):
    """An instance type that the release does not know; `spillway offerings add` asks EC2 for these."""

    vcpus: Annotated[int, Meta(ge=1, le=2048)]
    memory_mib: Annotated[int, Meta(ge=512, le=67_108_864)]
    price_usd_h: Annotated[float, Meta(gt=0, le=10_000)]
    arch: Literal["x86_64", "arm64"] = "x86_64"


class PoolSpecWire(Strict, frozen=True, kw_only=True):
    """What an operator sets of a pool; what is left out is inherited."""

    offerings: Annotated[list[OfferingWire], Meta(min_length=1, max_length=20)] | UnsetType = UNSET
    hosts_min: Annotated[int, Meta(ge=0, le=5000)] | UnsetType = UNSET
    hosts_max: Annotated[int, Meta(ge=0, le=5000)] | UnsetType = UNSET
    hosts_desired: Annotated[int, Meta(ge=0, le=5000)] | UnsetType | None = UNSET
    slots_per_host: Annotated[int, Meta(ge=1, le=1024)] | UnsetType | None = UNSET
    linger_s: Annotated[int, Meta(ge=0, le=86_400)] | UnsetType = UNSET
    lifetime_max_s: Annotated[int, Meta(ge=300, le=2_592_000)] | UnsetType = UNSET
    boot_timeout_s: Annotated[int, Meta(ge=30, le=3600)] | UnsetType = UNSET
    ping_every_s: Annotated[int, Meta(ge=1, le=300)] | UnsetType = UNSET
    missed_pings_s: Annotated[int, Meta(ge=10, le=86_400)] | UnsetType = UNSET
    idle_max_s: Annotated[int, Meta(ge=30, le=86_400)] | UnsetType = UNSET
    unreachable_max_s: Annotated[int, Meta(ge=60, le=86_400)] | UnsetType = UNSET
    unhealthy_max_s: Annotated[int, Meta(ge=60, le=604_800)] | UnsetType = UNSET
    overdue_grace_s: Annotated[int, Meta(ge=0, le=3600)] | UnsetType = UNSET
    sandbox: Literal["auto", "bwrap", "docker", "none"] | UnsetType = UNSET
    container_user: Literal["job", "image"] | UnsetType = UNSET
    container_image: ContainerImage | UnsetType | None = UNSET
    log_limit_bytes: Annotated[int, Meta(ge=1024, le=104_857_600)] | UnsetType = UNSET
    timeout_max_s: Annotated[int, Meta(ge=1, le=1_209_600)] | UnsetType = UNSET
    job_ttl_s: Annotated[int, Meta(ge=86_400, le=315_360_000)] | UnsetType = UNSET
    generation: Annotated[int, Meta(ge=0, le=2_147_483_647)] | UnsetType = UNSET
    rolling_share: Ratio | UnsetType = UNSET
    policy: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    parameters: (
        Annotated[
            dict[Annotated[str, Meta(max_length=64)], Annotated[float, Meta(ge=-1e9, le=1e9)]], Meta(max_length=32)
        ]
        | UnsetType
    ) = UNSET
    slo_wait_s: Annotated[int, Meta(ge=1, le=86_400)] | UnsetType = UNSET
    scale_in_agree_s: Annotated[int, Meta(ge=0, le=86_400)] | UnsetType = UNSET
    scaling_enabled: bool | UnsetType = UNSET
    killed: bool | UnsetType = UNSET
    budget_usd_h: Annotated[float, Meta(ge=0, le=1e6)] | UnsetType | None = UNSET
    placement: Literal["best_fit", "spread", "random"] | UnsetType = UNSET
    estimated_s: Annotated[float, Meta(gt=0, le=1_209_600)] | UnsetType | None = UNSET
    jobs_per_person_h: Annotated[float, Meta(ge=0, le=10_000)] | UnsetType = UNSET
    image: Annotated[str, Meta(pattern=r"^ami-[0-9a-f]{8,17}\Z")] | UnsetType | None = UNSET
    launch_template: (
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9()./_-]{3,128}(:(\d{1,9}|\$Latest|\$Default))?\Z")] | UnsetType | None
    ) = UNSET
    types: (
        Annotated[
            dict[Annotated[str, Meta(pattern=r"^[a-z0-9-]{2,20}\.[a-z0-9-]{2,20}\Z")], TypeWire], Meta(max_length=50)
        ]
        | UnsetType
    ) = UNSET
    disk_mib_per_slot: Annotated[int, Meta(ge=16, le=16_777_216)] | UnsetType = UNSET
    images: Literal["refuse", "ignore"] | UnsetType = UNSET
    share_hosts: bool | UnsetType = UNSET
    debug_logging: bool | UnsetType = UNSET
    capacity: Literal["ec2", "asg"] | UnsetType = UNSET
    rank_spot: bool | UnsetType = UNSET
    interruption_ladder: bool | UnsetType = UNSET
    spot_headroom: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET


class HostsQuery(Strict, frozen=True, kw_only=True):
    """Which hosts of a pool: in one of these states, a page from `cursor` on (the `next` of the page before)."""

    state: Annotated[list[HostState], Meta(max_length=6)] = []
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500
    cursor: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}\Z")] | None = None


class SamplesQuery(Strict, frozen=True, kw_only=True):
    """Which minutes: epoch seconds, by default the last hour; of those the newest `limit`."""

    since: Epoch | None = None
    until: Epoch | None = None
    limit: Annotated[int, Meta(ge=1, le=1440)] = 60


class KillWire(Strict, frozen=True, kw_only=True):
    """`force`: though jobs wait or run."""

    force: bool = False


class BookingWire(Strict, frozen=True, kw_only=True):
    """A surge that somebody announces. Times: ISO 8601 with a zone, or epoch seconds."""

    title: Annotated[str, Meta(min_length=1, max_length=200)]
    starts_at: Moment
    ends_at: Moment
    people: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    jobs_per_person_h: Annotated[float, Meta(ge=0, le=10_000)] | None = None
    hosts: Annotated[int, Meta(ge=0, le=5000)] | None = None


class InterestWire(Strict, frozen=True, kw_only=True):
    """Somebody is looking now; to be said again before `seconds` are over."""

    viewer: Annotated[str, Meta(min_length=1, max_length=128)]
    seconds: Annotated[int, Meta(ge=10, le=900)] = 120


def document(wire: PoolSpecWire) -> dict[str, Any]:
    """What was said, and nothing else."""
    said: dict[str, Any] = msgspec.to_builtins(wire)
    return said


def _patches() -> list[tuple[str, Any, Any]]:
    """Every setting, and null to take it back; inside `parameters` and `types` null takes back one name."""
    inside = {
        "parameters": dict[str, Annotated[float, Meta(ge=-1e9, le=1e9)] | None],
        "types": dict[str, TypeWire | None],
    }
    return [(f.name, inside.get(f.name, f.type) | None, UNSET) for f in msgspec.structs.fields(PoolSpecWire)]


PoolPatchWire = msgspec.defstruct("PoolPatchWire", _patches(), bases=(Strict,), frozen=True, kw_only=True)
PoolPatchWire.__doc__ = "A merge patch of a PoolSpec: what is named changes, null takes a setting back."


def pool_spec(wire: PoolSpecWire) -> PoolSpec:
    """The spec of a document over our own defaults. Raises BadRequest for limits that contradict each other."""
    spec = settings.effective({}, document(wire))
    refuse(settings.faults(spec))
    return spec


def patch(body: bytes | str) -> dict[str, Any]:
    """A JSON merge patch of settings: values as a settings document has them, null takes one back. Raises BadRequest."""
    if len(body) > SPEC_BYTES_MAX:
        raise TooLarge(f"the body has {len(body)} bytes; at most {SPEC_BYTES_MAX} are taken here")
    try:
        given = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # a wrong type is one, too
        raise BadRequest(
            f"the body is not a JSON object: {error}", (Fault("", f"is no JSON object: {error}"),)
        ) from None
    unknown = [Fault(name, "is not a field that is known here") for name in given if name not in settings.FIELDS]
    refuse(unknown)
    values = {name: value for name, value in given.items() if value is not None}
    taken_back = {name: None for name, value in given.items() if value is None}
    nulls: dict[str, dict[str, None]] = {}
    for field in ("parameters", "types"):  # objects are merged, so a null may stand inside, too
        if isinstance(inside := values.get(field), dict):
            nulls[field] = {name: None for name, value in inside.items() if value is None}
            values[field] = {name: value for name, value in inside.items() if value is not None}
    said = document(convert(values, PoolSpecWire))
    for field, names in nulls.items():
        said[field] = {**said[field], **names}
    return {**said, **taken_back}


def booking(booking_id: str, wire: BookingWire) -> Booking:
    """The record of a booking. Raises BadRequest for an id or a time that cannot be read."""
    faults = []
    if not BOOKING_ID.match(booking_id):
        faults.append(Fault("id", f"{booking_id!r} is no id for a booking: letters, digits, '.', '_', '-', at most 64"))
    times = {}
    for name in ("starts_at", "ends_at"):
        try:
            times[name] = epoch_s(getattr(wire, name))
        except ValueError as error:
            faults.append(Fault(name, str(error)))
    refuse(faults)
    return Booking(
        id=booking_id,
        title=wire.title,
        people=wire.people,
        jobs_per_person_h=wire.jobs_per_person_h,
        hosts=wire.hosts,
        **times,
    )


def span(asked: SamplesQuery, now: float) -> tuple[float, float]:
    """since and until, in epoch seconds. Raises BadRequest."""
    until = now if asked.until is None else asked.until
    since = max(0.0, until - HOUR_S) if asked.since is None else asked.since
    if since > until:
        refuse([Fault("since", f"must not be later than until, which is {until:.0f}")])
    return since, until


def version_of(if_match: str | None) -> int | None:
    """The version that an If-Match header names; None where there is none, or "*". Raises BadRequest."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = _VERSION.match(if_match.strip())
    if found is None:
        raise BadRequest('If-Match: must be a version in quotes, as the answer\'s ETag says it: "7"')
    return int(found[1])
