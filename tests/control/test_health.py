"""Health: what is looked at, and when it is not well (chalicelib/control/health.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from town import Town

from chalicelib.api import stage_view
from chalicelib.control import health
from chalicelib.core.pool import Pool, PoolSpec
from chalicelib.errors import StoreUnavailable


def test_a_stage_that_works_is_healthy_and_says_how_old_its_oldest_wake_can_be() -> None:
    """Every pool is looked at each minute at least; the time of its last look is on its row."""
    town = Town()
    assert all(check.ok for check in health.check(town.plane).values())  # nobody has looked yet, and it is too early to
    town.run(300)
    seen = health.check(town.plane)
    assert seen["tables"].pools == 1
    assert set(seen["queues"].depths or ()) >= {"wakes", "timers", "submissions", "heartbeats"}
    assert 0 <= (seen["wakes"].oldest_s or 0.0) <= 61


def test_a_pool_that_nobody_looks_at_makes_the_stage_unwell() -> None:
    """The sentence names the one that waits longest."""
    fresh, late = (Pool(name=name, spec=PoolSpec(), looked_at=at) for name, at in (("fresh", 990.0), ("late", 700.0)))
    never = Pool(name="never", spec=PoolSpec())
    assert health.oldest_wake([fresh, never], 1000.0) == health.Check(oldest_s=10.0)
    check = health.oldest_wake([fresh, late, never], 1000.0)
    assert not check.ok
    assert check.error.startswith("nobody has looked at pool late for 300 s")
    shown = stage_view.health({"wakes": check})
    assert not shown.ok
    assert health.oldest_wake([], 1000.0).ok


def test_what_does_not_answer_is_told_and_asked_again_only_after_some_seconds() -> None:
    """Anybody may ask for the health, as often as they like."""
    town = Town()
    asked = []

    class Down:
        def pools(self) -> Any:
            asked.append(town.now)
            raise StoreUnavailable("the table does not answer")

    registry: Any = Down()
    plane = replace(town.plane, stores=replace(town.plane.stores, registry=registry))
    for _ in range(3):
        assert health.check(plane)["tables"].error == "the table does not answer"
    assert len(asked) == 1
    town.now += health.KEPT_S + 1
    health.check(plane)
    assert len(asked) == 2
