"""EC2's token bucket for launches, kept by ourselves so that EC2 need not refuse: pure arithmetic.

EC2 lets each account start RunInstances in each region 5 times at once and then twice a second, and have 1,000 instances at once and then
two a second. All pools of a stage draw on one bucket a region, which holds a little less.

Theory of operation. A token is taken some time before its call is sent, and while it is kept the bucket fills up again, for another
pool to take: so as many calls could meet at EC2 as the bucket holds plus what it gained meanwhile. Within `KEPT_S` the difference between
EC2's limits and ours makes up for that (`burst + per_s × KEPT_S` is below EC2's burst). A token that is older when its call is sent is
dated anew: what the bucket gained since it was taken is taken out again (`dated_anew`), which is never more than the token itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

GRAIN = 1e-9  # sums of fractions must not refuse the last token


@dataclass(frozen=True, slots=True)
class Limit:
    """So many at once, and so many more a second."""

    burst: float
    per_s: float


EC2_REQUESTS, EC2_INSTANCES = Limit(5.0, 2.0), Limit(1000.0, 2.0)  # AWS's own
REQUESTS, INSTANCES = Limit(4.0, 1.8), Limit(990.0, 1.9)  # ours
KEPT_S = 0.5  # so long a token is as good as a new one


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What was in it at a time; `takes` numbers its changes."""

    requests: float = REQUESTS.burst
    instances: float = INSTANCES.burst
    at: float = 0.0
    takes: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """Tokens for one call that launches so many hosts. `whole`: fewer hosts would be of no use. Below zero: they are given back."""

    hosts: float
    requests: float = 1.0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """The first `whole` calls got what they asked for, the one behind them `part` hosts, and those behind it nothing.

    `next_at`: when there is something for the first that got less than it asked for; None if none did.
    """

    whole: int
    part: int = 0
    next_at: float | None = None


def refilled(bucket: Bucket, now: float) -> Bucket:
    """The bucket at a later time. Clocks of two functions differ: an earlier time changes nothing."""
    elapsed_s = max(0.0, now - bucket.at)
    return Bucket(
        requests=min(REQUESTS.burst, bucket.requests + REQUESTS.per_s * elapsed_s),
        instances=min(INSTANCES.burst, bucket.instances + INSTANCES.per_s * elapsed_s),
        at=max(bucket.at, now),
        takes=bucket.takes,
    )


def take(bucket: Bucket, asks: Sequence[Ask], now: float) -> tuple[Bucket, Taken]:
    """As much as is asked for, or as there is: calls in order, and none behind the first that goes short, or it would wait for ever."""
    full = refilled(bucket, now)
    requests, instances = full.requests, full.instances
    whole, part, next_at = 0, 0, None
    for ask in asks:
        hosts = min(ask.hosts, INSTANCES.burst)
        if requests + GRAIN >= ask.requests and instances + GRAIN >= hosts:
            requests, instances, whole = requests - ask.requests, instances - hosts, whole + 1
            continue
        if not ask.whole and requests + GRAIN >= ask.requests and instances + GRAIN >= 1.0:
            part = math.floor(instances + GRAIN)
            requests, instances = requests - ask.requests, instances - part
        lacks = ask.requests - requests, (hosts if ask.whole else 1.0) - instances
        next_at = full.at + max(0.0, lacks[0] / REQUESTS.per_s, lacks[1] / INSTANCES.per_s)
        break
    rest = Bucket(
        requests=min(REQUESTS.burst, max(0.0, requests)),
        instances=min(INSTANCES.burst, max(0.0, instances)),
        at=full.at,
        takes=full.takes + 1,
    )
    return rest, Taken(whole, part, next_at)


def dated_anew(hosts: int, kept_s: float) -> Ask | None:
    """What a call's token, taken so long ago, still costs when the call is sent; None if nothing."""
    if kept_s <= KEPT_S:
        return None
    return Ask(min(float(hosts), INSTANCES.per_s * kept_s), min(1.0, REQUESTS.per_s * kept_s), whole=True)
