"""The stage's own defaults of pools, and what the tick counts of people who are looking.

Theory of operation. The defaults are one row; every pool's row says which version of them its spec was made with. A change writes the row
first and then re-makes every pool, each conditionally in its own version. A pool that somebody writes in between has either read
the new defaults or is found older: a crash, a lost race, a pool that was made meanwhile, all are the same case, and the tick
re-makes what is older.

A change that would contradict some pool is refused. Where both were changed in the same moment, so that neither could see the other,
the pool keeps the spec that it has, and its story says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chalicelib.control.pool_checks import Checks
from chalicelib.control.pools import Warn, audit, check, refuse, rouse, tell, unheard
from chalicelib.core import settings
from chalicelib.core.pool import Pool
from chalicelib.core.settings import Defaults
from chalicelib.errors import Conflict, Fault, PreconditionFailed
from chalicelib.wiring import Plane

SUBJECT = "settings"  # of the story of the stage's defaults


def patch_defaults(
    plane: Plane, changes: Mapping[str, Any], *, by: str, version: int | None = None, warn: Warn = unheard
) -> Defaults:
    """Change the stage's defaults by a merge patch, and every pool with them.

    Raises BadRequest where a pool (named in the sentence) would contradict itself, PreconditionFailed, Conflict.
    """
    before = plane.stores.registry.defaults()
    if version is not None and before.version != version:
        raise PreconditionFailed(
            f"the stage's settings are at version {before.version}, not {version}; read them and decide again"
        )
    said = settings.patched(before.settings, changes)
    sentences = settings.diff(before.settings, said)
    if not sentences:
        return before
    checks = Checks(plane)
    warnings = check(settings.effective({}, said), settings.effective({}, before.settings), checks)
    if said.get("capacity") == "asg":
        sentence = "asg is said of each pool, because each needs groups of its own"
        refuse([Fault("capacity", sentence)])
    _check_pools(plane.stores.registry.pools(), said, checks)
    after = Defaults(version=before.version + 1, settings=said, by=by, at=plane.clock())
    if not plane.stores.registry.put_defaults(after):
        raise Conflict("the stage's settings were changed by somebody else in the same moment; read them and try again")
    for warning in warnings:
        warn(warning)
    audit(plane, SUBJECT, "setting", [f"{sentence} (by {by}, version {after.version})" for sentence in sentences])
    _remake(plane, plane.stores.registry.pools(), after)
    return after


def remake_older(plane: Plane, pools: Iterable[Pool]) -> None:
    """Re-make the specs that older defaults went into: the tick's share of `patch_defaults`."""
    _remake(plane, pools, plane.stores.registry.defaults())


def _remake(plane: Plane, pools: Iterable[Pool], defaults: Defaults) -> None:
    """One that somebody changes in the same moment is left to the tick."""
    for pool in pools:
        if pool.defaults_version < defaults.version:
            _remake_one(plane, pool, defaults)


def _remake_one(plane: Plane, pool: Pool, defaults: Defaults) -> None:
    own = settings.said(pool)
    spec = settings.effective(defaults.settings, own)
    faults = settings.faults(spec)
    if faults:
        spec = pool.spec
    made = plane.stores.registry.put_pool(
        pool.name, spec, version=pool.version, settings=own, defaults_version=defaults.version
    )
    if made is None:
        return
    sentences = settings.diff(settings.plain(pool.spec), settings.plain(spec))
    if faults:
        sentences = [f"the pool keeps what it has: {f.field} {f.message}" for f in faults]
    tell(plane, made, "setting", sentences, f"{defaults.by} in the stage's settings {defaults.version}")
    rouse(plane, pool.name)


def _check_pools(pools: Iterable[Pool], said: Mapping[str, Any], checks: Checks) -> None:
    faults = []
    for pool in pools:
        spec = settings.effective(said, settings.said(pool))
        wrong = settings.faults(spec) or checks.look(spec, pool.spec)[0]
        faults += [Fault(fault.field, f"{fault.message} (in pool {pool.name})") for fault in wrong]
    refuse(faults)


def count_interest(plane: Plane, pool: Pool) -> None:
    """Count who is looking; the pool's row is written, and the pool woken, only when the number has changed."""
    people = plane.stores.registry.lookers(pool.name, plane.clock())
    if people != pool.interest:
        plane.stores.registry.note_interest(pool.name, people)
        rouse(plane, pool.name)
