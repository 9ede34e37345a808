"""What every family of stores promises about learned durations, samples and shares (chalicelib/store/ports)."""

from __future__ import annotations

from collections import Counter

import pytest
from store_records import NOW, race

from chalicelib.cloud.memory import memory_cloud
from chalicelib.config import Settings
from chalicelib.control.submit import submit, submit_many
from chalicelib.core.durations import Learned
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.store.open import DynamoStores
from chalicelib.store.ports import Stores
from chalicelib.store.told import told
from chalicelib.wiring import Plane

LATER = NOW + 86_400.0

# ---- Durations


def test_learned_sums_are_added_over_calls_and_days(stores: Stores) -> None:
    """Only from `since_day` on, each pool for itself, keys with slashes and all."""
    stores.durations.add("p", "2026-11-19", {"*": Learned(100, 1000.0, 10_000.0)}, LATER)
    stores.durations.add("p", "2026-11-20", {"*": Learned(2, 5.0, 13.0), "family/a/b": Learned(1, 2.0, 4.0)}, LATER)
    stores.durations.add("p", "2026-11-21", {"*": Learned(1, 0.1, 0.01)}, LATER)
    stores.durations.add("p", "2026-11-21", {"*": Learned(1, 0.2, 0.04)}, LATER)
    stores.durations.add("other", "2026-11-21", {"boot": Learned(1, 20.0, 400.0)}, LATER)
    learned = stores.durations.of("p", "2026-11-20")
    assert learned.keys() == {"*", "family/a/b"}
    assert learned["*"].count == 4
    assert learned["*"].total_s == pytest.approx(5.3)
    assert learned["*"].squares_s2 == pytest.approx(13.05)
    assert learned["family/a/b"] == Learned(1, 2.0, 4.0)
    assert stores.durations.of("nobody", "2026-11-20") == {}


def test_concurrent_lessons_are_all_kept(stores: Stores) -> None:
    """Sums are added where they lie: two functions that learn at once lose nothing."""
    race(8, lambda _: stores.durations.add("p", "2026-11-21", {"*": Learned(1, 1.5, 2.25)}, LATER))
    count = stores.durations.of("p", "2026-11-21")["*"].count
    assert count > 1
    assert stores.durations.of("p", "2026-11-21")["*"] == Learned(count, 1.5 * count, 2.25 * count)


def test_sums_of_the_smallest_and_largest_durations_are_numbers_that_dynamodb_keeps(stores: Stores) -> None:
    """It refuses more than 38 digits; sums of microseconds and of days stay far below."""
    for number in (1e-6, 86_400.123456789, 0.1 + 0.2, 1 / 3):
        stores.durations.add("p", "2026-11-21", {"*": Learned(1, number, number * number)}, LATER)
    assert stores.durations.of("p", "2026-11-21")["*"].total_s == pytest.approx(86_400.756791, abs=1e-5)


# ---- Samples


def test_samples_are_read_by_minutes_newest_kept_oldest_first(stores: Stores) -> None:
    minute = NOW // 60 * 60
    for n in range(5):
        stores.samples.put("p", NOW + 60 * n, {"hosts": {"ready": n}, "why": "so"}, LATER)
    stores.samples.put("other", NOW, {"hosts": {}}, LATER)
    found = stores.samples.of("p", NOW + 60, NOW + 240, 10)
    assert [sample.at for sample in found] == [minute + 60 * n for n in (1, 2, 3, 4)]
    assert found[0].values == {"hosts": {"ready": 1}, "why": "so"}
    assert [s.values["hosts"]["ready"] for s in stores.samples.of("p", NOW, NOW + 600, 2)] == [3, 4]
    assert stores.samples.of("p", NOW + 600, NOW + 900, 10) == []


def test_a_minute_has_one_sample(stores: Stores) -> None:
    """Two ticks in one minute: the later one's stays."""
    minute = NOW // 60 * 60
    stores.samples.put("p", minute + 1, {"n": 1}, LATER)
    stores.samples.put("p", minute + 59, {"n": 2}, LATER)
    assert [(s.at, s.values) for s in stores.samples.of("p", minute + 30, minute + 31, 9)] == [(minute, {"n": 2})]


# ---- Shares


def test_a_share_goes_on_where_it_ended_and_never_before_the_clock(stores: Stores) -> None:
    def advance(cost: float, clock: float, share: str = "5/ann") -> float:
        return stores.shares.advance("p", share, cost, clock=clock, now=NOW, expires_at=LATER)

    assert advance(10.0, clock=3.0) == 3.0
    assert advance(2.5, clock=3.0) == 13.0
    assert advance(1.0, clock=15.5) == 15.5  # exactly where it ended
    assert advance(1.0, clock=100.0) == 100.0
    assert advance(1.0, clock=50.0) == 101.0  # a clock that was read a while ago
    assert advance(1.0, clock=50.0, share="5/bob") == 50.0
    assert advance(1.0, clock=50.0, share="9/ann") == 50.0
    assert stores.shares.advance("other", "5/ann", 1.0, clock=0.0, now=NOW, expires_at=LATER) == 0.0


def test_a_share_that_has_expired_is_forgotten_even_where_its_row_is_still_there(stores: Stores) -> None:
    """DynamoDB deletes expired rows days later."""
    stores.shares.advance("p", "5/ann", 1000.0, clock=0.0, now=NOW, expires_at=NOW + 60)
    assert stores.shares.advance("p", "5/ann", 1.0, clock=0.0, now=NOW + 30, expires_at=NOW + 90) == 1000.0
    assert stores.shares.advance("p", "5/ann", 1.0, clock=7.0, now=NOW + 120, expires_at=NOW + 180) == 7.0


def test_concurrent_advances_never_overlap(stores: Stores) -> None:
    """Each gets a stretch of virtual time of its own (or, against several quicker ones, the clock and nothing charged)."""
    stores.shares.advance("p", "5/ann", 1.0, clock=0.0, now=NOW, expires_at=LATER)
    starts = race(8, lambda _: stores.shares.advance("p", "5/ann", 2.0, clock=0.0, now=NOW, expires_at=LATER))
    assert len(set(starts)) == len(starts)
    assert sorted(starts) == [1.0 + 2.0 * n for n in range(len(starts))]


def test_an_owner_who_goes_on_costs_one_request(dynamo: DynamoStores) -> None:
    """What this process wrote last tells which of the two writes fits."""
    for _ in range(3):
        dynamo.shares.advance("p", "5/ann", 10.0, clock=0.0, now=NOW, expires_at=LATER)
    dynamo.shares.advance("p", "5/ann", 1.0, clock=500.0, now=NOW, expires_at=LATER)
    assert dynamo.requests.by_operation() == {"UpdateItem": 4}
    dynamo.shares.advance(
        "p", "5/ann", 1.0, clock=0.0, now=NOW + 2 * 86_400, expires_at=LATER
    )  # forgotten, against the guess
    assert dynamo.requests.by_operation() == {"UpdateItem": 6}


# ---- What a submission costs


def test_a_submission_is_three_requests_and_a_wake(dynamo: DynamoStores) -> None:
    """The job with its entry, its owner's share, the pool's pass number; pool and durations are remembered."""
    plane = Plane(
        settings=Settings(stage="t"), stores=told(dynamo), cloud=memory_cloud(lambda: NOW, stage="t"), clock=lambda: NOW
    )
    dynamo.registry.put_pool("p", PoolSpec(), version=None)
    spec = JobSpec(command="true", timeout_s=60, pool="p")
    submit(plane, spec, "ann")  # a cold process reads the pool and what was learned of it
    before = Counter(dynamo.requests.by_operation())
    submit(plane, spec, "ann")
    assert Counter(dynamo.requests.by_operation()) - before == {
        "BatchExecuteStatement": 1,
        "UpdateItem": 1,
        "GetItem": 1,
    }
    before = Counter(dynamo.requests.by_operation())
    submit_many(plane, [spec] * 50, "ann")
    assert Counter(dynamo.requests.by_operation()) - before == {
        "BatchExecuteStatement": 4,
        "UpdateItem": 1,
        "GetItem": 1,
    }
