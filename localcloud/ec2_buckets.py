"""EC2's request throttling: token buckets for each operation and region, as EC2's developer guide publishes them †.

A request takes one token of its operation's bucket; RunInstances, StartInstances, StopInstances and TerminateInstances also take one
of a second bucket for each instance. Tokens come back at a steady rate. Where one is missing EC2 answers RequestLimitExceeded
(HTTP 503), and the request token is gone all the same. Off until `set`; `speed` makes the buckets' clock run faster, so that
a test of minutes lasts seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from localcloud.calls import AwsCall, AwsReply, indexed, refusal
from localcloud.identity import ACCOUNT_ID

# (size, refill per second) by operation; what is not listed goes by its category.
REQUESTS: dict[str, tuple[float, float]] = {
    "RunInstances": (5, 2),
    "StartInstances": (5, 2),
    "TerminateInstances": (100, 5),
    "CreateTags": (100, 10),
    "DeleteTags": (100, 10),
    "CreateLaunchTemplateVersion": (100, 5),
    "ModifyLaunchTemplate": (100, 5),
    "RequestSpotInstances": (50, 5),
}
READS, READS_OF_ALL, WRITES = (100.0, 20.0), (50.0, 10.0), (50.0, 5.0)
READ = ("Describe", "List", "Search", "Get")
LISTS = frozenset(
    {
        "DescribeInstances",
        "DescribeInstanceStatus",
        "DescribeNetworkInterfaces",
        "DescribeSecurityGroups",
        "DescribeSnapshots",
        "DescribeSpotInstanceRequests",
        "DescribeVolumes",
    }
)  # these have a smaller bucket of their own when they are neither filtered nor paged
RESOURCES: dict[str, tuple[float, float]] = {
    "RunInstances": (1000, 2),
    "StartInstances": (1000, 2),
    "StopInstances": (1000, 20),
    "TerminateInstances": (1000, 20),
}


@dataclass
class Bucket:
    """`tokens` as of `at` (the buckets' clock); `least` is how low it has been, `taken` and `refused` count tokens and calls."""

    size: float
    refill: float
    tokens: float
    at: float
    least: float
    taken: float = 0.0
    refused: int = 0

    @classmethod
    def full(cls, limits: tuple[float, float], now: float) -> Bucket:
        """A bucket that nobody has used."""
        size, refill = limits
        return cls(size, refill, size, now, size)

    def take(self, number: float, now: float) -> bool:
        """Take `number` tokens, or none when there are too few."""
        self.tokens = min(self.size, self.tokens + (now - self.at) * self.refill)
        self.at = now
        if number > self.tokens:
            self.refused += 1
            return False
        self.tokens -= number
        self.taken += number
        self.least = min(self.least, self.tokens)
        return True


@dataclass
class Ec2Buckets:
    """The buckets of the account. `check` is asked before every call; `speed` None means off. `clock` counts seconds."""

    clock: Callable[[], float] = time.monotonic
    speed: float | None = None
    _buckets: dict[tuple[str, str, str], Bucket] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    kinds: ClassVar[tuple[str, ...]] = ("ec2_buckets",)

    def set(self, kind: str, fields: dict[str, Any]) -> None:
        """Throttle from now on, with full buckets; `speed` is the only field. Raises ValueError."""
        speed = fields["speed"]
        if not isinstance(speed, int | float) or speed <= 0:
            raise ValueError(f"speed must be a number above 0, not {speed!r}.")
        with self._lock:
            self._buckets.clear()
            self.speed = float(speed)

    def clear(self) -> None:
        """Throttle no more."""
        self.speed = None

    def listed(self) -> list[dict[str, Any]]:
        """Whether it throttles, and each bucket that was used: what it was at its lowest, how many tokens it gave, how often it refused."""
        if self.speed is None:
            return []
        with self._lock:
            used = [
                {
                    "region": region,
                    "action": action,
                    "of": of,
                    "least": each.least,
                    "taken": each.taken,
                    "refused": each.refused,
                }
                for (region, action, of), each in self._buckets.items()
            ]
        return [{"kind": "ec2_buckets", "speed": self.speed, "buckets": used}]

    def check(self, call: AwsCall) -> AwsReply | None:
        """Guard of the front."""
        if self.speed is None or call.service != "ec2":
            return None
        over = self._take(call, self.speed)
        if over is None:
            return None
        text = (
            f"Request limit exceeded. Account {ACCOUNT_ID} has been throttled on ec2:{call.action} "
            f"because it exceeded its {over} rate limit."
        )
        return refusal(call, "RequestLimitExceeded", text, 503)

    def _take(self, call: AwsCall, speed: float) -> str | None:
        """Take what the call costs; the name of the limit that it exceeds, or None."""
        name, limits = _request_limits(call)
        with self._lock:
            now = self.clock() * speed
            if not self._bucket(call, name, "request", limits, now).take(1, now):
                return "request"
            if call.action in RESOURCES:
                resources = self._bucket(call, call.action, "resource", RESOURCES[call.action], now)
                if not resources.take(_instances(call), now):
                    return "resource"
        return None

    def _bucket(self, call: AwsCall, name: str, of: str, limits: tuple[float, float], now: float) -> Bucket:
        return self._buckets.setdefault((call.region, name, of), Bucket.full(limits, now))


def _request_limits(call: AwsCall) -> tuple[str, tuple[float, float]]:
    if call.action in REQUESTS:
        return call.action, REQUESTS[call.action]
    if not call.action.startswith(READ):
        return call.action, WRITES
    narrowed = any(name.startswith(("Filter.", "InstanceId.", "MaxResults", "NextToken")) for name in call.params)
    if call.action in LISTS and not narrowed:
        return f"{call.action} of all", READS_OF_ALL
    return call.action, READS


def _instances(call: AwsCall) -> int:
    """How many instances a call is about."""
    if call.action == "RunInstances":
        asked = str(call.params.get("MaxCount", "1"))
        return int(asked) if asked.isdigit() else 1
    return len(indexed(call.params, "InstanceId"))
