"""What every family of stores promises about the ends of arrays (chalicelib/store/ports.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from store_records import NOW, race

from chalicelib.core.arrays import TRANSITIONS, Array, ArrayEvent, ArrayState
from chalicelib.core.job_spec import JobSpec, Notify
from chalicelib.core.telling import Telling
from chalicelib.store.ports import Stores

LATER = NOW + 7.25


def an_array(n: int, state: ArrayState = ArrayState.OPEN, **over: object) -> Array:
    spec = JobSpec(command="true", timeout_s=5, notify=Notify(topic=True))
    fields: dict[str, object] = {
        "pool": "p",
        "owner": "ann",
        "spec": spec,
        "count": 3,
        "submitted_at": NOW,
        "rank": f"5-{n}",
        "step_ms": 1,
    }
    return Array(id=f"array-{n:026d}", state=state, entered={str(state): NOW}, **(fields | over))  # type: ignore[arg-type]


def test_an_array_survives_to_the_last_bit(stores: Stores) -> None:
    array = an_array(
        1, ArrayState.FAILED, delivered_at=LATER, telling=Telling(tries=2, told=("topic",)), listed=True, made=True
    )
    assert stores.arrays.put(array)
    assert not stores.arrays.put(array)
    assert stores.arrays.get(array.id) == array


def test_every_event_in_every_state(stores: Stores) -> None:
    """A write goes through exactly where the machine has a row; and who ends an array says whether it is untold."""
    for number, (state, event) in enumerate((s, e) for s in ArrayState for e in ArrayEvent):
        array = an_array(number, state)
        stores.arrays.put(array)
        moved = stores.arrays.move(array.id, event, at=LATER, reason="because", untold=False)
        target = TRANSITIONS[state].get(event)
        assert (moved.state if moved else None) == target
    stores.arrays.put(an_array(999))
    with pytest.raises(TypeError):
        stores.arrays.move(an_array(999).id, ArrayEvent.FAIL, at=LATER, reason="r")
    kept = stores.arrays.get(an_array(999).id)
    assert kept is not None
    assert kept.state is ArrayState.OPEN


def test_an_ended_array_is_untold_until_its_listeners_are_told(stores: Stores) -> None:
    """By its own list, which holds no job's id; told once, or given up."""
    for number in range(3):
        stores.arrays.put(an_array(number))
    first, second, third = (an_array(number).id for number in range(3))
    assert not stores.arrays.delivered(first, LATER), "it has not ended"
    assert stores.arrays.move(first, ArrayEvent.SUCCEED, at=LATER, reason="r", untold=True) is not None
    assert stores.arrays.move(second, ArrayEvent.FAIL, at=LATER, reason="r", untold=True) is not None
    assert stores.arrays.move(third, ArrayEvent.FAIL, at=LATER, reason="r", untold=False) is not None
    assert stores.arrays.untold(limit=2)[0] == [first, second]
    assert stores.arrays.untold(after=first)[0] == [second]
    assert stores.jobs.untold()[0] == []
    assert stores.arrays.request_cancel(first) is None
    assert sum(race(4, lambda i: stores.arrays.delivered(first, LATER + i))) == 1
    once = Telling(tries=1, due_at=LATER, fault="ü")
    assert stores.arrays.tell_again(second, Telling(), once)
    assert not stores.arrays.tell_again(second, Telling(), once)
    assert stores.arrays.untold()[0] == [second]
    assert stores.arrays.tell_again(second, once, replace(once, given_up=True))
    assert stores.arrays.untold()[0] == []
