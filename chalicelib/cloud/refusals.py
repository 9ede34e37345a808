"""What AWS's errors mean to us: one table for launches, and one translation for everything else.

A launch that failed is one of four things, and the pass does something else for each: this offering is not to be had now (skip
it, try the next), this request will never do (stop and tell people), EC2 gets too many requests and did nothing (ask it nothing for a
while), or nothing is known (send it again later). The table is read from the top and the first match wins; what matches nothing is
unknown, so a new kind of error costs a retry and never a wrong decision.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from chalicelib.errors import CapacityRefused, CloudUnavailable, LaunchImpossible, Throttled

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


class Meaning(Enum):
    """What a launch error means for the launch."""

    NOT_NOW = auto()  # CapacityRefused
    NEVER = auto()  # LaunchImpossible
    LATER = auto()  # Throttled
    UNKNOWN = auto()  # CloudUnavailable


_NOT_NOW, _NEVER, _LATER = Meaning.NOT_NOW, Meaning.NEVER, Meaning.LATER

# EC2's code (a pattern) → what it means, and the sentence for people.
LAUNCH_ERRORS: tuple[tuple[str, Meaning, str], ...] = (
    # Too many requests: says nothing about the offering. Before the quotas, whose names end alike.
    ("RequestLimitExceeded", _LATER, "EC2 gets too many requests from this account; the launch is sent again later"),
    ("Throttl*", _LATER, "EC2 gets too many requests from this account; the launch is sent again later"),
    ("RequestThrottled*", _LATER, "EC2 gets too many requests from this account; the launch is sent again later"),
    ("TooManyRequests*", _LATER, "EC2 gets too many requests from this account; the launch is sent again later"),
    # A request that no later day makes right, although the name looks like a quota.
    ("TagLimitExceeded", _NEVER, "the launch carries more tags than EC2 allows"),
    (
        "SecurityGroupsPerInstanceLimitExceeded",
        _NEVER,
        "the launch template names more security groups than EC2 allows",
    ),
    # EC2 has none.
    (
        "InsufficientFreeAddressesInSubnet",
        _NOT_NOW,
        "the subnet has no free addresses left; use a larger subnet or other zones",
    ),
    ("Insufficient*", _NOT_NOW, "EC2 has no such machines free at the moment"),
    ("UnfulfillableCapacity", _NOT_NOW, "EC2 has no such machines free at the moment"),
    ("ReservationCapacityExceeded", _NOT_NOW, "the capacity reservation is used up"),
    (
        "Unsupported",
        _NOT_NOW,
        "EC2 does not offer this instance type in this zone; remove the offering or choose another zone",
    ),
    ("SpotMaxPriceTooLow", _NOT_NOW, "the spot price is above the most that may be paid"),
    # We have had ours.
    (
        "VcpuLimitExceeded",
        _NOT_NOW,
        "this account's vCPU quota in the region is used up; more is asked for under Service Quotas",
    ),
    (
        "MaxSpotInstanceCountExceeded",
        _NOT_NOW,
        "this account's spot quota in the region is used up; more is asked for under Service Quotas",
    ),
    (
        "RequestResourceCountExceeded",
        _NOT_NOW,
        "EC2 does not take a request for so many spot machines at once",
    ),
    (
        "*LimitExceeded",
        _NOT_NOW,
        "a quota of this account in the region is used up; more is asked for under Service Quotas",
    ),
    (
        "Max*Exceeded",
        _NOT_NOW,
        "a quota of this account in the region is used up; more is asked for under Service Quotas",
    ),
    (
        "PendingVerification",
        _NOT_NOW,
        "AWS is still checking whether this account may use the region; that takes up to a few hours",
    ),
    # The request itself is wrong.
    (
        "IdempotentParameterMismatch",
        _NEVER,
        "this launch was sent before with other parameters, so EC2 refuses it; it must be given up for a new one",
    ),
    (
        "InvalidLaunchTemplate*",
        _NEVER,
        "the launch template is not in this region; run `spillway bootstrap` for the stage's own, copy the pool's own there",
    ),
    *(
        (
            code,
            _NEVER,
            "AWS does not accept the control plane's credentials in this region; it may have to be enabled for the account",
        )
        for code in (
            "InvalidClientTokenId",
            "MissingAuthenticationToken",
            "UnrecognizedClient*",
            "SignatureDoesNotMatch",
        )
    ),
    ("InvalidAMIID*", _NEVER, "the machine image does not exist in this region or may not be used"),
    ("InvalidUserData*", _NEVER, "EC2 does not accept the user data"),
    (
        "Invalid*",
        _NEVER,
        "EC2 does not accept the launch as it is; look at the pool's offering and the launch template",
    ),
    ("Missing*", _NEVER, "EC2 misses something in the launch; look at the launch template"),
    ("Unknown*", _NEVER, "EC2 does not know a parameter of the launch"),
    ("Malformed*", _NEVER, "EC2 cannot read the launch"),
    (
        "Unsupported*",
        _NEVER,
        "EC2 does not support this combination; look at the pool's offering and the launch template",
    ),
    (
        "ValidationError",
        _NEVER,
        "EC2 does not accept the launch as it is; look at the pool's offering and the launch template",
    ),
    ("OperationNotPermitted", _NEVER, "EC2 does not permit this launch; look at the launch template"),
    ("VolumeTypeNotAvailableInZone", _NEVER, "the zone does not have the launch template's type of volume"),
    ("EncryptedVolumesNotSupported", _NEVER, "this instance type takes no encrypted volumes; choose another one"),
    ("VPC*NotSpecified", _NEVER, "there is no default network in this region; give the launch template a subnet"),
    # We may not.
    (
        "UnauthorizedOperation",
        _NEVER,
        "the control plane's role may not launch this; look at its policy, the image and the account's own restrictions",
    ),
    (
        "AccessDenied*",
        _NEVER,
        "the control plane's role may not launch this; look at its policy and the account's own restrictions",
    ),
    (
        "AuthFailure.ServiceLinkedRole*",
        _NEVER,
        "this account never used spot: run `aws iam create-service-linked-role --aws-service-name spot.amazonaws.com`",
    ),
    (
        "AuthFailure*",
        _NEVER,
        "AWS does not accept the credentials for this region; it may have to be enabled for the account",
    ),
    ("OptInRequired", _NEVER, "the image or the region has to be subscribed to first"),
    ("Blocked", _NEVER, "AWS has blocked this account; its support can tell why"),
)

_ENCODED = re.compile(
    r"\s*Encoded authorization failure message: \S+"
)  # kilobytes that only the account's owner can decode


def launch_meaning(code: str) -> tuple[Meaning, str]:
    """The first row that matches EC2's code."""
    for pattern, meaning, sentence in LAUNCH_ERRORS:
        if fnmatchcase(code, pattern):
            return meaning, sentence
    return Meaning.UNKNOWN, "EC2 could not say whether it launches; the launch is sent again later"


def code_of(error: ClientError) -> str:
    """AWS's code of an error, "Unknown" where it gave none."""
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


def message_of(error: ClientError) -> str:
    """AWS's own sentence, without what only machines read."""
    return _ENCODED.sub("", str(error.response.get("Error", {}).get("Message", "no message")))


@contextmanager
def launching(offering: str) -> Iterator[None]:
    """Translate the errors of a launch by the table. `offering` is named in every sentence."""
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
    from botocore.parsers import ResponseParserError  # no BotoCoreError: what answered was not AWS, or half of it

    try:
        yield
    except ClientError as error:
        code = code_of(error)
        meaning, sentence = launch_meaning(code)
        full = f"{offering}: {sentence}. EC2 says: {message_of(error)}"
        if meaning is Meaning.NOT_NOW:
            raise CapacityRefused(code, full) from error
        if meaning is Meaning.NEVER:
            raise LaunchImpossible(code, full) from error
        if meaning is Meaning.LATER:
            raise Throttled(f"{code}: {full}") from error
        raise CloudUnavailable(f"{code}: {full}") from error
    except ParamValidationError as error:
        raise LaunchImpossible("InvalidParameter", f"{offering}: the launch is not well formed. {error}") from error
    except (BotoCoreError, ResponseParserError) as error:
        raise CloudUnavailable(
            f"{offering}: EC2 could not be reached, so it may or may not have launched. {error}"
        ) from error


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn whatever AWS or the network says into CloudUnavailable. `what`: "S3 was asked for the object x"."""
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise CloudUnavailable(f"{what}, and AWS answered {code_of(error)}: {message_of(error)}") from error
    except ParamValidationError:
        raise  # a fault of ours: trying again would not help
    except (BotoCoreError, ResponseParserError) as error:
        raise CloudUnavailable(f"{what}, and AWS could not be reached: {error}") from error
