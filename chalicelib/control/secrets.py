"""The secrets of jobs that are handed over: read from AWS together, kept nowhere but, for some seconds, in this process.

A secret that is not there will not appear by waiting: its job fails, with a sentence. A service that does not answer will answer later: its
jobs are handed over by a later ring of the doorbell, and the others of the host now.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from chalicelib.core import secrets
from chalicelib.core.job import Job
from chalicelib.core.secrets import Secret
from chalicelib.errors import CloudUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

AGE_MAX_S = 15.0  # of a value in memory: jobs of a batch share them, and a changed one counts soon
WEBHOOK_KEY_AGE_MAX_S = 60.0
TOLD_AGAIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Handed:
    """What one job gets: values by the names in its spec; or why it can never be handed over (`fault`), or not now (`later`)."""

    values: dict[str, str] = field(default_factory=dict, repr=False)
    fault: str = ""
    later: str = ""


def of_jobs(plane: Plane, jobs: Collection[Job]) -> dict[str, Handed]:
    """By job id, for all of these jobs. Never raises for what AWS answers."""
    stage = plane.settings.stage
    wanted = {secrets.place(name, stage, job.owner) for job in jobs for name in secrets.names(job.spec)}
    found, later = _read(plane, wanted) if wanted else ({}, "")
    return {job.id: _handed(job, stage, found, later) for job in jobs}


def webhook_key(plane: Plane, owner: str) -> str:
    """What signs an owner's webhooks; "" where it has nothing. Raises CloudUnavailable where that cannot be told, or may not be read."""
    name = secrets.webhook_key(plane.settings.stage, owner)

    def load() -> Secret:
        return plane.cloud.secrets.read([name])[name]

    secret = plane.recall.get(f"webhook-key/{owner}", plane.clock(), WEBHOOK_KEY_AGE_MAX_S, load) or Secret()
    if secret.fault and secret.fault != secrets.ABSENT.fault:
        raise CloudUnavailable(f"the key of the webhooks of {owner} cannot be read: {secret.fault}")
    return secret.value


def _handed(job: Job, stage: str, found: dict[str, Secret], later: str) -> Handed:
    values = {}
    for name in sorted(secrets.names(job.spec)):
        secret = found.get(secrets.place(name, stage, job.owner))
        if secret is None:
            return Handed(later=later)
        if secret.fault:
            return Handed(fault=secrets.lacks(job, name, stage, secret.fault))
        values[name] = secret.value
    return Handed(values, fault=secrets.too_much(values))


def _read(plane: Plane, wanted: set[str]) -> tuple[dict[str, Secret], str]:
    """Those that could be read, and why the others could not."""
    now, found = plane.clock(), dict[str, Secret]()
    for name in wanted:
        known: Secret | None = plane.recall.get(f"secret/{name}", now, AGE_MAX_S, lambda: None)
        if known is not None:
            found[name] = known
    missing = sorted(wanted - found.keys())
    try:
        fresh = plane.cloud.secrets.read(missing) if missing else {}
    except CloudUnavailable as error:
        log.warning("secrets could not be read", extra={"error": str(error)})
        return found, str(error)
    for name, secret in fresh.items():
        if not secret.fault:  # what is missing may be made any moment
            plane.recall.get(f"secret/{name}", now, AGE_MAX_S, lambda secret=secret: secret)  # type: ignore[misc]
    return found | dict(fresh), ""
