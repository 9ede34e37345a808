"""Fair queueing between owners: bounds that hold for any mix of jobs (Goyal, Vin, Cheng 1996)."""

from __future__ import annotations

import heapq

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.backlog import Entry, rank
from chalicelib.core.catalogue import Capacity
from chalicelib.core.fairness import COST_MIN, clocks, cost, place_of, starts
from chalicelib.core.job_spec import Reservation
from chalicelib.store.memory.shares import MemoryShares

HOST = Capacity(cpu=4.0, memory_mib=8000, slots=4)


class Queue:
    """A pool that serves one job at a time, in order of rank, and what each owner got of it."""

    def __init__(self) -> None:
        self.shares, self.clocks = MemoryShares(), {}
        self.heap: list[tuple[str, str, float]] = []
        self.served: list[tuple[str, float]] = []
        self.count = 0

    def submit(self, owner: str, costs: list[float], priority: int = 5, now: float = 0.0) -> None:
        first = self.shares.advance(
            "p",
            f"{priority}/{owner}",
            sum(costs),
            clock=self.clocks.get(str(priority), 0.0),
            now=now,
            expires_at=now + 3600,
        )
        for each, tag in zip(costs, starts(first, costs), strict=True):
            self.count += 1
            heapq.heappush(self.heap, (rank(priority, tag, f"job-{self.count:09d}"), owner, each))

    def serve(self, number: int) -> None:
        for _ in range(min(number, len(self.heap))):
            seen = [an_entry(place) for place, _, _ in heapq.nsmallest(20, self.heap)]
            _, owner, each = heapq.heappop(self.heap)
            self.clocks = clocks(self.clocks, seen, seen[:1])
            self.served.append((owner, each))

    def work_of(self, owner: str) -> float:
        return sum(each for whose, each in self.served if whose == owner)


def an_entry(place: str) -> Entry:
    return Entry(
        pool="p",
        rank=place,
        job=place,
        attempt=1,
        owner="o",
        cpu=1.0,
        memory_mib=1,
        slots=1,
        timeout_s=1,
        queued_at=0.0,
    )


costs_of_many = st.lists(st.floats(0.01, 50.0), min_size=5, max_size=40)


@settings(deadline=None, max_examples=40)
@given(ann=costs_of_many, bob=costs_of_many, before=st.integers(0, 30), number=st.integers(1, 40))
def test_two_owners_who_wait_get_the_same_to_within_one_job_of_each(
    ann: list[float], bob: list[float], before: int, number: int
) -> None:
    """Whoever came first, and however long the jobs of each: Goyal's theorem 1 (and a millisecond a job for rounding)."""
    queue = Queue()
    queue.submit("ann", ann)
    queue.serve(before)  # she has the pool for herself
    queue.submit("bob", bob)
    queue.served.clear()
    for _ in range(number):
        if {owner for _, owner, _ in queue.heap} != {"ann", "bob"}:
            break
        queue.serve(1)
        apart = abs(queue.work_of("ann") - queue.work_of("bob"))
        assert apart <= max(ann) + max(bob) + 0.001 * number


@settings(deadline=None, max_examples=40)
@given(flood=st.integers(1, 300), before=st.integers(0, 300))
def test_one_job_is_served_next_whatever_another_owner_has_waiting(flood: int, before: int) -> None:
    """Ten thousand jobs of one course must not starve one of another's."""
    queue = Queue()
    queue.submit("ann", [60.0] * flood)
    queue.serve(before)
    queue.served.clear()
    queue.submit("bob", [60.0])
    queue.serve(2)
    assert "bob" in [owner for owner, _ in queue.served]


@settings(deadline=None, max_examples=40)
@given(alone=st.integers(1, 100), believed=st.floats(0.1, 400.0))
def test_what_an_owner_had_of_an_idle_pool_is_not_held_against_it(alone: int, believed: float) -> None:
    """The bound: once all its jobs were served it is one job of its own behind others, whatever they were believed to take."""
    queue = Queue()
    queue.submit("ann", [believed] * alone)
    queue.serve(alone)
    queue.submit("bob", [1.0] * 500)
    queue.submit("ann", [believed])
    queue.served.clear()
    queue.serve(int(believed) + 3)
    assert "ann" in [owner for owner, _ in queue.served]


def test_priority_comes_before_fairness() -> None:
    """Within a class owners share; between classes nothing is shared, and a class has its own clock."""
    queue = Queue()
    queue.submit("ann", [1.0] * 50, priority=4)
    queue.submit("bob", [1.0], priority=5)
    queue.serve(20)
    queue.submit("ann", [1.0] * 3, priority=3)
    queue.serve(33)
    assert [owner for owner, _ in queue.served] == ["ann"] * 53
    assert queue.clocks.keys() == {"3", "4", "5"}
    assert (
        queue.clocks["5"] == 0.0
    )  # nothing of that class was served: who comes there now is not behind bob's future work


def test_an_owner_alone_keeps_the_order_of_its_jobs() -> None:
    """Fairness only ever orders owners against each other."""
    queue = Queue()
    for n in range(20):
        queue.submit("ann", [float(n % 7 + 1)])
        if n % 3 == 0:
            queue.serve(1)
    order = [place[-13:] for place, _, _ in sorted(queue.heap)]
    assert order == sorted(order)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=20))
def test_a_clock_never_goes_back_and_never_passes_what_waits_in_order(entries: list[tuple[float, bool]]) -> None:
    """Placed first, waiting last: the clock is the first that waits; an old tag (a repeated job) moves nothing."""
    tags = sorted(tag for tag, _ in entries)
    seen = [an_entry(rank(5, tag, f"job-{n:03d}")) for n, tag in enumerate(tags)]
    placed = seen[: len(seen) // 2]
    after = clocks({"5": 1000.0}, seen, placed)
    assert after["5"] >= 1000.0
    if len(placed) < len(seen):
        assert after["5"] == max(1000.0, place_of(seen[len(placed)].rank)[1])
    assert clocks(after, [], []) == after


def test_a_small_job_that_fills_a_gap_does_not_move_the_clock() -> None:
    """What was taken from the end of a flood because it fits must not send newcomers there."""
    seen = [an_entry(rank(5, float(tag), f"job-{tag:03d}")) for tag in (10, 20, 900)]
    assert clocks({}, seen, [seen[2]]) == {"5": 10.0}
    assert clocks({}, seen, seen) == {"5": 900.0}


def test_a_job_costs_its_largest_share_of_a_host_for_as_long_as_it_is_believed_to_run() -> None:
    assert cost(Reservation(cpu=1.0, memory_mib=500, slots=1), 60.0, HOST) == 15.0
    assert cost(Reservation(cpu=0.5, memory_mib=4000, slots=1), 60.0, HOST) == 30.0
    assert cost(Reservation(cpu=0.5, memory_mib=500, slots=4), 60.0, HOST) == 60.0
    assert cost(Reservation(cpu=0.5, memory_mib=500, slots=1), 0.0, HOST) == COST_MIN


def test_a_rank_tells_its_class_and_its_tag() -> None:
    assert place_of(f"{rank(0, 12.5, 'job-1')}#2") == ("0", 12.5)
    assert place_of(rank(9, 1_770_000_000.123, "job-1")) == ("9", 1_770_000_000.123)
