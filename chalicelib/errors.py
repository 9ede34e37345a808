"""The exceptions that cross module borders. Each carries a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass


class SpillwayError(Exception):
    """Root of all errors of ours."""


class StoreUnavailable(SpillwayError):
    """DynamoDB could not be reached, throttled us or refused us. Nothing is known about the write."""


class CloudUnavailable(SpillwayError):
    """An AWS service could not be reached or throttled us: try again later. Nothing is known about the call's effect."""


class Throttled(CloudUnavailable):
    """EC2 gets too many requests from this account and did nothing of this one."""


class RegionRefused(SpillwayError):
    """AWS takes no credentials of this account in a region: not enabled, or of another partition."""


class CapacityRefused(SpillwayError):
    """EC2 understood a launch and will not do it now. `code` is EC2's own, e.g. InsufficientInstanceCapacity."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class LaunchImpossible(SpillwayError):
    """EC2 will never accept this request as it is (unknown type, template, image, permission)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with what a user sent: where, and what."""

    field: str
    message: str


class BadRequest(SpillwayError):
    """What the user sent cannot be accepted. Answered as 400 with every fault."""

    status = 400

    def __init__(self, detail: str, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = faults


class NotFound(BadRequest):
    status = 404


class Forbidden(BadRequest):
    status = 403


class Conflict(BadRequest):
    status = 409


class OverQuota(BadRequest):
    """Its owner has as much as it may have; later it may be accepted."""

    status = 429


class PreconditionFailed(BadRequest):
    """Another version is there than the one that the caller had read."""

    status = 412


class TooLarge(BadRequest):
    status = 413
