"""No wake is lost, and a thousand submissions during one pass cost one further pass: every interleaving, explored.

Wakers run put → read pass_no → send; the pass runs increment → read the backlog → acknowledge. Any of them may crash between two
steps. The explorer walks through *all* orders of those steps on the real FIFO rules of the memory queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.cloud.memory_queues import MemoryQueue


class World:
    """The pool's number, the backlog and the wakes queue; passes are started by the queue alone."""

    def __init__(self) -> None:
        self.pass_no = 0
        self.backlog: set[str] = set()
        self.seen: set[str] = set()
        self.queue = MemoryQueue("wakes", fifo=True, visibility_s=35.0)
        self.now = 0.0
        self.passes = 0

    def waker(self, name: str, crash_before: int = 99) -> Iterator[None]:
        """put, read, send: one step at a time."""
        if crash_before <= 0:
            return
        self.backlog.add(name)
        yield
        if crash_before <= 1:
            return
        number = self.pass_no
        yield
        if crash_before <= 2:
            return
        self.queue.send("wake", self.now, group="p", dedup=f"p:{number}")
        yield

    def a_pass(self, twice: bool = False) -> Iterator[None]:
        """Receive, increment, read, acknowledge; waits while the queue has nothing for it. `twice`: Lambda invokes it again."""
        messages = self.queue.receive(self.now, 1)
        yield
        if not messages:
            return
        for _ in range(2 if twice else 1):
            self.passes += 1
            self.pass_no += 1
            yield
            seen = set(self.backlog)
            yield
            self.seen |= seen
        self.queue.delete(messages[0].receipt)
        yield

    def drain(self) -> None:
        """Let passes run until the queue is empty."""
        for _ in range(20):
            for _step in self.a_pass():
                pass


def orders(turns: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """All different orders; `turns[i]` is how many turns part i has."""
    if not any(turns):
        yield ()
    for part, left in enumerate(turns):
        if left:
            for rest in orders((*turns[:part], left - 1, *turns[part + 1 :])):
                yield (part, *rest)


def finish(parts: Iterable[Iterator[None]]) -> None:
    for part in parts:
        for _ in part:
            pass


def test_every_order_of_two_wakers_and_a_pass_sees_both() -> None:
    """All 9,240 orders of the steps of two wakers and a pass that began with a message of an earlier one."""
    count = 0
    for order in orders((3, 3, 5)):
        count += 1
        world = World()
        world.queue.send("wake", world.now, group="p", dedup="p:0")
        parts = [world.waker("a"), world.waker("b"), world.a_pass()]
        for turn in order:
            next(parts[turn], None)
        finish(parts)
        world.drain()
        assert world.seen == {"a", "b"}, order
        assert world.passes <= 3, "one that runs, and at most two further ones for two wakers"
    assert count == 9240


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_was_put_and_sent_is_seen_by_a_pass_that_began_after_the_put(data: st.DataObject) -> None:
    """Many wakers, several passes, crashes anywhere: every waker that got to its send is seen; so is every other, after the tick."""
    world = World()
    crashes = data.draw(st.lists(st.sampled_from([0, 1, 2, 99, 99, 99]), min_size=1, max_size=6))
    wakers: list[Any] = [world.waker(str(i), crash) for i, crash in enumerate(crashes)]
    passes: list[Any] = []
    live = list(wakers)
    for _ in range(60):
        if not live and not passes:
            break
        choice = data.draw(st.integers(0, len(live) + len(passes)))
        if choice == len(live) + len(passes):
            passes.append(world.a_pass(twice=data.draw(st.booleans())))
        else:
            part = [*live, *passes][choice]
            if next(part, "ended") == "ended":
                (live if part in live else passes).remove(part)
    finish([*live, *passes])
    world.drain()
    sent = {str(i) for i, crash in enumerate(crashes) if crash == 99}
    assert sent <= world.seen
    world.queue.send("wake", world.now, group="p", dedup="p:tick:1")
    world.drain()
    assert world.backlog <= world.seen


def test_a_thousand_submissions_during_one_pass_cost_one_further_pass() -> None:
    world = World()
    for _ in world.waker("first"):
        pass
    running = world.a_pass()
    next(running)
    next(running)  # it has raised the number and not read yet
    for i in range(1000):
        for _ in world.waker(str(i)):
            pass
    for _ in running:
        pass
    world.drain()
    assert len(world.seen) == 1001
    assert world.passes == 2
