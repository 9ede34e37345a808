"""Where jobs may take S3 objects from: the places that an operator allowed, and whether an address is in one of them.

A place is written `<region>:<bucket>/<prefix>`, its prefix empty or ending in a slash. `{owner}` in the prefix stands for the job's owner:
`us-east-1:courses/{owner}/` lets each owner take what is its own. The functions' role may read all of these places, so what is in
none of them must be refused before it is signed: else a job could name any object that the role can read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

OWNER = "{owner}"
ADDRESS = "s3://"
_PLACE = re.compile(
    r"([a-z]{2}[a-z0-9-]+-\d+):([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/((?:[A-Za-z0-9!_.'()-]+/|\{owner\}/)*)"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A part of somebody's bucket."""

    region: str
    bucket: str
    prefix: str = ""

    def holds(self, bucket: str, key: str, owner: str) -> bool:
        return bucket == self.bucket and key.startswith(self.prefix.replace(OWNER, owner))

    def __str__(self) -> str:
        return f"{self.region}:{self.bucket}/{self.prefix}"


def place(text: str) -> Place:
    """The place that a setting names. Raises ValueError with a sentence."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is no place in S3: write region:bucket/prefix/, the prefix empty or ending in a slash"
        )
    return Place(*found.groups())


def split(address: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    bucket, _, key = address.removeprefix(ADDRESS).partition("/")
    return bucket, key


def find(address: str, owner: str, places: Iterable[Place]) -> Place | None:
    """The place that lets this owner have the object; None: none does."""
    bucket, key = split(address)
    return next((one for one in places if one.holds(bucket, key, owner)), None)
