"""What every family of stores promises about EC2's token buckets (chalicelib/store/ports)."""

from __future__ import annotations

from store_records import NOW, race

from chalicelib.core.bucket import INSTANCES, REQUESTS, Ask, Taken
from chalicelib.store.open import DynamoStores
from chalicelib.store.ports import Stores

ONE = Ask(1)


def test_a_region_has_its_own_bucket_full_at_first(stores: Stores) -> None:
    """As many as are asked for, or as there are; and when the next one comes."""
    burst = int(REQUESTS.burst)
    taken = stores.buckets.take("us-east-1", [ONE] * (burst + 3), NOW)
    assert taken == Taken(burst, 0, NOW + 1 / REQUESTS.per_s)
    assert stores.buckets.take("us-east-1", [ONE], NOW).whole == 0
    assert stores.buckets.take("eu-west-1", [ONE], NOW) == Taken(1)
    assert stores.buckets.take("us-east-1", [ONE], NOW + 1) == Taken(1)


def test_hosts_are_counted_beside_requests(stores: Stores) -> None:
    """The last of the calls may launch a part of its hosts."""
    assert stores.buckets.take("us-east-1", [Ask(700), Ask(700), Ask(1)], NOW) == Taken(
        1, 290, NOW + 1 / INSTANCES.per_s
    )
    assert stores.buckets.take("us-east-1", [Ask(4, whole=True)], NOW + 2).whole == 0
    assert stores.buckets.take("us-east-1", [Ask(3, whole=True)], NOW + 2).whole == 1


def test_pools_that_launch_at_once_share_what_there_is(stores: Stores) -> None:
    """Eight functions take two tokens each in the same moment; together they get what the bucket holds, and never more."""
    for second in range(5):
        taken = race(8, lambda _, at=NOW + 100 * second: stores.buckets.take("us-east-1", [ONE, ONE], at).whole)
        assert 0 < sum(taken) <= REQUESTS.burst


def test_taking_costs_a_read_and_a_write(dynamo: DynamoStores) -> None:
    """Who gets nothing writes nothing."""
    before = dynamo.requests.total
    dynamo.buckets.take("us-east-1", [ONE] * 20, NOW)
    assert dynamo.requests.total - before == 2
    dynamo.buckets.take("us-east-1", [ONE] * 20, NOW)
    assert dynamo.requests.total - before == 3
