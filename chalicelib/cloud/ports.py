"""What the control plane asks of AWS. boto3 keeps these promises in production, `memory.py` in tests and the simulator; one
contract suite holds both to it.

Errors: `CloudUnavailable` (throttled, unreachable, unknown), and for launches `CapacityRefused` and `LaunchImpossible`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chalicelib.core.groups import Group, Member
from chalicelib.core.host import Launch
from chalicelib.core.instance import Instance
from chalicelib.core.pool_checks import Template
from chalicelib.core.secrets import Secret
from chalicelib.core.spot_history import Change


class Compute(Protocol):
    def launch(self, launch: Launch) -> list[Instance]:
        """RunInstances(MinCount=1, or all of them where the launch is `whole`; MaxCount=len(hosts), ClientToken=launch.token), in order of
        ami-launch-index.

        The launch template is the launch's own, else the stage's `<prefix>-host`; tags spillway:stage, spillway:pool, spillway:launch
        and Name on instances and volumes in the same call; spot as one-time. Repeating the same launch returns the same instances.
        May give fewer than asked.
        Raises CapacityRefused, LaunchImpossible, Throttled (it did nothing), CloudUnavailable.
        """

    def instances(self, pool: str, regions: Sequence[str]) -> list[Instance]:
        """All of the stage's instances of a pool that are not terminated, all pages."""

    def launched(self, launch: Launch) -> list[Instance]:
        """All instances that a launch brought, in order of ami-launch-index; those that have ended too, for about an hour (EC2's own)."""

    def terminate(self, region: str, instance_ids: Sequence[str]) -> None:
        """Ask for termination; ids that EC2 no longer knows are already so."""

    def ring(self, region: str, instance_ids: Sequence[str]) -> list[str]:
        """Run Command of the doorbell, at most 50 a call; the ids that SSM refused (unknown or not registered) are returned."""


class Facts(Protocol):
    """What EC2 says of the things that a pool names. Raises RegionRefused where the account is not let into the region."""

    def template(self, region: str, template: str | None) -> Template | None:
        """What a launch template says ("name" or "name:version"; None: the stage's own); None: there is none."""

    def subnet_zone(self, region: str, subnet: str) -> str | None:
        """The zone of a subnet; None: there is none of this id."""

    def template_is_ours(self, region: str, template: str) -> bool:
        """Whether a template of this name carries the tag `spillway:stage` with this stage's name: else no function may use it."""

    def image_arch(self, region: str, image: str) -> str | None:
        """x86_64, arm64, "x86_64 with Windows" … of an image; None: there is none of this id that the account may use now."""

    def zones(self, region: str, types: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """Each of the types → the region's zones that sell it."""

    def spot_prices(self, region: str, types: Sequence[str], at: float) -> Mapping[str, Mapping[str, float]]:
        """Each of the types → zone → the spot price (Linux, USD an hour) in force at that moment."""

    def spot_history(self, region: str, types: Sequence[str], begin: float, end: float) -> list[Change]:
        """How the spot prices of the types changed from `begin` to `end`, and what held at `begin`, oldest first; of much, the latest."""


class Groups(Protocol):
    """Auto Scaling groups of pools with `capacity: asg`, named `<prefix>-<pool>-spot` and `-on-demand` in each region."""

    def of_pool(self, pool: str, regions: Sequence[str]) -> list[Group]:
        """Those that exist, with their members."""

    def resize(self, region: str, group: str, desired: int) -> None:
        """SetDesiredCapacity, without waiting for a cooldown. Raises CapacityRefused where the group may not have so many."""

    def terminate(self, region: str, instance_id: str) -> bool:
        """TerminateInstanceInAutoScalingGroup with decrement of the desired capacity, if that is not zero already; False if the instance
        is in no group."""

    def protect(self, region: str, group: str, instance_ids: Sequence[str]) -> None:
        """SetInstanceProtection: never the group's own choice when it shrinks."""


class Blobs(Protocol):
    """The stage's bucket."""

    def put(self, key: str, body: bytes, content_type: str = "application/json") -> None: ...

    def get(self, key: str, start: int = 0) -> bytes | None:
        """The object from byte `start` on; None if it is not there."""

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Whether it was there or not."""

    def list(self, prefix: str, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """(key, bytes) in key order, keys greater than `after`."""

    def get_url(self, key: str, expires_s: int, filename: str | None = None) -> str: ...

    def object_url(self, region: str, bucket: str, key: str, expires_s: int) -> str:
        """A signed GET of an object in another bucket."""

    def put_url(self, key: str, sha256_hex: str, expires_s: int) -> tuple[str, Mapping[str, str]]:
        """A signed PUT and the headers that must go with it (x-amz-checksum-sha256 in base64: S3 checks the content)."""


class Secrets(Protocol):
    """Secrets by whole name: `ssm:/spillway/<stage>/<owner>/NAME`, `secretsmanager:/spillway/…`."""

    def read(self, names: Sequence[str]) -> Mapping[str, Secret]:
        """Each of the names → its value, or why there is none that could be had. Raises CloudUnavailable: nothing is known of any."""


class Queues(Protocol):
    def wake(self, pool: str, dedup: str) -> None:
        """One message on the wakes queue: group = pool, deduplication id = dedup."""

    def timer(self, message: Mapping[str, Any], delay_s: int) -> None:
        """One message on the timers queue after 0…900 s."""

    def canary(self, at: float) -> None:
        """The tick's own ping on the heartbeat queue."""

    def resubmit(self, message: Mapping[str, Any]) -> None:
        """One message on the submissions queue."""

    def dead_letters(self, limit: int = 10) -> list[DeadLetter]:
        """Receive from every dead-letter queue."""

    def bury(self, letter: DeadLetter) -> None:
        """Delete a dead letter that was dealt with."""

    def depths(self) -> Mapping[str, int]:
        """Queue name → messages waiting, for health."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    queue: str  # the name of the queue that it died on, without prefix: submissions, heartbeats, wakes, timers
    message_id: str
    body: str
    sent_at: float
    receipt: str
    url: str
    sender: str = ""  # as SQS proved it when the message was sent


class Notices(Protocol):
    def publish(self, notice: Mapping[str, Any]) -> None:
        """One JSON document with its string fields as message attributes too."""


class Outside(Protocol):
    """What is not the stage's own: webhooks, and the queue and bucket of a grading system that this stage was told of."""

    def send(self, queue_url: str, body: Mapping[str, Any]) -> None:
        """One message on a queue."""

    def put(self, region: str, bucket: str, key: str, body: bytes, content_type: str) -> None: ...

    def copy(self, key: str, region: str, bucket: str, to_key: str) -> bool:
        """Copy an object of the stage's bucket there; False if it is not there."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Call a webhook: the status of its answer. Raises CloudUnavailable also where it may not be called (`core/webhook.py`)."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """All of AWS that the control plane uses, but for its tables."""

    compute: Compute
    facts: Facts
    groups: Groups
    blobs: Blobs
    secrets: Secrets
    queues: Queues
    notices: Notices
    outside: Outside


__all__ = [
    "Blobs",
    "Cloud",
    "Compute",
    "DeadLetter",
    "Facts",
    "Group",
    "Groups",
    "Instance",
    "Member",
    "Notices",
    "Outside",
    "Queues",
    "Secrets",
]
