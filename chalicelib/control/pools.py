"""Changing a pool: validated as a whole, versioned, told in the pool's story, looked at at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chalicelib.control.pool_checks import Checks
from chalicelib.control.wake import wake
from chalicelib.core import groups, settings
from chalicelib.core.pool import Pool, PoolSpec
from chalicelib.core.story import Line, of_pool
from chalicelib.errors import (
    BadRequest,
    CloudUnavailable,
    Conflict,
    Fault,
    NotFound,
    PreconditionFailed,
    StoreUnavailable,
)
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,31}$")
AUDIT_TTL_S = 400 * 86_400.0  # more than a year: "who set this, before last year's exam?"
TRIES_MAX = 5  # of a change that holds whatever else was changed meanwhile

Document = Mapping[str, Any]
Warn = Callable[[Fault], None]


def unheard(warning: Fault) -> None:
    """For callers who have nobody to warn."""


def put(
    plane: Plane, name: str, document: Document, *, by: str, version: int | None = None, warn: Warn = unheard
) -> Pool:
    """Create the pool, or replace all that was said of it. `version`: only if it is at this one. `warn` is told what of the
    document does nothing, or could not be checked with EC2.

    Raises BadRequest (fields), PreconditionFailed, or Conflict where somebody else changed it in the same moment.
    """
    if not NAME.fullmatch(name):
        raise BadRequest(f"pool: {name!r} is no name for a pool", (Fault("pool", f"must match {NAME.pattern}"),))
    present = plane.stores.registry.pool(name)
    _at(present, version)
    pool = write(plane, name, present, dict(document), by, warn=warn)
    if pool is None:
        raise Conflict(f"pool {name} was changed by somebody else in the same moment; read it and try again")
    return pool


def patch(
    plane: Plane, name: str, changes: Document, *, by: str, version: int | None = None, warn: Warn = unheard
) -> Pool:
    """Change what the merge patch names, and nothing else; tried again where somebody changed something else meanwhile.

    Raises NotFound, BadRequest (fields), PreconditionFailed, Conflict.
    """

    checks = Checks(plane)
    warned: list[Fault] = []

    def change() -> Pool | None:
        warned.clear()
        present = known(plane, name)
        _at(present, version)
        own = settings.patched(settings.said(present), changes)
        return write(plane, name, present, own, by, checks, warned.append)

    pool = tried(name, change)
    for warning in warned:
        warn(warning)
    return pool


def known(plane: Plane, name: str) -> Pool:
    """The pool as it is now. Raises NotFound."""
    pool = plane.stores.registry.pool(name) if NAME.fullmatch(name) else None
    if pool is None:
        raise NotFound(f"there is no pool named {name}")
    return pool


def tried(name: str, change: Callable[[], Pool | None]) -> Pool:
    """The first outcome of `change` that is no lost race. Raises Conflict after `TRIES_MAX`."""
    for _ in range(TRIES_MAX):
        if (pool := change()) is not None:
            return pool
    raise Conflict(f"pool {name} is being changed by others again and again; try again in a moment")


def check(spec: PoolSpec, before: PoolSpec | None, checks: Checks) -> list[Fault]:
    """Warnings. Raises BadRequest with every contradiction, and with what EC2 says is wrong in what was changed, by field."""
    refuse(settings.faults(spec))
    wrong, unsure = checks.look(spec, before)
    refuse(wrong)
    return unsure


def refuse(faults: Sequence[Fault]) -> None:
    """Raises BadRequest if there are any."""
    if faults:
        raise BadRequest(f"{faults[0].field}: {faults[0].message}", tuple(faults))


def check_groups(plane: Plane, name: str, spec: PoolSpec) -> None:
    """Raises BadRequest where the pool has no Auto Scaling group for an offering, and would wait for ever; or one that replaces what
    ends, for ever too. CloudUnavailable."""
    found = plane.cloud.groups.of_pool(name, sorted({offering.region for offering in spec.offerings}))
    there = {(group.region, group.market) for group in found}
    lacking = sorted({(o.region, o.market) for o in spec.offerings} - there)
    said = ""
    if lacking:
        places = ", ".join(f"{market} in {region}" for region, market in lacking)
        said = f"pool {name} has no Auto Scaling group for {places}: `spillway pool groups {name}` makes them"
    elif acting := [f"{group.name} in {group.region}" for group in found if group.acts]:
        said = f"{', '.join(acting)} may replace and rebalance hosts of itself: `spillway pool groups {name}` suspends that"
    if said:
        raise BadRequest(f"capacity: is asg, and {said}", (Fault("capacity", f"is asg, and {said}"),))


def _places(spec: PoolSpec) -> set[tuple[str, str, str]]:
    """What groups must be there for."""
    return {(spec.capacity, offering.region, offering.market) for offering in spec.offerings}


def tell(plane: Plane, pool: Pool, event: str, sentences: Sequence[str], by: str) -> None:
    """The audit: lines of the pool's story, each with who and which version."""
    told = [f"{sentence} (by {by}, version {pool.version})" for sentence in sentences]
    audit(plane, of_pool(pool.name), event, told)


def audit(plane: Plane, subject: str, event: str, sentences: Sequence[str]) -> None:
    """Kept at once, unlike other lines of the story. The change is made by now: where the table does not answer, the log has it."""
    now = plane.clock()
    for sentence in sentences:
        log.info("settings were changed", extra={"subject": subject, "change": sentence})
    try:
        lines = [Line(at=now, subject=subject, event=event, reason=sentence) for sentence in sentences]
        plane.stores.story.append(lines, now + AUDIT_TTL_S)
    except StoreUnavailable as error:
        log.error("a change could not be told in the story", extra={"subject": subject, "error": str(error)})


def rouse(plane: Plane, name: str) -> None:
    """Wake the pool for what was written. That is done already: where the queue does not answer, the tick wakes it in a minute."""
    try:
        wake(plane, name)
    except (CloudUnavailable, StoreUnavailable) as error:
        log.warning("a changed pool could not be woken", extra={"pool": name, "error": str(error)})


def _at(present: Pool | None, version: int | None) -> None:
    if version is not None and (present is None or present.version != version):
        there = f"is at version {present.version}" if present else "does not exist"
        raise PreconditionFailed(f"the pool {there}, not at version {version}; read it and decide again")


def write(
    plane: Plane,
    name: str,
    present: Pool | None,
    own: dict[str, Any],
    by: str,
    checks: Checks | None = None,
    warn: Warn = unheard,
) -> Pool | None:
    """Write all that is said of a pool; None: the race was lost.

    The defaults are read before the pool is written: if they change in between, its older `defaults_version` says that it must be re-made.
    """
    defaults = plane.stores.registry.defaults()
    spec = settings.effective(defaults.settings, own)
    warnings = check(spec, present.spec if present else None, checks or Checks(plane))
    if spec.capacity == "asg" and (present is None or _places(present.spec) != _places(spec)):
        check_groups(plane, name, spec)
    warnings += [
        Fault(
            field,
            f"is told to hosts by the launch templates of the pool's Auto Scaling groups: `spillway pool groups {name}` brings it there, "
            f"and `spillway pool restart {name}` to the hosts",
        )
        for field in (groups.out_of_step(present.spec, spec) if present else ())
    ]
    for warning in warnings:
        warn(warning)
    before = settings.said(present) if present else {}
    if present is not None and present.settings is not None and before == own and present.spec == spec:
        rouse(plane, name)
        return present
    pool = plane.stores.registry.put_pool(
        name,
        spec,
        version=present.version if present else None,
        settings=own,
        defaults_version=defaults.version,
    )
    if pool is not None:
        sentences = settings.diff(before, own, defaults.settings)
        if present is None:
            sentences = ["the pool was made", *sentences]
        tell(plane, pool, "setting", sentences, by)
        rouse(plane, name)
    return pool
